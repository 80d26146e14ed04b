"""Features are given a kind by what they hold, unless somebody says better."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import get_args

import numpy as np
import polars as pl

from pasand.data.encoding.cells import SECOND, Clock, absent, as_ids, as_numbers
from pasand.data.features import TIME_UNKNOWN, Feature, Kind
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.types import Array

SEPARATORS = ("|", ";")
"""What stands between the parts of a bag that is written as text."""

TEXT_LENGTH = 40
"""Mean length in characters above which a column is text, however often its values come back."""


def kind_of(cells: pl.Series) -> Kind:
    """Return the kind that suits a column best.

    >>> kind_of(pl.Series(["Drama|Comedy", "Drama", "Action|Drama"]))
    'bag'
    >>> kind_of(pl.Series(["F", "M", "F", "F"])), kind_of(pl.Series([1.5, 2.0]))
    ('categorical', 'number')
    """
    if isinstance(cells.dtype, pl.List | pl.Array):
        inner = cells.dtype.inner
        return "vector" if inner is not None and inner.is_float() else "bag"
    if cells.dtype.is_temporal():
        return "time"
    if cells.dtype.is_numeric():
        return "number"
    if cells.dtype != pl.String:
        return "categorical"
    there = cells.filter(~absent(cells))
    if not len(there):
        return "categorical"
    numbers = as_numbers(there)
    if numbers.null_count() == 0:
        # a number with leading zeros is a code, such as that of a post office
        return "categorical" if there.str.contains(r"^0\d").any() else "number"
    clock = Clock.of(there)
    if clock is not None and clock.pattern:
        return "time"
    length = there.str.len_chars().mean()
    if _separator(there) and isinstance(length, float) and length < 2 * TEXT_LENGTH:
        return "bag"
    seldom = there.n_unique() > max(2, len(there) // 2)
    return "text" if seldom or (isinstance(length, float) and length > TEXT_LENGTH) else "categorical"


def _separator(there: pl.Series) -> str | None:
    """Return what stands between the parts of a bag: it occurs in a fifth of the cells or more."""
    for separator in SEPARATORS:
        if there.str.contains(separator, literal=True).mean() >= 0.2:  # type: ignore[operator]
            return separator
    return None


def feature(cells: pl.Series, kind: Kind) -> Feature:
    """Return a column as a feature of the given kind; (n,). What cannot be read as that kind is missing."""
    builders = {"categorical": _categorical, "bag": _bag, "number": _number, "text": _text, "vector": _vector}
    return _time(cells) if kind == "time" else builders[kind](cells)


def _categorical(cells: pl.Series) -> Feature:
    names = as_ids(cells)
    vocabulary = Vocabulary(names.drop_nulls())
    codes = np.full(len(cells), -1, np.int32)
    codes[names.is_not_null().to_numpy()] = vocabulary.rows(names.drop_nulls())
    return Feature(kind="categorical", values=codes, names=tuple(vocabulary.series))


def _bag(cells: pl.Series) -> Feature:
    if cells.dtype == pl.String:
        cells = cells.str.split(_separator(cells.drop_nulls()) or SEPARATORS[0])
    elif isinstance(cells.dtype, pl.Array):
        cells = cells.arr.to_list()
    elif not isinstance(cells.dtype, pl.List):
        cells = as_ids(cells).reshape((-1, 1)).arr.to_list()
    rows = pl.DataFrame({"row": pl.int_range(len(cells), eager=True), "name": cells}).explode("name")
    rows = rows.with_columns(as_ids(rows["name"]).str.strip_chars().alias("name"))
    rows = rows.filter(rows["name"].is_not_null() & (rows["name"] != "")).unique(maintain_order=True)
    vocabulary = Vocabulary(rows["name"])
    row = rows["row"].to_numpy().astype(np.int64)
    count = np.bincount(row, minlength=len(cells))
    values = np.full((len(cells), max(1, int(count.max(initial=0)))), -1, np.int32)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    values[row, place] = vocabulary.rows(rows["name"])
    return Feature(kind="bag", values=values, names=tuple(vocabulary.series))


def _number(cells: pl.Series) -> Feature:
    numbers = as_numbers(cells).cast(pl.Float32).fill_null(float("nan"))
    return Feature(kind="number", values=numbers.to_numpy().astype(np.float32))


def _text(cells: pl.Series) -> Feature:
    words = as_ids(cells).fill_null("").to_list()
    return Feature(kind="text", values=np.array(words, dtype=np.dtypes.StringDType()))


def _vector(cells: pl.Series) -> Feature:
    if cells.dtype == pl.String:
        cells = cells.str.extract_all(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?").cast(pl.List(pl.Float64), strict=False)
    width = max((len(vector) for vector in cells.to_list() if vector is not None), default=1)
    values: Array = np.full((len(cells), max(1, width)), np.nan, np.float32)
    for row, vector in enumerate(cells.to_list()):
        if vector is not None and len(vector) == width:
            values[row] = [np.nan if number is None else number for number in vector]
    return Feature(kind="vector", values=values)


def _time(cells: pl.Series) -> Feature:
    clock = Clock.of(cells)
    moments = pl.Series([None] * len(cells), dtype=pl.Int64) if clock is None else clock.read(cells)
    known = moments.is_not_null().to_numpy()
    values = np.full(len(cells), TIME_UNKNOWN, np.int64)
    values[known] = moments.drop_nulls().to_numpy() // SECOND
    return Feature(kind="time", values=values)


def features_of(
    vocabulary: Vocabulary,
    frame: pl.DataFrame | None,
    kinds: Mapping[str, Kind],
    side: str,
    told: Collection[str] = (),
    where: str = "",
) -> tuple[dict[str, Feature], list[str]]:
    """Return the features of a vocabulary's rows from a frame with a column `id`, and what was taken for what.

    `kinds` names kinds by feature, or by "users.feature" and "items.feature"; those in `told` come from a person. Of
    several lines for one id the first counts. Raises InputError where nothing can be read as the kind asked for.
    """
    if frame is None:
        return {}, []
    frame = frame.with_columns(as_ids(frame["id"], whole=True).alias("id")).drop_nulls("id")
    lines = frame.unique("id", keep="first", maintain_order=True)
    notes = [f"{len(frame) - len(lines):,} lines on {side} left out: the id came before"] * (len(lines) < len(frame))
    silent = len(lines) - len(lines.filter(lines["id"].is_in(vocabulary.series.implode())))
    if silent:
        notes.append(f"{silent:,} {side} left out: they have features but no events")
    aligned = vocabulary.series.to_frame().join(lines, on="id", how="left", maintain_order="left")
    found = {}
    for cells in aligned.drop("id").get_columns():
        name = cells.name
        kind = kinds.get(f"{side}.{name}", kinds.get(name)) or kind_of(cells)
        if kind not in get_args(Kind):
            raise InputError(where or side, column=name, value=kind, cause="there is no such kind", cure=_KINDS)
        found[name] = feature(cells, kind)
        if (name in told or f"{side}.{name}" in told) and len(cells.drop_nulls()) and found[name].absent().all():
            example = cells.drop_nulls()[0]
            raise InputError(where or side, column=name, value=example, cause=f"no {kind} can be read", cure=_KINDS)
    if found:
        notes.append(f"{side}: " + ", ".join(f"{name} ({feature.kind})" for name, feature in found.items()))
    return found, notes


_KINDS = f"choose one of {', '.join(get_args(Kind))}"
