"""Formats of the times of a column: numbers since 1970, days of a spreadsheet, and dates in the usual spellings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from pasand.data.encoding.cells import as_numbers, is_missing
from pasand.errors import InputError
from pasand.types import Times

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
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
    "%Y-%m-%d %I:%M:%S %p",
    "%Y-%m-%d %I:%M %p",
    "%Y%m%d",
)
"""Formats that begin with the year, of which a column may mix several; other spellings are rewritten to one of them."""

BASIC_DATE = r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0+)?$"
"""Dates like 20240120, which are no numbers since 1970."""
PLAUSIBLE = (631_152_000 * SECOND, 4_102_444_800 * SECOND)
"""The years 1990 to 2100: most timestamps of a log of interactions are between them."""
POSSIBLE = (31_536_000 * SECOND, 4_102_444_800 * SECOND)
"""The years 1971 to 2100: among plausible timestamps others are placeholders, such as 0."""
SPREADSHEET_1970 = 25_569
"""Number of 1970-01-01 in a spreadsheet, which counts days from 1899-12-30."""
SPREADSHEET_SHARE = 0.9
"""Share of numbers that must be days between 1990 and 2100 for a column of times to be days of a spreadsheet."""

Order = Literal["dmy", "mdy"]
ORDERS: dict[Order, str] = {"dmy": "the day first, as in 31/12/2024", "mdy": "the month first, as in 12/31/2024"}
CHOICES = (*get_args(Order), *UNITS, "spreadsheet")
"""Formats that can be named, beside patterns such as %d/%m/%Y."""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY = r"^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+"
_MONTH = rf"({'|'.join(MONTHS)})[a-z]*\.?"
_NUMBERS = r"^(\d{1,2})([./-])(\d{1,2})[./-](\d{4}|\d\d)(?:,?\s+(\S.*)|T(\S.*))?$"
_DAY_AND_NAME = rf"^(\d{{1,2}})(?:st|nd|rd|th)?[\s-]+{_MONTH},?[\s-]+(\d{{4}}|\d\d)(?:,?\s+(\S.*))?$"
_NAME_AND_DAY = rf"^{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})(?:,?\s+(?:at\s+)?(\S.*))?$"
_YEAR_LAST = rf"^{_MONTH}\s+(\d{{1,2}})\s+(\d\d:\d\d:\d\d)\s+([+-]\d{{4}}|[a-z]{{3,4}})\s+(\d{{4}})$"


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """Format of the timestamps of a column; without unit and pattern they are dates or datetimes."""

    unit: str = ""
    """Key of `UNITS` if timestamps are numbers since 1970; "spreadsheet" for days since 1899-12-30."""
    pattern: str = ""
    """One of `FORMATS`, or a pattern that the user gave, if timestamps are text."""
    order: Order | None = None
    """Order of day and month where both are numbers before the year."""
    ambiguous: bool = False
    """Whether no date of the column shows its order."""
    year_first: str = ""
    """Pattern of the dates if they may begin with a year of two digits, "" if they do not."""

    def __str__(self) -> str:
        if self.unit == "spreadsheet":
            return "days of a spreadsheet since 1899-12-30"
        if self.order is not None:
            return f"dates with {ORDERS[self.order]}"
        return f"{self.unit} since 1970" if self.unit else f"dates like {self.pattern}" if self.pattern else "dates"

    @staticmethod
    def named(name: str) -> TimeFormat:
        """Return the format of one of `CHOICES`, or of a pattern of strptime; raises InputError for another name."""
        if name in get_args(Order):
            return TimeFormat(pattern=FORMATS[0], order=name)  # type: ignore[arg-type]
        if name in CHOICES:
            return TimeFormat(unit=name)
        if "%" not in name:
            cure = f"write one of {', '.join(CHOICES)}, or a pattern such as '%d/%m/%Y %H:%M'"
            raise InputError("--time-format", value=name, cause="no such format of times", cure=cure)
        return TimeFormat(pattern=name)

    @staticmethod
    def infer(cells: pl.Series, *, is_time: bool = False) -> TimeFormat | None:
        """Return the format that parses most cells; None if no format parses more than half of them.

        With `is_time` the column is known to hold times, by its name or by the user: then numbers from 32,874 to 73,050
        are days of a spreadsheet.

        >>> TimeFormat.infer(pl.Series(["978300760000", "978302109000"])).unit
        'milliseconds'
        >>> str(TimeFormat.infer(pl.Series(["03/04/2020", "13/04/2020"])))
        'dates with the day first, as in 31/12/2024'
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
            first_day, last_day = (bound // DAY + SPREADSHEET_1970 for bound in PLAUSIBLE)
            if is_time and int(numbers.is_between(first_day, last_day).sum()) >= SPREADSHEET_SHARE * len(numbers):
                return TimeFormat(unit="spreadsheet")
            magnitude = numbers.abs().median()
            assert isinstance(magnitude, float)
            return TimeFormat(unit=next((unit for unit, limit in LIMITS.items() if magnitude < limit), "nanoseconds"))
        if cells.dtype != pl.String or not len(present):
            return None
        if 2 * int(present.str.contains(rf"(?i)^\s*[+-]?\d|{_WEEKDAY}|^\s*{_MONTH}\s").sum()) <= len(present):
            return None  # a million titles need not be parsed to see that they are no dates
        order, ambiguous = _order(present)
        texts = _year_first(present, order or "dmy")
        counts = {pattern: len(_parsed(texts, pattern).drop_nulls()) for pattern in FORMATS}
        best = max(counts, key=lambda pattern: counts[pattern])
        found = TimeFormat(pattern=best, order=order, ambiguous=ambiguous, year_first=_year_first_pattern(present))
        return found if counts[best] and 2 * len(found.parse(present).drop_nulls()) > len(present) else None

    def parse(self, cells: pl.Series) -> pl.Series:
        """Return nanoseconds since 1970, UTC, Int64; null where a cell cannot be parsed or is after 2262.

        A number whose magnitude suggests another unit is null, too: seconds read as milliseconds would be in 1970.
        Text in another of the `FORMATS` is read as well; without a zone it is UTC.
        """
        if self.pattern:
            return self._parse_text(cells)
        if cells.dtype.is_temporal():
            return _nanoseconds(cells)
        if self.unit == "spreadsheet":
            days = as_numbers(cells)
            days = days.set(~days.is_between(0, 100_000).fill_null(False), None)
            # a spreadsheet keeps 15 digits: half a millisecond is noise
            return ((days - SPREADSHEET_1970) * 86_400_000).round(0).cast(pl.Int64) * 1_000_000
        return self._parse_numbers(cells)

    def _parse_text(self, cells: pl.Series) -> pl.Series:
        if self.pattern == "%Y%m%d" and cells.dtype.is_integer():
            cells = cells.cast(pl.String)
        if cells.dtype != pl.String:
            return pl.Series([None] * len(cells), dtype=pl.Int64)
        cells = cells.str.strip_chars()
        if self.pattern not in FORMATS:
            return _parsed(cells, self.pattern)
        parsed = _parsed(cells, self.pattern)
        rest = parsed.is_null() & ~is_missing(cells)
        if not rest.any():
            return parsed
        cells = _year_first(cells.set(~rest, None), self.order)
        for pattern in (self.pattern, *(other for other in FORMATS if other != self.pattern)):
            parsed = parsed.zip_with(~rest, _parsed(cells.set(~rest, None), pattern))
            rest = parsed.is_null() & ~is_missing(cells)
            if not rest.any():
                break
        return parsed

    def _parse_numbers(self, cells: pl.Series) -> pl.Series:
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


def time_notes(column: str, found: TimeFormat, time: Times) -> list[str]:
    """Return sentences about how a column of times was read: a warning if all events are before 1990.

    `time` are seconds since 1970 in ascending order, (E,).
    """
    read = f"time: {column!r}, read as {found}"
    if found.unit == "spreadsheet":
        read += "; if they are seconds since 1970, add --time-format seconds"
    notes = [read]
    if len(time) and time[-1] * SECOND < PLAUSIBLE[0]:
        first, last = (str(np.datetime64(int(second), "s")) for second in (time[0], time[-1]))
        notes.append(
            f"warning: all events are before 1990, from {first} to {last}: is {column!r} written in another way? "
            "Say so with --time-format, or name another column: --column time=NAME"
        )
    return notes


def _order(present: pl.Series) -> tuple[Order | None, bool]:
    """Return the order of day and month in dates of numbers that end with the year, and whether no date shows it.

    None where fewer than half of the cells are such dates. Dates with dots have the day first.
    """
    groups = present.str.strip_chars().str.extract_groups(_NUMBERS).struct
    first, second = (groups.field(group).cast(pl.Int32, strict=False) for group in ("1", "3"))
    if 2 * len(first.drop_nulls()) <= len(present):
        return None, False
    n_day_first, n_month_first = (int((values.is_between(13, 31)).sum()) for values in (first, second))
    if n_day_first or n_month_first:
        return ("dmy" if n_day_first >= n_month_first else "mdy"), False
    return "dmy", bool((groups.field("2") != ".").any())


def _year_first_pattern(present: pl.Series) -> str:
    """Return the pattern of dates that may begin with a year of two digits; "" where they do not.

    They may if they have two digits at the end, too, are dates when read so, and vary more at the end than at the
    beginning: a log has more days of the month than years.

    >>> _year_first_pattern(pl.Series(["24/01/03 09:07", "24/02/11 10:00"]))
    '%y/%m/%d %H:%M'
    >>> _year_first_pattern(pl.Series(["03/01/24", "11/02/24"]))
    ''
    """
    texts = present.str.strip_chars()
    groups = texts.str.extract_groups(_NUMBERS).struct
    first, middle, last = (groups.field(group) for group in ("1", "3", "4"))
    if 2 * len(first.drop_nulls()) <= len(present) or (last.str.len_chars() != 2).any():
        return ""
    if (middle.cast(pl.Int32) > 12).any() or not last.cast(pl.Int32).is_between(1, 31).all():
        return ""
    if (first.str.len_chars() != 2).any() or first.n_unique() >= last.n_unique():
        return ""
    clock = groups.field("5").drop_nulls()
    seconds = ":%S" * bool(len(clock) and clock.str.contains(r"^\d+:\d\d:\d\d").all())
    separator = str(groups.field("2").drop_nulls()[0])
    return separator.join(("%y", "%m", "%d")) + (f" %H:%M{seconds}" if len(clock) else "")


def _year_first(cells: pl.Series, order: Order | None) -> pl.Series:
    """Return text with dates of other spellings rewritten to begin with the year; all else stays as it is.

    Without an order, dates of three numbers with the year last stay as they are.
    """
    found = cells.str.strip_chars()
    lower = found.str.to_lowercase().str.replace(_WEEKDAY, "")
    frame = pl.DataFrame({"text": lower, "original": found})

    def rewritten(pattern: str, year: str, month: str, day: str, time: list[str], zone: str = "") -> pl.Expr:
        groups = pl.col("text").str.extract_groups(pattern).struct
        number = {name: str(n + 1) for n, name in enumerate(MONTHS)}
        months = groups.field(month).replace(number)
        years = groups.field(year)
        pivot = pl.when(years.str.len_chars() == 2).then(
            pl.when(years.cast(pl.Int32, strict=False) < 70).then(pl.lit("20") + years).otherwise(pl.lit("19") + years)
        )
        date = pl.concat_str(pivot.otherwise(years), months.str.zfill(2), groups.field(day).str.zfill(2), separator="-")
        clock = pl.coalesce([groups.field(name) for name in time]) if time else pl.lit(None, pl.String)
        # 9:05 pm, 9:05:00PM, 9.05 p.m.
        clock = clock.str.replace(r"^(\d):", "0${1}:").str.replace(r"\s*([ap])\.?m\.?$", " ${1}m")
        clock = clock.str.replace(r"\s+(gmt|utc|z)$", "+00:00").str.replace(r"\s+([+-]\d{4})$", "${1}")
        ending = groups.field(zone).str.replace(r"^(gmt|utc)$", "+00:00") if zone else pl.lit("")
        return pl.when(clock.is_null()).then(date).otherwise(date + pl.lit(" ") + clock + ending)

    spellings = [
        rewritten(_DAY_AND_NAME, "3", "2", "1", ["4"]),
        rewritten(_NAME_AND_DAY, "3", "1", "2", ["4"]),
        rewritten(_YEAR_LAST, "5", "1", "2", ["3"], "4"),
    ]
    if order is not None:
        day, month = ("1", "3") if order == "dmy" else ("3", "1")
        spellings.append(rewritten(_NUMBERS, "4", month, day, ["5", "6"]))
    return frame.select(pl.coalesce([*spellings, pl.col("original")]).alias("text"))["text"]


def _parsed(cells: pl.Series, pattern: str) -> pl.Series:
    """Return text parsed by a pattern as nanoseconds since 1970, null where it does not match."""
    if re.search("%#?:*z$", pattern):
        # UTC and whole-hour offsets have several spellings; the parser accepts +00:00
        cells = cells.str.replace(r"[zZ]$| ?UTC$", "+00:00").str.replace(r"([+-]\d\d)$", "${1}:00")
        return _nanoseconds(cells.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False))
    if pattern == "%Y%m%d":
        cells = cells.str.extract(f"({BASIC_DATE})").str.replace(r"\.0+$", "")
    if not re.search("%[HIsTRcX]", pattern):
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
