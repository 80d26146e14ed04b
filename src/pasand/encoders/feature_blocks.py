"""`FeatureBlocks`: encodes item features of all kinds as sparse rows, one block of columns for each feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from scipy import sparse

from pasand.data.features import TIME_UNKNOWN, Feature, Features, pack_strings, unpack_strings
from pasand.encoders.text import TfidfText
from pasand.layouts import Entry, Layout, check
from pasand.types import Array, Arrays, Rows

ANCHORS = 9
"""Number of quantiles by which a number is encoded; fewer where quantiles coincide."""
KINDS = ("categorical", "bag", "number", "time", "text", "vector")
CATEGORIES = {"names.ends": Entry("int64", "W"), "idf": Entry("float64", "W")}
QUANTILES = {"anchors": Entry("float64", "*")}
BLOCKS: dict[str, Layout] = {
    "categorical": CATEGORIES,
    "bag": CATEGORIES,
    "number": QUANTILES,
    "time": QUANTILES,
    "text": {"words.ends": Entry("int64", "W"), "idf": Entry("float64", "W"), "axes": Entry("float64", "W d")},
    "vector": {"width": Entry("int64", "1", lowest=1, below=1 << 20)},
}
"""Layouts of what is learnt of a feature, by kind."""


@dataclass(kw_only=True)
class FeatureBlocks:
    """Block of columns for each feature, in which each item has a row of length 1, or zeros where it is missing.

    Inner products of rows are sums over columns, and so can be explained column by column.

    feature       columns                weight before the row is scaled to length 1
    categorical   one per category       ln((1 + n) / (1 + items of the category)) + 1; 0 without an item
    bag           one per member         the same
    text          one per word           TF-IDF, as `TfidfText.weights`
    number, time  one per quantile       linear interpolation: 1 at the quantile, 0 at the next one on either side
    vector        its dimensions         its values
    """

    min_texts: int = 2
    """Minimum number of texts that contain a word, for the word to be kept."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _words: dict[str, TfidfText] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fit(self, features: Features) -> Self:
        """Learn idf, words and quantiles of each feature that differs among the items; others are ignored."""
        names: list[str] = []
        kinds: list[int] = []
        tables: dict[str, Array] = {}
        for name, feature in sorted(features.items()):
            if (learnt := self._learn(feature)) is not None:
                tables.update({f"{len(names)}.{key}": value for key, value in learnt.items()})
                names.append(name)
                kinds.append(KINDS.index(feature.kind))
        data, ends = pack_strings(names)
        self._restore({"kinds": np.array(kinds, np.int8), "names.bytes": data, "names.ends": ends, **tables})
        return self

    def feature_names(self) -> list[str]:
        """Return the names of the encoded features, in the order of their blocks."""
        return unpack_strings(self._learnt["names.bytes"], self._learnt["names.ends"])

    def column_names(self) -> list[str]:
        """Return a label of each column, such as "genres: Drama" or "year: about 1994"; C of them."""
        return [label for block, name in enumerate(self.feature_names()) for label in self._labels(block, name)]

    def feature_of_column(self) -> Rows:
        """Return for each column the index of its feature in `feature_names`; (C,)."""
        widths = [len(self._labels(block, "")) for block in range(len(self._learnt["kinds"]))]
        return np.repeat(np.arange(len(widths), dtype=np.int32), widths)

    def rows(self, features: Features, n: int) -> sparse.csr_array:
        """Return the rows of n items, (n, C) float32; the block of an absent feature, or of another kind, is zero."""
        blocks: list[sparse.csr_array] = [sparse.csr_array((n, 0))]
        for block, name in enumerate(self.feature_names()):
            feature = features.get(name)
            if feature is not None and len(feature) and feature.kind == KINDS[self._learnt["kinds"][block]]:
                blocks.append(_normalised(self._weights(block, feature)))
            else:
                blocks.append(sparse.csr_array((n, len(self._labels(block, "")))))
        rows: sparse.csr_array = sparse.hstack(blocks, format="csr", dtype=np.float32)
        rows.sort_indices()
        return rows

    def state(self) -> Arrays:
        """Return the learnt arrays of each feature, named by the number of its block."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore the arrays of `state`; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"kinds": Entry("int8", "F", lowest=0, below=len(KINDS)), "names.ends": Entry("int64", "F")})
        for block, kind in enumerate(arrays["kinds"].tolist()):
            check(arrays, {f"{block}.{name}": entry for name, entry in BLOCKS[KINDS[kind]].items()})
        self._restore(arrays)

    def _restore(self, arrays: Arrays) -> None:
        self._learnt, self._words = dict(arrays), {}
        for block in np.flatnonzero(arrays["kinds"] == KINDS.index("text")).tolist():
            self._words[str(block)] = words = TfidfText(min_texts=self.min_texts)
            words.load_state({key: arrays[f"{block}.{key}"] for key in ("words.bytes", "words.ends", "idf", "axes")})

    def _learn(self, feature: Feature) -> dict[str, Array] | None:
        """Return the learnt arrays of a feature; None where it does not differ among the items."""
        if feature.kind in ("categorical", "bag"):
            count = np.asarray(_members(feature, len(feature.names)).sum(axis=0)).reshape(-1)
            if not ((count > 0) & (count < len(feature))).any():
                return None
            data, ends = pack_strings(list(feature.names))
            idf = np.where(count > 0, np.log((1 + len(feature)) / (1 + count)) + 1, 0)
            return {"names.bytes": data, "names.ends": ends, "idf": idf}
        if feature.kind == "text":
            learnt = TfidfText(min_texts=self.min_texts, dimensions=1).fit(list(feature.values)).state()
            return dict(learnt) if len(learnt["idf"]) else None
        if feature.kind == "vector":
            return {"width": np.array([feature.values.shape[1]])} if len(feature) else None
        known = _numbers(feature)
        known = known[~np.isnan(known)]
        anchors = np.unique(np.quantile(known, np.linspace(0, 1, ANCHORS))) if len(known) else known
        return {"anchors": anchors} if len(anchors) > 1 else None

    def _labels(self, block: int, name: str) -> Sequence[str]:
        """Return the labels of the columns of a block."""
        kind, learnt = KINDS[self._learnt["kinds"][block]], self._learnt
        if kind == "text":
            return [f"{name}: {word}" for word in self._words[str(block)].names()]
        if kind == "vector":
            return [name] * int(learnt[f"{block}.width"][0])
        if kind == "number":
            return [f"{name}: about {value:.4g}" for value in learnt[f"{block}.anchors"].tolist()]
        if kind == "time":
            days = learnt[f"{block}.anchors"].astype("datetime64[s]").astype("datetime64[D]")
            return [f"{name}: about {day}" for day in days.tolist()]
        categories = unpack_strings(learnt[f"{block}.names.bytes"], learnt[f"{block}.names.ends"])
        return [f"{name}: {category}" for category in categories]

    def _weights(self, block: int, feature: Feature) -> sparse.csr_array:
        """Return the weights of a feature before scaling, (n, columns of the block)."""
        if feature.kind == "text":
            return self._words[str(block)].weights(list(feature.values))
        if feature.kind == "vector":
            width = int(self._learnt[f"{block}.width"][0])
            values = np.nan_to_num(feature.values, nan=0, posinf=0, neginf=0)
            return sparse.csr_array(values if values.shape[1] == width else np.zeros((len(feature), width)))
        if feature.kind in ("categorical", "bag"):
            idf = self._learnt[f"{block}.idf"]
            members: sparse.csr_array = _members(feature, len(idf)).multiply(idf).tocsr()
            members.eliminate_zeros()
            return members
        return _interpolation(_numbers(feature), self._learnt[f"{block}.anchors"])


def _numbers(feature: Feature) -> Array:
    """Return a number or time as float64, nan where missing or infinite."""
    values: Array = feature.values.astype(np.float64)
    if feature.kind == "time":
        values[feature.values == TIME_UNKNOWN] = np.nan
    values[np.isinf(values)] = np.nan
    return values


def _members(feature: Feature, n: int) -> sparse.csr_array:
    """Return 1 for each of the first n categories of each row, (rows, n); repeated members count once."""
    row, code = feature.members()
    inside = code < n
    table = sparse.csr_array((np.ones(inside.sum()), (row[inside], code[inside])), shape=(len(feature), n))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def _interpolation(values: Array, anchors: Array) -> sparse.csr_array:
    """Return the interpolation weights of the two anchors around each value, (n, A), summing to 1.

    Values beyond the outermost anchors are clipped to them; nan has no weights.
    """
    row = np.flatnonzero(~np.isnan(values))
    inside = np.clip(values[row], anchors[0], anchors[-1])
    left = np.clip(np.searchsorted(anchors, inside, side="right") - 1, 0, len(anchors) - 2)
    right = (inside - anchors[left]) / (anchors[left + 1] - anchors[left])
    data = np.concatenate([1 - right, right])
    table = sparse.csr_array(
        (data, (np.tile(row, 2), np.concatenate([left, left + 1]))), shape=(len(values), len(anchors))
    )
    table.eliminate_zeros()
    return table


def _normalised(table: sparse.csr_array) -> sparse.csr_array:
    """Return the rows scaled to length 1; rows of zeros are unchanged."""
    length = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).reshape(-1))
    scaled: sparse.csr_array = (sparse.diags_array(1 / np.where(length > 0, length, 1)) @ table).tocsr()
    return scaled
