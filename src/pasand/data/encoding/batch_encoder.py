"""`BatchEncoder`: what events and impressions share while a table is read in batches and kept as numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import polars as pl

from pasand.data.encoding.cells import are_whole_numbers, as_ids, is_missing, plain
from pasand.data.encoding.chosen_rows import LEFT_OUT
from pasand.data.encoding.dropped_rows import EARLY, ReadSummary
from pasand.data.encoding.times import PLAUSIBLE, POSSIBLE, TimeFormat
from pasand.data.ids import MAX_LENGTH
from pasand.data.log import ImpressionTable, Log, Options
from pasand.errors import InputError
from pasand.progress import step
from pasand.types import Array, Mask

FLOAT32_MAX = float(np.finfo(np.float32).max)
"""A number beyond this becomes infinite when it is stored."""


ZONE = r"(?i)\d:\d\d.*(?:z|utc|gmt|[+-]\d\d(?::?\d\d)?)$"
"""Times of day with an offset from UTC."""
CONTROL_CHARACTERS = r"[\x00-\x1f\x7f-\x9f]"
"""Those that no id has; see `pasand.data.ids`."""


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


class Batch:
    """One batch of a table, and which of its rows are good so far."""

    def __init__(self, frame: pl.DataFrame, encoder: BatchEncoder) -> None:
        self.frame, self._encoder = frame, encoder
        self.good: Mask = np.ones(len(frame), np.bool_)

    def drop(self, name: str, reason: str, bad: pl.Series) -> None:
        """Mark rows as bad, and count under the reason those that were good so far; null in `bad` means false."""
        rows = np.flatnonzero(self.good & bad.fill_null(False).to_numpy())
        if len(rows):
            encoder, first = self._encoder, self.frame[name][[int(rows[0])]]
            numbers = encoder.first_row + encoder.summary.rows + rows
            encoder.summary.drop(encoder.column_name(name), reason, numbers, first)
            self.good[rows] = False


class BatchEncoder(ABC):
    """Encodes a table batch by batch, and keeps only the numbers of its good rows.

    A subclass defines which columns it reads (`start`) and how (`encode`).
    """

    label: str
    """Label of its progress reports."""
    prefix = ""
    """Prefix of its columns in the option --column."""
    cure: str
    """Cure for too many bad rows."""

    def __init__(self, table: Log | ImpressionTable, options: Options, ids: Mapping[str, pl.Categories]) -> None:
        """Prepare to encode a table; `ids` assigns a code to each id of "user" and of "item"."""
        self.name, self.first_row, self._column_names = table.name, table.first_row, table.column_names
        self.options, self.ids = options, dict(ids)
        self.summary = ReadSummary()
        self.time_format: TimeFormat | None = None
        self._plausible_times = False
        self._zoned, self._unzoned = 0, 0
        self._blank_lines = table.blank_lines
        self.spaced: dict[str, list[Array]] = {}
        """Codes of the ids of good rows that had spaces around them, by column."""
        self.parts: dict[str, list[Array]] = {}
        """Good rows of each column, an array for each batch."""
        self._whole_numbers: dict[str, bool] = {}

    @abstractmethod
    def start(self, frame: pl.DataFrame) -> None:
        """Inspect the first batch: require its columns, infer the format of times, and name all parts."""

    @abstractmethod
    def encode(self, batch: Batch) -> dict[str, pl.Series]:
        """Return the columns but the ids, (rows,) each, and drop the bad rows of the batch, in which they are ignored.

        Floats are stored as float32, with nan for null.
        """

    def add(self, frame: pl.DataFrame) -> None:
        """Encode one batch: keep its good rows as numbers, and count the bad ones."""
        left_out = frame[LEFT_OUT].to_numpy() if LEFT_OUT in frame.columns else None
        frame = plain(frame.drop(LEFT_OUT, strict=False))
        if not self.parts:
            self.start(frame)
            self._whole_numbers = {name: are_whole_numbers(frame[name]) for name in ("user", "item")}
        batch = Batch(frame, self)
        if left_out is not None:
            batch.good &= ~left_out
            self.summary.left_out += int(left_out.sum())
        ids = {name: as_ids(frame[name], whole_numbers=self._whole_numbers[name]) for name in ("user", "item")}
        if self._blank_lines and ids["user"].null_count():
            self._skip_blank_lines(batch)
        for name, cells in ids.items():
            batch.drop(name, "is missing", cells.is_null())
            if (cells.str.len_bytes().max() or 0) > MAX_LENGTH:  # type: ignore[operator]
                batch.drop(name, f"has more than {MAX_LENGTH} characters", cells.str.len_chars() > MAX_LENGTH)
            if batch.frame[name].dtype == pl.String:
                batch.drop(name, "has a control character", cells.str.contains(CONTROL_CHARACTERS))
        columns = ids | self.encode(batch)
        self.summary.rows += len(frame)
        if self.summary.rows >= EARLY:
            self.check()
        chosen = None if batch.good.all() else pl.Series(batch.good)
        for name, cells in columns.items():
            self.parts[name].append(self._as_array(name, cells if chosen is None else cells.filter(chosen)))
        for name, cells in ids.items():
            self._count_spaces(name, batch, cells)
        step(self.label, self.summary.rows, None)

    def _skip_blank_lines(self, batch: Batch) -> None:
        """Leave out rows without any cell, which are not bad."""
        missing = [is_missing(cells).to_numpy() for cells in batch.frame.get_columns()]
        blank = np.logical_and.reduce(missing)
        self.summary.blank += int((batch.good & blank).sum())
        batch.good &= ~blank

    def _count_spaces(self, name: str, batch: Batch, ids: pl.Series) -> None:
        """Keep the codes of the ids of good rows that had spaces around them."""
        cells = batch.frame[name]
        if cells.dtype != pl.String or cells.str.len_bytes().sum() == ids.str.len_bytes().sum():
            return
        spaced = (cells.str.len_bytes() != cells.str.strip_chars().str.len_bytes()).fill_null(False).to_numpy()
        if (spaced & batch.good).any():
            self.spaced.setdefault(name, []).append(self.parts[name][-1][spaced[batch.good]])

    def space_notes(self, name: str, counts: Array) -> list[str]:
        """Return what the removal of spaces around the ids of "user" or "item" did; `counts` are rows by code."""
        if name not in self.spaced:
            return []
        spaced = np.bincount(np.concatenate(self.spaced[name]), minlength=len(counts))
        merged = int(((spaced > 0) & (spaced < counts[: len(spaced)])).sum())
        column = self.column_name(name)
        notes = [f"spaces around {column} are removed, in {_rows(int(spaced.sum()))}"]
        if merged:
            ids = "1 id is" if merged == 1 else f"{merged:,} ids are"
            notes.append(f"warning: {ids} in column {column} both with and without spaces: each counts as one {name}")
        return notes

    def _as_array(self, name: str, cells: pl.Series) -> Array:
        if name in self.ids:
            return cells.cast(pl.Categorical(self.ids[name])).to_physical().to_numpy().astype(np.int32)
        if cells.dtype.is_float():
            return cells.cast(pl.Float32).fill_null(float("nan")).to_numpy().astype(np.float32)
        return np.array(cells.to_numpy())  # a copy, which does not keep the batch alive

    def column_name(self, name: str) -> str:
        """Return the original name of a column."""
        return self._column_names.get(name, name)

    def infer_time_format(self, cells: pl.Series) -> None:
        """Set the format of timestamps; raises InputError if most of them cannot be parsed, or can be in two ways."""
        wanted = self.options.time_format
        found = TimeFormat.infer(cells, is_time=True) if wanted is None else TimeFormat.named(wanted)
        self.time_format = found
        row = (~is_missing(cells)).arg_max() or 0
        at = {"row": self.first_row + row, "column": self.column_name("time"), "value": cells[row]}
        other = f"name another column, --column {self.prefix}time=NAME, or say how times are written: --time-format "
        if found is None:
            cause = "most times are neither numbers since 1970 nor dates in a known spelling"
            raise InputError(self.name, **at, cause=cause, cure=f"{other}'%d/%m/%Y %H:%M'")
        if found.year_first:
            cause = "dates of this column may begin or end with the year"
            cure = (
                f"add --time-format '{found.year_first}' if the year is first, --time-format dmy or mdy if it is last"
            )
            raise InputError(self.name, **at, cause=cause, cure=cure)
        if found.ambiguous:
            cause = "no date of this column shows whether the day or the month comes first"
            cure = "add --time-format dmy if the day is first, --time-format mdy if the month is"
            raise InputError(self.name, **at, cause=cause, cure=cure)
        if wanted is not None and 2 * len(found.parse(cells).drop_nulls()) <= int((~is_missing(cells)).sum()):
            unread = (found.parse(cells).is_null() & ~is_missing(cells)).arg_max() or 0
            at = {**at, "row": self.first_row + unread, "value": cells[unread]}
            raise InputError(self.name, **at, cause=f"most times are not {found}", cure=f"{other}FORMAT")
        plausible = found.parse(cells).is_between(*PLAUSIBLE)
        self._plausible_times = 2 * int(plausible.sum()) > len(cells)

    def times(self, batch: Batch) -> pl.Series:
        """Return the timestamps in nanoseconds since 1970, (rows,), and drop rows without a valid one."""
        assert self.time_format is not None
        cells = batch.frame["time"]
        times = self.time_format.parse(cells)
        if cells.dtype == pl.String and not self.time_format.unit:
            with_clock = cells.str.contains(r"\d:\d\d")
            zoned = cells.str.contains(ZONE)
            self._zoned += int(zoned.sum())
            self._unzoned += int((with_clock & ~zoned).sum())
        batch.drop("time", "is missing", is_missing(cells))
        batch.drop("time", "cannot be read", times.is_null())
        batch.drop("time", "is before 1970", times < 0)
        if self._plausible_times:
            batch.drop("time", "is not between the years 1971 and 2100", ~times.is_between(*POSSIBLE))
        return times

    def zone_notes(self) -> list[str]:
        """Return a warning if some of the times have an offset from UTC and others have none."""
        if not (self._zoned and self._unzoned):
            return []
        return [
            f"warning: {self._zoned:,} times in column {self.column_name('time')!r} have an offset from UTC, and "
            f"{self._unzoned:,} have none: these are read as UTC"
        ]

    def check(self, *, complete: bool = False) -> None:
        """Raise InputError if too many rows are bad, or if all rows of a completely read table are."""
        self.summary.check(self.name, self.options, self.cure, complete=complete)

    def take(self, name: str) -> Array:
        """Return a column, (good rows,), and release its parts."""
        parts = self.parts.pop(name)
        column: Array = np.concatenate(parts)
        return column
