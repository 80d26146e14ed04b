"""InputError, the exception for wrong input; the command line prints it without a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Raised for wrong input; the message names the location, the value, the cause and the cure.

    >>> raise InputError("ratings.csv", row=3, column="rating", value="five", cause="not a number", cure="write 1-5")
    Traceback (most recent call last):
    pasand.errors.InputError: ratings.csv, row 3, column 'rating': 'five' is wrong: not a number. Cure: write 1-5.
    """

    def __init__(
        self,
        where: object,
        *,
        cause: str,
        cure: str = "",
        row: int | None = None,
        column: str | None = None,
        value: object = None,
    ) -> None:
        location = str(where)
        if row is not None:
            location += f", row {row}"
        if column is not None:
            location += f", column {column!r}"
        found = "" if value is None else f"{value!r} is wrong: "
        remedy = f" Cure: {cure.rstrip('.')}." if cure else ""
        super().__init__(f"{location}: {found}{cause.rstrip('.')}.{remedy}")
