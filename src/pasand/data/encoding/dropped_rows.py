"""`ReadSummary` and `DroppedRows`: counts of the rows that were read, and of those dropped for each reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from pasand.data.log import Options
from pasand.errors import InputError
from pasand.types import Array

HEADER = "repeats the header"
"""Reason of rows that are dropped but not bad, as files that were joined have them."""
EARLY = 100_000
"""Rows after which a log with too many bad rows is rejected without reading on."""


@dataclass(slots=True)
class DroppedRows:
    """Rows dropped for one reason."""

    column: str
    reason: str
    count: int
    row: int
    """Number of the first such row."""
    value: object
    """Value of its column."""

    def __str__(self) -> str:
        rows = "1 row" if self.count == 1 else f"{self.count:,} rows"
        return f"{rows} dropped: {self.column} {self.reason} (first: row {self.row}, {self.value or ''!r})"


@dataclass(slots=True)
class ReadSummary:
    """Numbers of rows read, dropped and repeated while reading a log."""

    rows: int = 0
    """Rows read, good and bad."""
    dropped: list[DroppedRows] = field(default_factory=list)
    blank: int = 0
    """Blank lines, which are neither good nor bad."""
    left_out: int = 0
    """Rows that the user's conditions or types of events leave out, which are neither good nor bad."""
    duplicates: int = 0
    """Rows that repeat an earlier row in all columns, and were dropped."""

    @property
    def bad(self) -> int:
        """Number of rows dropped, of those without a valid event."""
        return sum(dropped.count for dropped in self.dropped)

    def drop(self, column: str, reason: str, rows: Array, values: pl.Series) -> None:
        """Count rows dropped for a reason, given by their numbers, (n,) with n at least 1."""
        for dropped in self.dropped:
            if (dropped.column, dropped.reason) == (column, reason):
                dropped.count += len(rows)
                return
        self.dropped.append(DroppedRows(column, reason, len(rows), int(rows[0]), values[0]))

    def check(self, where: str, options: Options, cure: str, *, complete: bool = False) -> None:
        """Raise InputError if more rows are bad than `options` allow, or if all rows of a completely read log are."""
        headers = sum(dropped.count for dropped in self.dropped if dropped.reason == HEADER)
        rows, bad = self.rows - self.blank - self.left_out - headers, self.bad - headers
        if complete and self.left_out and not rows:
            cause = f"all {self.left_out:,} rows are left out by the conditions or types of events that were given"
            raise InputError(where, cause=cause, cure="change --where or --events")
        if bad > options.bad_rows * rows or (complete and bad == rows):
            worst = max(self.dropped, key=lambda dropped: (dropped.reason != HEADER, dropped.count))
            raise InputError(
                where,
                row=worst.row,
                column=worst.column,
                value="" if worst.value is None else worst.value,
                cause=f"{worst.column} {worst.reason}; of {rows:,} rows {bad:,} are bad"
                + (f", more than {options.bad_rows:.0%}" if bad < rows else ""),
                cure=cure,
            )
