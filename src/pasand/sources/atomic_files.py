"""RecBole's atomic files: features of users and items in NAME.user and NAME.item, beside the events in NAME.inter."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import polars.exceptions

from pasand.errors import InputError

COLUMN = re.compile(r"(.+):(token|token_seq|float|float_seq)")
"""Column names of atomic files, with the type of the column."""
WORDS = re.compile(r"(.*_)?(title|name|description|text|review|summary)")
"""Names of the sequences that are the words of a text, and no list."""
SIDES = {"users": (".user", "user_id"), "items": (".item", "item_id")}
"""Extension and id column of the features of each side."""


def features_beside(events: list[Path]) -> dict[str, pl.DataFrame]:
    """Return the features of "users" and "items" beside a file of events, whose id is in column "id".

    {} unless the events are one NAME.inter; a side without a file is left out. Raises InputError as `features`.
    """
    if len(events) != 1 or events[0].suffix.lower() != ".inter":
        return {}
    beside = {side: events[0].with_suffix(suffix) for side, (suffix, _) in SIDES.items()}
    return {side: features(file, SIDES[side][1]) for side, file in beside.items() if file.is_file()}


def features(file: Path, key: str) -> pl.DataFrame:
    """Return a table of features: tokens as texts, sequences as lists, floats as numbers; "id" is column `key`.

    A sequence of tokens that is named as a text, such as "movie_title", is one.

    Raises InputError where the file is no atomic file, has no such column, or has a cell that is not a number.
    """
    cure = f"begin it with a line such as {key}:token<TAB>NAME:token_seq"
    try:
        table = pl.read_csv(file, separator="\t", infer_schema=False, quote_char=None)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise InputError(file, cause=f"not an atomic file ({str(error).partition(chr(10))[0]})", cure=cure) from None
    found = {name: COLUMN.fullmatch(name) for name in table.columns}
    untyped = [name for name, match in found.items() if match is None]
    if untyped:
        raise InputError(file, column=untyped[0], cause="the column has no type", cure=cure)
    columns = [_typed(file, table[name], match[1], match[2]) for name, match in found.items() if match is not None]
    typed = pl.DataFrame(columns)
    if key not in typed.columns:
        raise InputError(file, cause=f"there is no column {key}", cure=cure)
    return typed.rename({key: "id"})


def _typed(file: Path, cells: pl.Series, name: str, kind: str) -> pl.Series:
    """Return the cells of a column by their type; an empty cell has no value."""
    cells = cells.alias(name)
    if kind == "token" or (kind == "token_seq" and WORDS.fullmatch(name)):
        return cells
    parts = cells.str.split(" ") if kind.endswith("_seq") else cells
    if kind == "token_seq":
        return parts.list.eval(pl.element().filter(pl.element() != ""))
    target = pl.List(pl.Float64) if kind == "float_seq" else pl.Float64
    try:
        return parts.cast(target)
    except polars.exceptions.PolarsError:
        lost = parts.cast(target, strict=False)
        bad = lost.list.eval(pl.element().is_null()).list.any() if kind == "float_seq" else lost.is_null()
        row = (bad & cells.is_not_null()).arg_true()[0]
        cause, cure = "not a number", f"write numbers, or {name}:token"
        raise InputError(file, row=row + 2, column=name, value=cells[row], cause=cause, cure=cure) from None
