"""`Feature`: typed features of users and items (categorical, bag, number, text, vector, time), and their packing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import polars as pl

from pasand.data.bags import Bags
from pasand.data.packed_texts import PackedTexts, TextArray, packed_or_none
from pasand.growable import extended
from pasand.types import Array, Arrays, Mask, Rows

Kind: TypeAlias = Literal["categorical", "bag", "number", "text", "vector", "time"]

TIME_UNKNOWN = np.iinfo(np.int64).min
MAX_CODES = 64
"""Codes of a bag that a batch reads of a row at most: networks read these first ones, so one long row pads no other."""
AVAILABLE_FROM = "available_from"
"""Name of the item feature, of kind time, with the time from which an item can be recommended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of typed values, with a row per user or item.

    kind         values                                                   missing
    categorical  (n,) int32 codes into `names`                            -1
    bag          `Bags` of int32 codes into `names`; an (n, L) array          none
                 of codes, padded with -1, is converted
    number       (n,) float32                                             nan
    text         (n,) strings (NumPy's StringDType, or `TextArray`)           ""
    vector       (n, D) float32                                           nan
    time         (n,) int64 seconds since 1970, UTC                       TIME_UNKNOWN
    """

    kind: Kind
    values: Array
    names: tuple[str, ...] = ()
    """Names of the categories by code, for categorical and bag; empty for the other kinds."""

    def __post_init__(self) -> None:
        if self.kind == "bag" and isinstance(self.values, np.ndarray):
            object.__setattr__(self, "values", Bags.of(self.values))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def bags(self) -> Bags:
        """The values of a bag."""
        return cast(Bags, self.values)

    def take(self, rows: Rows) -> Array:
        """Return the values of the rows; the missing value where a row is -1 or beyond the table.

        Of a bag they are the first `MAX_CODES` codes of each row, (..., L), padded with -1: L is the largest number of
        them, at least 1. What reads whole tables reads `members`, which leaves out nothing and pads nothing.
        """
        if self.kind == "bag":
            return self.bags.padded(rows, MAX_CODES)
        known = (rows >= 0) & (rows < len(self))
        if len(self):
            out = self.values[np.where(known, rows, 0)]
        else:
            out = np.empty(rows.shape + self.values.shape[1:], self.values.dtype)
        if not known.all():
            out[~known] = self.missing_value
        return out

    def select(self, rows: Rows) -> Feature:
        """Return the feature of the rows, (m,); missing where a row is -1 or beyond the table."""
        values: Any = self.bags.select(rows) if self.kind == "bag" else self.take(rows)
        return replace(self, values=values)

    def members(self) -> tuple[Array, Rows]:
        """Return the row and the code, (T,) each, of every category of a categorical or a bag, by row."""
        if self.kind == "bag":
            return self.bags.row_of_code(), self.bags.codes
        rows = np.flatnonzero(self.values >= 0)
        return rows, self.values[rows]

    @property
    def missing_value(self) -> int | float | str:
        """The value that marks a missing entry; see the table of kinds."""
        marks: dict[str, int | float | str] = {"number": np.nan, "vector": np.nan, "text": "", "time": TIME_UNKNOWN}
        return marks.get(self.kind, -1)

    def is_missing(self) -> Mask:
        """Return whether each row is missing; (n,)."""
        if self.kind == "bag":
            return np.asarray(np.diff(self.bags.start) == 0)
        values: Array = self.values
        numeric = self.kind in ("number", "vector")
        missing: Array = np.isnan(values) if numeric else np.asarray(values == self.missing_value)
        return missing if missing.ndim == 1 else np.asarray(missing.all(axis=1))

    def coded_as(self, other: Feature) -> tuple[Feature, list[str]]:
        """Return the feature with the codes of another, and the category names that the other lacks.

        A category with such a name becomes missing. Raises ValueError if the kinds differ, or the widths of vectors.
        """
        if self.kind != other.kind:
            raise ValueError(f"it is {self.kind}, and was {other.kind}")
        if self.kind == "vector" and self.values.shape[1] != other.values.shape[1]:
            raise ValueError(f"its vectors have {self.values.shape[1]} numbers, and had {other.values.shape[1]}")
        if self.kind not in ("categorical", "bag"):
            return self, []
        code = {name: code for code, name in enumerate(other.names)}
        new_codes = np.array([*(code.get(name, -1) for name in self.names), -1], np.int32)
        values: Any = self.bags.recoded(new_codes) if self.kind == "bag" else new_codes[self.values]
        used = np.unique(self.members()[1])
        unknown = [self.names[i] for i in used.tolist() if self.names[i] not in code]
        return replace(self, values=values, names=other.names), unknown

    def extended(self, more: Feature | None, n: int) -> Feature:
        """Return the feature with n more rows: those of a feature with the same codes, or missing ones (None)."""
        if self.kind == "bag":
            bags: Any = self.bags.extended(Bags.empty(n) if more is None else more.bags)
            return replace(self, values=bags)
        if more is None:
            more = replace(self, values=np.full((n, *self.values.shape[1:]), self.missing_value, self.values.dtype))
        texts = packed_or_none(self.values)
        if texts is not None:
            all_texts: Any = texts.extended(more.values)
            return replace(self, values=all_texts)
        return replace(self, values=extended(self.values, more.values))

    def replaced(self, values: Mapping[int, Feature]) -> Feature:
        """Return the feature with new values of some rows: features of one row each, with the same codes, by row."""
        if not values:
            return self
        rows, new = np.array(list(values)), replace(self, values=self.values[:0])
        for value in values.values():
            new = new.extended(value, 1)
        if self.kind == "bag":
            bags: Any = self.bags.replaced(rows, new.bags)
            return replace(self, values=bags)
        table = self.values.copy()
        table[rows] = new.values
        return replace(self, values=table)

    def show(self, row: int) -> str:
        """Return the value of one row as readable text; "" where it is missing."""
        value = self.values[row]
        if self.kind == "text":
            return str(value)
        if self.kind == "categorical":
            return self.names[value] if value >= 0 else ""
        if self.kind == "bag":
            return ", ".join(self.names[code] for code in value)
        if self.kind == "number":
            return "" if np.isnan(value) else f"{value:g}"
        if self.kind == "time":
            return "" if value == TIME_UNKNOWN else str(np.datetime64(int(value), "s")).replace("T", " ")
        return np.array2string(value, precision=3)


Features: TypeAlias = Mapping[str, Feature]


def pack(features: Features) -> tuple[dict[str, Array], dict[str, dict[str, object]]]:
    """Return features as plain arrays and a description that JSON can hold; `unpack` reverses it."""
    arrays: dict[str, Array] = {}
    description: dict[str, dict[str, object]] = {}
    for name, feature in features.items():
        description[name] = {"kind": feature.kind, "names": list(feature.names)}
        if feature.kind == "text":
            texts = packed_or_none(feature.values)
            packed = PackedTexts.of(feature.values) if texts is None else texts.packed
            arrays[f"{name}.bytes"], arrays[f"{name}.ends"] = packed.data, packed.ends
        elif feature.kind == "bag":
            arrays[f"{name}.codes"], arrays[f"{name}.start"] = feature.bags.codes, feature.bags.start
        else:
            arrays[name] = feature.values
    return arrays, description


def unpack(arrays: Arrays, description: Mapping[str, Mapping[str, object]]) -> dict[str, Feature]:
    """Return the features of the arrays and the description that `pack` returned."""
    features = {}
    for name, fields in description.items():
        names = fields["names"]
        assert isinstance(names, list)
        values: Any
        if fields["kind"] == "text":
            values = TextArray(PackedTexts.stored(arrays[f"{name}.bytes"], arrays[f"{name}.ends"]))
        elif fields["kind"] == "bag":
            values = Bags.stored(arrays[f"{name}.codes"], arrays[f"{name}.start"])
        else:
            values = arrays[name]
        feature = Feature(kind="text", values=values, names=tuple(names))
        features[name] = replace(feature, kind=fields["kind"])  # type: ignore[arg-type]
    return features


def pack_strings(strings: list[str]) -> tuple[Array, Array]:
    """Return strings as UTF-8 bytes, (total,) uint8, and the end offset of each, (n,) int64.

    >>> pack_strings(["a", "bc"])[1]
    array([1, 3])
    """
    packed = PackedTexts.of(strings)
    return packed.data, packed.ends


def unpack_strings(data: Array, ends: Array) -> list[str]:
    """Return the strings that `pack_strings` packed.

    >>> unpack_strings(*pack_strings(["पसंद", ""]))
    ['पसंद', '']
    """
    return PackedTexts.stored(data, ends).texts()


def as_frame(ids: tuple[str, ...], features: dict[str, Feature]) -> pl.DataFrame:
    """Return a frame of a column `id` and the features: category names, lists of names for bags, and datetimes."""

    def column(feature: Feature) -> pl.Series:
        if feature.kind == "bag":
            lists = [[feature.names[code] for code in codes] for codes in feature.bags]
            return pl.Series(lists, dtype=pl.List(pl.String))
        values = feature.values.tolist()
        if feature.kind == "categorical":
            return pl.Series([feature.names[code] if code >= 0 else None for code in values], dtype=pl.String)
        if feature.kind == "time":
            known = pl.Series([None if value == TIME_UNKNOWN else value for value in values], dtype=pl.Int64)
            return pl.from_epoch(known, time_unit="s")
        return pl.Series(values)

    return pl.DataFrame({"id": list(ids), **{name: column(feature) for name, feature in features.items()}})
