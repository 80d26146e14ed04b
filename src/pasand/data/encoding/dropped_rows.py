"""Rows that cannot be used, counted and told."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from pasand.data.log import Options
from pasand.errors import InputError
from pasand.types import Array

EARLY = 100_000
"""Rows after which a log that is bad throughout is refused without reading on."""


@dataclass(slots=True)
class Dropped:
    """The rows that were dropped for one reason."""

    column: str
    reason: str
    count: int
    row: int
    """Number of the first such row."""
    value: object
    """What stood in its column."""

    def __str__(self) -> str:
        rows = "1 row" if self.count == 1 else f"{self.count:,} rows"
        return f"{rows} dropped: {self.column} {self.reason} (first: row {self.row}, {self.value or ''!r})"


@dataclass(slots=True)
class Reading:
    """What happened while a log was read."""

    rows: int = 0
    """Rows read, good and bad."""
    dropped: list[Dropped] = field(default_factory=list)
    duplicates: int = 0
    """Rows that repeated an earlier row in every column, and were dropped."""

    @property
    def bad(self) -> int:
        """Number of rows dropped because something in them was wrong."""
        return sum(dropped.count for dropped in self.dropped)

    def drop(self, column: str, reason: str, rows: Array, values: pl.Series) -> None:
        """Count rows, (n,) numbers of at least one, that are dropped for a reason."""
        for dropped in self.dropped:
            if (dropped.column, dropped.reason) == (column, reason):
                dropped.count += len(rows)
                return
        self.dropped.append(Dropped(column, reason, len(rows), int(rows[0]), values[0]))

    def refuse(self, where: str, options: Options, cure: str, *, whole: bool = False) -> None:
        """Raise InputError where more rows are bad than `options` allow, and for a whole log where all are."""
        if self.bad > options.bad_rows * self.rows or (whole and self.bad == self.rows):
            worst = max(self.dropped, key=lambda dropped: dropped.count)
            raise InputError(
                where,
                row=worst.row,
                column=worst.column,
                value="" if worst.value is None else worst.value,
                cause=f"{worst.column} {worst.reason}; of {self.rows:,} rows {self.bad:,} are bad"
                + (f", more than {options.bad_rows:.0%}" if self.bad < self.rows else ""),
                cure=cure,
            )
