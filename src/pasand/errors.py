"""InputError, the exception for wrong input, printed without a traceback; and messages for other errors."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return "did you mean NAME? " for the name that is most like a wrong one, "" where none is.

    >>> did_you_mean("item-knn", ["ease", "item_knn"])
    'did you mean item_knn? '
    """
    known = {each.lower(): each for each in names}
    close = get_close_matches(str(name).lower(), known, 1, 0.7)
    return f"did you mean {known[close[0]]}? " if close else ""


class ProcessFailed(RuntimeError):
    """Raised if work in a separate process failed, or if that process crashed; the message holds the cause."""


def is_interruption(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is the root cause of an error; compiled code turns it into a SystemError caused by it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def failure_cause(error: BaseException) -> str:
    """Return the cause of an error as one line: its message, after the kind of error unless it is an InputError.

    >>> failure_cause(ZeroDivisionError("division by zero"))
    'ZeroDivisionError: division by zero'
    >>> failure_cause(MemoryError())
    'not enough memory'
    """
    text = " ".join(str(error).split())
    if isinstance(error, InputError | ProcessFailed):
        return text
    kind = "not enough memory" if isinstance(error, MemoryError) else type(error).__name__
    return f"{kind}: {text}" if text else kind
