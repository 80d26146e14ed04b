"""Parses columns of users and items into typed features, and infers their kinds from the values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from shlex import quote
from typing import Any, get_args

import numpy as np
import polars as pl

from pasand.data.bags import Bags
from pasand.data.encoding.batch_encoder import CONTROL_CHARACTERS
from pasand.data.encoding.cells import WHOLE_NUMBER, as_ids, as_numbers, is_missing, plain
from pasand.data.encoding.column_roles import OTHER_ID, numbers_rows
from pasand.data.encoding.times import PLAUSIBLE, SECOND, TimeFormat
from pasand.data.features import AVAILABLE_FROM, TIME_UNKNOWN, Feature, Kind
from pasand.data.ids import MAX_LENGTH
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.types import Array

SEPARATORS = ("|", ";")
"""Separators between the members of a bag that is written as text."""

TEXT_LENGTH = 40
"""Mean length in characters above which a column is text, even if its values repeat."""


FEW, MOST = 0.1, 0.9
"""Shares of ids below which a table hardly joins with the events, and from which on a column joins with nearly all."""


def infer_kind(cells: pl.Series) -> Kind:
    """Return the kind of feature that suits a column best.

    >>> infer_kind(pl.Series(["Drama|Comedy", "Drama", "Action|Drama"]))
    'bag'
    >>> infer_kind(pl.Series(["F", "M", "F", "F"])), infer_kind(pl.Series([1.5, 2.0]))
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
    present = cells.filter(~is_missing(cells))
    if not len(present):
        return "categorical"
    numbers = as_numbers(present)
    if numbers.null_count() == 0:
        # a number with leading zeros is a code, such as a postal code
        return "categorical" if present.str.contains(r"^0\d").any() else "number"
    time_format = TimeFormat.infer(present)
    if time_format is not None and time_format.pattern and not time_format.ambiguous:
        return "time"
    length = present.str.len_chars().mean()
    if _separator(present) and isinstance(length, float) and length < 2 * TEXT_LENGTH:
        return "bag"
    mostly_unique = present.n_unique() > max(2, len(present) // 2)
    return "text" if mostly_unique or (isinstance(length, float) and length > TEXT_LENGTH) else "categorical"


def _has_structures(dtype: pl.DataType) -> bool:
    """Whether cells are structures, or lists of structures or of lists."""
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else None
    return isinstance(dtype, pl.Struct) or (isinstance(inner, pl.DataType) and inner.is_nested())


def _separator(present: pl.Series) -> str | None:
    """Return the separator between the members of a bag, which at least a fifth of the cells contain, else None."""
    for separator in SEPARATORS:
        if present.str.contains(separator, literal=True).mean() >= 0.2:  # type: ignore[operator]
            return separator
    return None


def feature(cells: pl.Series, kind: Kind, time_format: TimeFormat | None = None) -> Feature:
    """Return a column as a feature of the given kind, (n,). Cells that cannot be parsed as that kind are missing.

    `time_format` is that of a column of kind time; None: inferred.
    """
    builders = {"categorical": _categorical, "bag": _bag, "number": _number, "text": _text, "vector": _vector}
    return _time(cells, time_format or TimeFormat.infer(cells)) if kind == "time" else builders[kind](cells)


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
    start = np.searchsorted(row, np.arange(len(cells) + 1)).astype(np.int64)
    values: Any = Bags(vocabulary.rows(rows["name"]), start)
    return Feature(kind="bag", values=values, names=tuple(vocabulary.series))


def _number(cells: pl.Series) -> Feature:
    numbers = as_numbers(cells).cast(pl.Float32).fill_null(float("nan"))
    return Feature(kind="number", values=numbers.to_numpy().astype(np.float32))


def _text(cells: pl.Series) -> Feature:
    texts = as_ids(cells).fill_null("").to_list()
    return Feature(kind="text", values=np.array(texts, dtype=np.dtypes.StringDType()))


def _vector(cells: pl.Series) -> Feature:
    if cells.dtype == pl.String:
        cells = cells.str.extract_all(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?").cast(pl.List(pl.Float64), strict=False)
    width = max((len(vector) for vector in cells.to_list() if vector is not None), default=1)
    values: Array = np.full((len(cells), max(1, width)), np.nan, np.float32)
    for row, vector in enumerate(cells.to_list()):
        if vector is not None and len(vector) == width > 0:
            values[row] = [np.nan if number is None else number for number in vector]
    return Feature(kind="vector", values=values)


def _time(cells: pl.Series, time_format: TimeFormat | None) -> Feature:
    times = pl.Series([None] * len(cells), dtype=pl.Int64) if time_format is None else time_format.parse(cells)
    known = times.is_not_null().to_numpy()
    values = np.full(len(cells), TIME_UNKNOWN, np.int64)
    values[known] = times.drop_nulls().to_numpy() // SECOND
    return Feature(kind="time", values=values)


def _time_format(cells: pl.Series, chosen: TimeFormat | None) -> TimeFormat | None:
    """Return the format of the times of a column: the chosen one if it reads all cells, else that inferred, if any."""
    present = cells.filter(~is_missing(cells))
    if chosen is not None and cells.dtype == pl.String and not chosen.parse(present).null_count():
        return chosen
    return TimeFormat.infer(present)


def _are_times(cells: pl.Series, chosen: TimeFormat | None) -> bool:
    """Return whether all cells that are present are times, and most of them are in the years 1990 to 2100."""
    if not (cells.dtype.is_numeric() or cells.dtype == pl.String):
        return False
    present = cells.filter(~is_missing(cells))
    time_format = _time_format(present, chosen) if len(present) else None
    times = None if time_format is None else time_format.parse(present)
    return times is not None and not times.null_count() and 2 * int(times.is_between(*PLAUSIBLE).sum()) > len(times)


def table_ids(cells: pl.Series, known: pl.Series) -> pl.Series:
    """Return the ids of a table as those that are known are written, null where missing, (n,).

    "12.0" is the id "12", unless one of the known ids ends so, too: those are versions such as 1.0 and 1.1.
    """
    return as_ids(cells, whole_numbers=not known.str.contains(WHOLE_NUMBER).any())


def described_ids(frame: pl.DataFrame | None, known: pl.Series) -> pl.Series:
    """Return the distinct ids that a table with a column `id` describes, without those that no id may be; (n,)."""
    if frame is None:
        return pl.Series([], dtype=pl.String)
    ids = table_ids(plain(frame.select("id"))["id"], known).drop_nulls().unique()
    return ids.filter((ids.str.len_chars() <= MAX_LENGTH) & ~ids.str.contains(CONTROL_CHARACTERS))


def join_notes(known: pl.Series, table: pl.DataFrame, side: str, column: str | None) -> list[str]:
    """Return the note that names the id of a table, if it had a name, and a warning where hardly any of its ids is one.

    `known` are the distinct ids of the "users" or "items" with events. Of these, or of the ids of the table if it has
    less, a share of `FEW` must be in both; if one of `MOST` is in another column, the warning gives the line to type.
    """
    ids = table_ids(plain(table.select("id"))["id"], known).drop_nulls().unique(maintain_order=True)
    is_joined = ids.is_in(known.implode())
    joined = int(is_joined.sum())
    notes = [] if column is None else [f"{side}: id is column {column!r}"]
    if joined >= FEW * min(len(ids), len(known)):
        return notes
    example, wanted = ids.filter(~is_joined)[0], known.filter(~known.is_in(ids.implode()))[0]
    warning = f"warning: {joined:,} of {len(ids):,} ids of the {side} table have an event"
    warning += f": column {column or 'id'!r} has ids such as {example!r}, the events have {wanted!r}"
    for cells in plain(table.drop("id")).get_columns():
        if not cells.dtype.is_nested() and known.is_in(table_ids(cells, known).implode()).mean() >= MOST:  # type: ignore[operator]
            name = "id" if cells.name == OTHER_ID else cells.name
            return [*notes, f"{warning}, as does column {name!r}; if that is the id: --column {side}.id={quote(name)}"]
    return [*notes, f"{warning}; write both the same way, or name the column of the ids: --column {side}.id=NAME"]


def features_of(
    vocabulary: Vocabulary,
    frame: pl.DataFrame | None,
    kinds: Mapping[str, Kind],
    side: str,
    required: Collection[str] = (),
    where: str = "",
    time_format: TimeFormat | None = None,
) -> tuple[dict[str, Feature], list[str]]:
    """Return the features of a vocabulary's rows, from a frame with a column `id`, and notes that describe them.

    `kinds` gives kinds by feature name, or by "users.feature" and "items.feature"; the others are inferred. Of several
    lines for one id the first is used. Times in text are read as `time_format` where it reads all of a column. Raises
    InputError if a kind does not exist, if no cell of a feature named in `required` can be parsed as its kind, or if no
    date of a time shows whether the day or the month comes first.
    """
    if frame is None:
        return {}, []
    frame = plain(frame)
    structures = [cells.name for cells in frame.get_columns() if cells.name != "id" and _has_structures(cells.dtype)]
    frame = frame.drop(structures)
    chosen = {name.removeprefix(f"{side}.") for name in kinds}
    numbers = [name for name in frame.columns if name == OTHER_ID or (name != "id" and numbers_rows(name, frame[name]))]
    numbers = [name for name in numbers if name not in chosen]
    frame = frame.drop(numbers)
    frame = frame.with_columns(table_ids(frame["id"], vocabulary.series).alias("id")).drop_nulls("id")
    lines = frame.unique("id", keep="first", maintain_order=True)
    notes = [f"{len(frame) - len(lines):,} lines on {side} left out: the id is repeated"] * (len(lines) < len(frame))
    notes += [f"{side}, not used, they hold structures: {', '.join(structures)}"] * bool(structures)
    left_out = ["id" if name == OTHER_ID else name for name in numbers]
    notes += [f"{side}, not used, numbers of rows or other ids: {', '.join(map(repr, left_out))}"] * bool(numbers)
    inactive = len(lines) - len(lines.filter(lines["id"].is_in(vocabulary.series.implode())))
    if inactive:
        notes.append(f"{inactive:,} {side} left out: they have features but no events")
    aligned = vocabulary.series.to_frame().join(lines, on="id", how="left", maintain_order="left")
    features = {}
    for cells in aligned.drop("id").get_columns():
        name = cells.name
        kind = kinds.get(f"{side}.{name}", kinds.get(name)) or infer_kind(cells)
        if name == AVAILABLE_FROM and side == "items" and kind != "time":
            given = name in kinds or f"{side}.{name}" in kinds
            kind = "time" if not given and _are_times(cells, time_format) else kind
            cure = "write it as dates or as seconds since 1970"
            notes += [f"warning: items.{name} holds no times and is not used as the release of items: {cure}"] * (
                kind != "time" and len(cells.drop_nulls()) > 0
            )
        if kind not in get_args(Kind):
            raise InputError(where or side, column=name, value=kind, cause="there is no such kind", cure=_KINDS)
        found = _time_format(cells, time_format) if kind == "time" else None
        if found is not None and (found.ambiguous or found.year_first):
            example = cells.filter(~is_missing(cells))[0]
            cause = "no date of this column shows whether the day or the month comes first"
            cause = "dates of this column may begin or end with the year" if found.year_first else cause
            raise InputError(where or side, column=f"{side}.{name}", value=example, cause=cause, cure=_DATES)
        features[name] = feature(cells, kind, found)
        is_required = name in required or f"{side}.{name}" in required
        if is_required and len(cells.drop_nulls()) and features[name].is_missing().all():
            example = cells.drop_nulls()[0]
            raise InputError(where or side, column=name, value=example, cause=f"no {kind} can be read", cure=_KINDS)
    if features:
        notes.append(f"{side}: " + ", ".join(f"{name} ({feature.kind})" for name, feature in features.items()))
    return features, notes


_DATES = (
    "write the dates like 2024-01-31; if the events have dates, too, --time-format dmy reads both with the day first, "
    "and --time-format mdy with the month first"
)
_KINDS = f"choose one of {', '.join(get_args(Kind))}"
