"""Parses cells into ids, timestamps, numbers and booleans, whatever type the source stored them in."""

from __future__ import annotations

import uuid
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
    "%Y/%m/%d %H:%M",
    "%Y%m%dT%H%M%S",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y%m%dT%H%M%S%#z",
    "%Y%m%d",
)
"""Unambiguous date formats, of which a column may mix several; 03/04/2020 is ambiguous."""

BASIC_DATE = r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0+)?$"
"""Dates like 20240120, which are no numbers since 1970."""
PLAUSIBLE = (631_152_000 * SECOND, 4_102_444_800 * SECOND)
"""The years 1990 to 2100: most timestamps of a log of interactions are between them."""
POSSIBLE = (31_536_000 * SECOND, 4_102_444_800 * SECOND)
"""The years 1971 to 2100: among plausible timestamps others are placeholders, such as 0."""

WHOLE_NUMBER = r"^-?\d+\.0+$"

BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose categorical columns and columns of bytes are text; see `text_of_bytes`."""
    converted = []
    for cells in frame.get_columns():
        if isinstance(cells.dtype, pl.Categorical | pl.Enum):
            converted.append(cells.cast(pl.String))
        elif cells.dtype == pl.Binary:
            distinct = cells.drop_nulls().unique()
            texts = pl.Series([text_of_bytes(value) for value in distinct.to_list()], dtype=pl.String)
            converted.append(cells.replace_strict(distinct, texts, default=None, return_dtype=pl.String))
    return frame.with_columns(converted) if converted else frame


def text_of_bytes(value: bytes) -> str:
    """Return bytes as text: UTF-8 where they are, else 16 bytes as a UUID, and others as hexadecimal digits.

    >>> text_of_bytes(b"20"), text_of_bytes(b"\\xff" * 16)
    ('20', 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()
    return text if text.isprintable() or len(value) != 16 else str(uuid.UUID(bytes=value))


def is_missing(cells: pl.Series) -> pl.Series:
    """Return whether each cell is null, or text that is empty or blank."""
    return cells.is_null() if cells.dtype != pl.String else cells.is_null() | (cells.str.strip_chars() == "")


def as_ids(cells: pl.Series, *, whole_numbers: bool = False) -> pl.Series:
    """Return ids as text, null where missing; whole numbers lose their ".0", in text only with `whole_numbers`.

    Spaces around text are no part of an id.

    >>> as_ids(pl.Series([12.0, None, 1.5])).to_list(), as_ids(pl.Series([" 17"])).to_list()
    (['12', None, '1.5'], ['17'])
    """
    if cells.dtype.is_float():
        whole = (cells == cells.round(0)) & (cells.abs() < 2**63)
        text = cells.cast(pl.String)
        numbers = cells.cast(pl.Int64, strict=False).cast(pl.String)
        return numbers.zip_with(whole.fill_null(False), text).set(~cells.is_finite().fill_null(False), None)
    if cells.dtype.is_decimal():
        return cells.cast(pl.String).str.replace(r"\.0*$", "")
    text = cells.cast(pl.String)
    if cells.dtype == pl.String:
        text = text.str.strip_chars()
    if whole_numbers:
        text = text.str.replace(r"^(-?\d+)\.0+$", "${1}")
    return text.set(text == "", None)


def are_whole_numbers(cells: pl.Series) -> bool:
    """Return whether all ids are texts like "12.0", as data frames write integer columns with missing values."""
    if cells.dtype != pl.String:
        return False
    present = cells.filter(~is_missing(cells))
    return bool(len(present)) and bool(present.str.strip_chars().str.contains(WHOLE_NUMBER).all())


def as_numbers(cells: pl.Series) -> pl.Series:
    """Return numbers as Float64, null where a cell is missing or is not a number."""
    if cells.dtype == pl.String:
        cells = cells.str.strip_chars()
    return cells.cast(pl.Float64, strict=False).fill_nan(None)


def as_values(cells: pl.Series) -> pl.Series:
    """Return ratings or strengths as Float64, null where a cell is neither a number nor true or false, yes or no.

    >>> as_values(pl.Series(["4.5", "True", "no", "x"])).to_list()
    [4.5, 1.0, 0.0, None]
    """
    numbers = as_numbers(cells)
    if cells.dtype != pl.String or numbers.null_count() == cells.null_count():
        return numbers
    return numbers.zip_with(numbers.is_not_null(), as_booleans(cells).cast(pl.Float64))


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
        if cells.dtype.is_nested() or cells.dtype in (pl.Time, pl.Duration, pl.Boolean, pl.Binary, pl.Object):
            return None
        if cells.dtype.is_temporal():
            return TimeFormat()
        present = cells.filter(~is_missing(cells))
        if cells.dtype.is_integer() or cells.dtype == pl.String:
            basic = int(present.cast(pl.String).str.contains(BASIC_DATE).sum())
            if 2 * basic > len(present):
                return TimeFormat(pattern="%Y%m%d")
        numbers = as_numbers(present).drop_nulls()
        if 2 * len(numbers) > len(present):
            magnitude = numbers.abs().median()
            assert isinstance(magnitude, float)
            return TimeFormat(unit=next((unit for unit, limit in LIMITS.items() if magnitude < limit), "nanoseconds"))
        if cells.dtype != pl.String or not len(present):
            return None
        if 2 * int(present.str.contains(r"^\s*[+-]?\d").sum()) <= len(present):
            return None  # every format begins with a year; a million titles need not be parsed to see that
        counts = {pattern: len(_parsed(present, pattern).drop_nulls()) for pattern in FORMATS}
        best = max(counts, key=lambda pattern: counts[pattern])
        parsed = len(TimeFormat(pattern=best).parse(present).drop_nulls())
        return TimeFormat(pattern=best) if counts[best] and 2 * parsed > len(present) else None

    def parse(self, cells: pl.Series) -> pl.Series:
        """Return nanoseconds since 1970, UTC, Int64; null where a cell cannot be parsed or is after 2262.

        A number whose magnitude suggests another unit is null, too: seconds read as milliseconds would be in 1970.
        Text in another of the `FORMATS` is read as well; without a zone it is UTC.
        """
        if self.pattern:
            if self.pattern == "%Y%m%d" and cells.dtype.is_integer():
                cells = cells.cast(pl.String)
            if cells.dtype != pl.String:
                return pl.Series([None] * len(cells), dtype=pl.Int64)
            cells = cells.str.strip_chars()
            parsed = _parsed(cells, self.pattern)
            for pattern in FORMATS:
                rest = parsed.is_null() & ~is_missing(cells)
                if pattern != self.pattern and rest.any():
                    parsed = parsed.zip_with(~rest, _parsed(cells.set(~rest, None), pattern))
            return parsed
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
    if pattern == "%Y%m%d":
        cells = cells.str.extract(f"({BASIC_DATE})").str.replace(r"\.0+$", "")
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
