"""Parses cells into ids, timestamps, numbers and booleans, whatever type the source stored them in."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

SECOND = 1_000_000_000
UNITS = {"seconds": SECOND, "milliseconds": 1_000_000, "microseconds": 1_000, "nanoseconds": 1}
"""Nanoseconds in each unit of numeric timestamps."""
LIMITS = {"seconds": 1e11, "milliseconds": 1e14, "microseconds": 1e17}
"""Smallest numbers that are too large for a timestamp in that unit: the year 5138 in each."""

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
"""Unambiguous date formats; 03/04/2020 is ambiguous."""

WHOLE_NUMBER = r"^-?\d+\.0+$"

BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def is_missing(cells: pl.Series) -> pl.Series:
    """Return whether each cell is null, or text that is empty or blank."""
    return cells.is_null() if cells.dtype != pl.String else cells.is_null() | (cells.str.strip_chars() == "")


def as_ids(cells: pl.Series, *, whole_numbers: bool = False) -> pl.Series:
    """Return ids as text, null where missing. Whole numbers lose their ".0", in text only with `whole_numbers`.

    >>> as_ids(pl.Series([12.0, None, 1.5])).to_list()
    ['12', None, '1.5']
    """
    if cells.dtype.is_float():
        whole = (cells == cells.round(0)) & (cells.abs() < 2**63)
        text = cells.cast(pl.String)
        numbers = cells.cast(pl.Int64, strict=False).cast(pl.String)
        return numbers.zip_with(whole.fill_null(False), text).set(~cells.is_finite().fill_null(False), None)
    if cells.dtype.is_decimal():
        return cells.cast(pl.String).str.replace(r"\.0*$", "")
    text = cells.cast(pl.String)
    if whole_numbers:
        text = text.str.replace(r"^(-?\d+)\.0+$", "${1}")
    return text.set(is_missing(text), None)


def are_whole_numbers(cells: pl.Series) -> bool:
    """Return whether all ids are texts like "12.0", as data frames write integer columns with missing values."""
    if cells.dtype != pl.String:
        return False
    present = cells.filter(~is_missing(cells))
    return bool(len(present)) and bool(present.str.contains(WHOLE_NUMBER).all())


def as_numbers(cells: pl.Series) -> pl.Series:
    """Return numbers as Float64, null where a cell is missing or is not a number."""
    if cells.dtype == pl.String:
        cells = cells.str.strip_chars()
    return cells.cast(pl.Float64, strict=False).fill_nan(None)


def as_booleans(cells: pl.Series) -> pl.Series:
    """Return booleans, null where a cell is neither true nor false: 1 and 0, yes and no, true and false in any case.

    >>> as_booleans(pl.Series(["1", "no", "TRUE", "2"])).to_list()
    [True, False, True, None]
    """
    if cells.dtype == pl.Boolean:
        return cells
    if cells.dtype.is_numeric():
        return (cells == 1).set(~((cells == 0) | (cells == 1)).fill_null(False), None)
    text = cells.cast(pl.String).str.strip_chars().str.to_lowercase().str.replace(r"^([01])\.0+$", "${1}")
    return text.replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean)


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """Format of the timestamps of a column; without unit and pattern they are dates or datetimes."""

    unit: str = ""
    """Key of `UNITS` if timestamps are numbers."""
    pattern: str = ""
    """One of `FORMATS` if timestamps are text."""

    def __str__(self) -> str:
        return f"{self.unit} since 1970" if self.unit else f"dates like {self.pattern}" if self.pattern else "dates"

    @staticmethod
    def infer(cells: pl.Series) -> TimeFormat | None:
        """Return the format that parses most cells; None if no format parses more than half of them.

        >>> TimeFormat.infer(pl.Series(["978300760000", "978302109000"]))
        TimeFormat(unit='milliseconds', pattern='')
        """
        if cells.dtype.is_temporal():
            return TimeFormat()
        present = cells.filter(~is_missing(cells))
        numbers = as_numbers(present).drop_nulls()
        if 2 * len(numbers) > len(present):
            magnitude = numbers.abs().median()
            assert isinstance(magnitude, float)
            return TimeFormat(unit=next((unit for unit, limit in LIMITS.items() if magnitude < limit), "nanoseconds"))
        if cells.dtype != pl.String or not len(present):
            return None
        counts = {pattern: len(_parsed(present, pattern).drop_nulls()) for pattern in FORMATS}
        best = max(counts, key=lambda pattern: counts[pattern])
        return TimeFormat(pattern=best) if 2 * counts[best] > len(present) else None

    def parse(self, cells: pl.Series) -> pl.Series:
        """Return nanoseconds since 1970, UTC, Int64; null where a cell cannot be parsed or is after 2262.

        A number whose magnitude suggests another unit is null, too: seconds read as milliseconds would be in 1970.
        """
        if self.pattern:
            text = cells.dtype == pl.String
            return _parsed(cells, self.pattern) if text else pl.Series([None] * len(cells), dtype=pl.Int64)
        if cells.dtype.is_temporal():
            return _nanoseconds(cells)
        numbers = as_numbers(cells)
        lowest = max((limit for unit, limit in LIMITS.items() if UNITS[unit] > UNITS[self.unit]), default=0.0)
        other_unit = ((numbers >= 0) & (numbers < lowest)) | (numbers >= LIMITS.get(self.unit, float("inf")))
        cells = cells.set(other_unit.fill_null(False), None)
        scale = UNITS[self.unit]
        limit = (2**63 - 1) // scale
        if cells.dtype == pl.String:
            cells = cells.str.strip_chars()
        whole = cells if cells.dtype.is_integer() else cells.cast(pl.Int64, strict=False)
        if cells.dtype.is_float() or whole.null_count() > cells.null_count():
            floats = as_numbers(cells)
            floats = floats.set((floats.abs() >= limit).fill_null(False), None)
            fractional = (floats * scale).round(0).cast(pl.Int64, strict=False)
            if cells.dtype.is_float():
                return fractional
        else:
            fractional = None
        whole = whole.cast(pl.Int64, strict=False)
        whole = whole.set((whole.abs() > limit).fill_null(False), None) * scale
        return whole if fractional is None else whole.zip_with(whole.is_not_null(), fractional)


def _parsed(cells: pl.Series, pattern: str) -> pl.Series:
    """Return text parsed by a pattern as nanoseconds since 1970, null where it does not match."""
    if pattern.endswith("%#z"):
        # UTC and whole-hour offsets have several spellings; the parser accepts +00:00
        cells = cells.str.replace(r"[zZ]$| ?UTC$", "+00:00").str.replace(r"([+-]\d\d)$", "${1}:00")
        return _nanoseconds(cells.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False))
    if "%H" not in pattern:
        return _nanoseconds(cells.str.to_date(pattern, strict=False))
    return _nanoseconds(cells.str.to_datetime(pattern, time_unit="us", strict=False))


def _nanoseconds(cells: pl.Series) -> pl.Series:
    """Return dates and datetimes as nanoseconds since 1970, null beyond the year 2262; without a zone they are UTC."""
    if cells.dtype == pl.Datetime("ns") or (isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_unit == "ns"):
        return cells.to_physical()
    if cells.dtype == pl.Date:
        cells = cells.cast(pl.Datetime("us"))
    if not isinstance(cells.dtype, pl.Datetime):
        return pl.Series([None] * len(cells), dtype=pl.Int64)
    scale = 1_000 if cells.dtype.time_unit == "us" else 1_000_000
    counts = cells.to_physical()
    return counts.set((counts.abs() > (2**63 - 1) // scale).fill_null(False), None) * scale
