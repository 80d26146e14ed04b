"""Parses cells into ids, numbers and booleans, whatever type the source stored them in."""

from __future__ import annotations

import uuid

import polars as pl

WHOLE_NUMBER = r"^-?\d+\.0+$"

DECIMAL_COMMA = r"^[+-]?(\d*|\d{1,3}(\.\d{3})+),(\d{1,2}|\d{4,})$|^[+-]?\d{1,3}(\.\d{3})+,\d+$|^[+-]?(0+|\d{4,}),\d+$"
"""Numbers whose comma cannot be between thousands."""
POINTED_THOUSANDS = r"^[+-]?\d{1,3}(\.\d{3})+$"
"""Numbers whose points may be between thousands; they are if there are two."""
COMMA_THOUSANDS = r"^[+-]?\d{1,3}(,\d{2,3})*,\d{3}(\.\d+)?$"
"""Numbers whose commas may be between thousands, or between lakhs and crores."""
EITHER_COMMA = r"^[+-]?\d{1,3},\d{3}$"
"""Numbers whose comma may be a decimal one, too."""
CURRENCY = r"(?i)^([+-]?)\s*(?:\p{Sc}|rs\.?|inr|usd|eur|gbp)\s*(?:([+-])\s*)?(\d)"
CURRENCY_BEHIND = r"(?i)\s*(?:\p{Sc}|rs\.?|inr|usd|eur|gbp|/-)+$"

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


def as_values(cells: pl.Series, *, decimal_comma: bool | None = None) -> pl.Series:
    """Return ratings or strengths as Float64, null where a cell is neither a number nor true or false, yes or no.

    Numbers may have decimal commas, or commas between thousands, and the sign or code of a currency. Where a comma may
    be either, as in 1,250, `decimal_comma` decides; None: what the other cells show, see `comma_evidence`.

    >>> as_values(pl.Series(["4.5", "True", "no", "x"])).to_list()
    [4.5, 1.0, 0.0, None]
    >>> as_values(pl.Series(["4,5", "1.250,75"])).to_list(), as_values(pl.Series(["1,250", "12"])).to_list()
    ([4.5, 1250.75], [1250.0, 12.0])
    >>> as_values(pl.Series(["₹1,29,999.00", "Rs. 1,299", "-€5", "1,299/-"])).to_list()
    [129999.0, 1299.0, -5.0, 1299.0]
    """
    numbers = as_numbers(cells)
    if cells.dtype != pl.String or (numbers.null_count() == cells.null_count() and not decimal_comma):
        return numbers
    text = _without_currency(cells)
    if decimal_comma is None:
        decimal_comma = comma_evidence(cells) > 0
    with_comma = text.str.contains(DECIMAL_COMMA)
    pointed = text.str.contains(r"^[+-]?\d{1,3}(\.\d{3}){2,}$")
    if decimal_comma:
        with_comma |= text.str.contains(EITHER_COMMA)
        pointed |= text.str.contains(POINTED_THOUSANDS)
    between = text.str.contains(COMMA_THOUSANDS)
    plain = text.zip_with(~between.fill_null(False), text.str.replace_all(",", "", literal=True))
    european = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    found = as_numbers(european.zip_with((with_comma | pointed).fill_null(False), plain))
    return found.zip_with(found.is_not_null(), as_booleans(cells).cast(pl.Float64))


def comma_evidence(cells: pl.Series) -> int:
    """Return how many texts have a decimal comma for certain, less those that have a decimal point for certain.

    >>> comma_evidence(pl.Series(["4,5", "1.250.000", "1,250", "1.250"])), comma_evidence(pl.Series(["4.5", "1,250"]))
    (2, -1)
    """
    text = _without_currency(cells)
    comma = text.str.contains(DECIMAL_COMMA) | text.str.contains(r"^[+-]?\d{1,3}(\.\d{3}){2,}$")
    point = text.str.contains(r"^[+-]?[\d,]*\.\d+$") & ~text.str.contains(POINTED_THOUSANDS)
    return int(comma.sum()) - int(point.sum())


def _without_currency(cells: pl.Series) -> pl.Series:
    """Return texts without spaces around them and without the sign or code of a currency."""
    text = cells.str.strip_chars()
    if not (as_numbers(text).is_null() & text.is_not_null()).any():
        return text
    return text.str.replace(CURRENCY, "${1}${2}${3}").str.replace(CURRENCY_BEHIND, "")


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
