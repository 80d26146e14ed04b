"""Cells become ids, moments and numbers, whatever type the source stored them in."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

SECOND = 1_000_000_000
UNITS = {"seconds": SECOND, "milliseconds": 1_000_000, "microseconds": 1_000, "nanoseconds": 1}
"""Nanoseconds in each unit in which times are counted."""
LIMITS = {"seconds": 1e11, "milliseconds": 1e14, "microseconds": 1e17}
"""Numbers from which a time is not in that unit: the year 5138 in each."""

FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y%m%dT%H%M%S",
)
"""Dates that can be read in one way only; 03/04/2020 cannot."""

WHOLE = r"^-?\d+\.0+$"


def absent(cells: pl.Series) -> pl.Series:
    """Return which cells hold nothing: null, and text that is empty or blank."""
    return cells.is_null() if cells.dtype != pl.String else cells.is_null() | (cells.str.strip_chars() == "")


def as_ids(cells: pl.Series, *, whole: bool = False) -> pl.Series:
    """Return ids as text, null where there is none; whole numbers lose their ".0", in text only if `whole`.

    >>> as_ids(pl.Series([12.0, None, 1.5])).to_list()
    ['12', None, '1.5']
    """
    if cells.dtype.is_float():
        exact = (cells == cells.round(0)) & (cells.abs() < 2**63)
        text = cells.cast(pl.String)
        numbers = cells.cast(pl.Int64, strict=False).cast(pl.String)
        return numbers.zip_with(exact.fill_null(False), text).set(~cells.is_finite().fill_null(False), None)
    if cells.dtype.is_decimal():
        return cells.cast(pl.String).str.replace(r"\.0*$", "")
    text = cells.cast(pl.String)
    if whole:
        text = text.str.replace(r"^(-?\d+)\.0+$", "${1}")
    return text.set(absent(text), None)


def are_whole(cells: pl.Series) -> bool:
    """Return whether all ids are whole numbers that were written as floats, "12.0", as data frames with gaps do."""
    if cells.dtype != pl.String:
        return False
    there = cells.filter(~absent(cells))
    return bool(len(there)) and bool(there.str.contains(WHOLE).all())


def as_numbers(cells: pl.Series) -> pl.Series:
    """Return numbers as Float64, null where there is none and where it is not a number."""
    if cells.dtype == pl.String:
        cells = cells.str.strip_chars()
    return cells.cast(pl.Float64, strict=False).fill_nan(None)


@dataclass(frozen=True, slots=True)
class Clock:
    """How the times of a column are written."""

    unit: str = ""
    """A key of `UNITS` where times are numbers."""
    pattern: str = ""
    """One of `FORMATS` where times are text."""

    def __str__(self) -> str:
        return f"{self.unit} since 1970" if self.unit else f"dates like {self.pattern}" if self.pattern else "dates"

    @staticmethod
    def of(cells: pl.Series) -> Clock | None:
        """Return the clock that reads most of the cells; None: no clock reads half of them.

        >>> Clock.of(pl.Series(["978300760000", "978302109000"]))
        Clock(unit='milliseconds', pattern='')
        """
        if cells.dtype.is_temporal():
            return Clock()
        there = cells.filter(~absent(cells))
        numbers = as_numbers(there).drop_nulls()
        if 2 * len(numbers) > len(there):
            size = numbers.abs().median()
            assert isinstance(size, float)
            return Clock(unit=next((unit for unit, limit in LIMITS.items() if size < limit), "nanoseconds"))
        if cells.dtype != pl.String or not len(there):
            return None
        read = {pattern: len(_parsed(there, pattern).drop_nulls()) for pattern in FORMATS}
        best = max(read, key=lambda pattern: read[pattern])
        return Clock(pattern=best) if 2 * read[best] > len(there) else None

    def read(self, cells: pl.Series) -> pl.Series:
        """Return nanoseconds since 1970, UTC, Int64; null where a cell cannot be read or lies after 2262.

        Nor can a number whose size speaks for another unit: seconds among milliseconds would land in 1970.
        """
        if self.pattern:
            return _parsed(cells, self.pattern) if cells.dtype == pl.String else pl.repeat(None, len(cells), eager=True)
        if cells.dtype.is_temporal():
            return _moments(cells)
        numbers = as_numbers(cells)
        lowest = max((limit for unit, limit in LIMITS.items() if UNITS[unit] > UNITS[self.unit]), default=0.0)
        strange = ((numbers >= 0) & (numbers < lowest)) | (numbers >= LIMITS.get(self.unit, float("inf")))
        cells = cells.set(strange.fill_null(False), None)
        size = UNITS[self.unit]
        limit = (2**63 - 1) // size
        if cells.dtype == pl.String:
            cells = cells.str.strip_chars()
        whole = cells if cells.dtype.is_integer() else cells.cast(pl.Int64, strict=False)
        if cells.dtype.is_float() or whole.null_count() > cells.null_count():
            parts = as_numbers(cells)
            parts = parts.set((parts.abs() >= limit).fill_null(False), None)
            rest = (parts * size).round(0).cast(pl.Int64, strict=False)
            if cells.dtype.is_float():
                return rest
        else:
            rest = None
        whole = whole.cast(pl.Int64, strict=False)
        whole = whole.set((whole.abs() > limit).fill_null(False), None) * size
        return whole if rest is None else whole.zip_with(whole.is_not_null(), rest)


def _parsed(cells: pl.Series, pattern: str) -> pl.Series:
    """Return text read by a pattern as nanoseconds, null where it does not fit."""
    if pattern.endswith("%#z"):
        # the letter Z and the offset +00 are spelt in many ways; the parser knows +00:00
        cells = cells.str.replace(r"[zZ]$| ?UTC$", "+00:00").str.replace(r"([+-]\d\d)$", "${1}:00")
        return _moments(cells.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False))
    if "%H" not in pattern:
        return _moments(cells.str.to_date(pattern, strict=False))
    return _moments(cells.str.to_datetime(pattern, time_unit="us", strict=False))


def _moments(cells: pl.Series) -> pl.Series:
    """Return dates and datetimes as nanoseconds, null beyond the year 2262; without a zone they are UTC."""
    if cells.dtype == pl.Datetime("ns") or (isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_unit == "ns"):
        return cells.to_physical()
    if cells.dtype == pl.Date:
        cells = cells.cast(pl.Datetime("us"))
    if not isinstance(cells.dtype, pl.Datetime):
        return pl.Series([None] * len(cells), dtype=pl.Int64)
    per = 1_000 if cells.dtype.time_unit == "us" else 1_000_000
    steps = cells.to_physical()
    return steps.set((steps.abs() > (2**63 - 1) // per).fill_null(False), None) * per
