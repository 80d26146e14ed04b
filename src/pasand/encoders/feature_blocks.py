"""Features to sparse rows whose inner products can be taken apart: words, categories, people, numbers, vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from scipy import sparse

from pasand.data.features import TIME_UNKNOWN, Feature, Features, pack_strings, unpack_strings
from pasand.encoders.text import TfidfText
from pasand.types import Array, Arrays, Rows, within

ANCHORS = 9
"""Values of a number that an item is near to: so many quantiles, or as many as differ."""
KINDS = ("categorical", "bag", "number", "time", "text", "vector")


@dataclass(kw_only=True)
class Blocks:
    """A block of columns for each feature, in which an item's row has length 1, or 0 where nothing is known of it.

    feature       columns                weight before the row is given its length
    categorical   a category each        ln((1 + n) / (1 + items of the category)) + 1
    bag           a member each          the same
    text          a word each            TF-IDF, as `TfidfText.weights`
    number, time  a quantile each        how near, falling from 1 to 0 at the next quantile on either side
    vector        its own                its own
    """

    min_texts: int = 2
    """Texts that a word must stand in to be kept."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _words: dict[str, TfidfText] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fit(self, features: Features) -> Self:
        """Learn rarity, words and quantiles of every feature that differs among the items; the rest are left out."""
        names: list[str] = []
        kinds: list[int] = []
        tables: dict[str, Array] = {}
        for name, feature in sorted(features.items()):
            if (learnt := self._learn(feature)) is not None:
                tables.update({f"{len(names)}.{key}": value for key, value in learnt.items()})
                names.append(name)
                kinds.append(KINDS.index(feature.kind))
        called, ends = pack_strings(names)
        self._take({"kinds": np.array(kinds, np.int8), "names.bytes": called, "names.ends": ends, **tables})
        return self

    def features(self) -> list[str]:
        """Return the names of the features that are read, in the order of their blocks."""
        return unpack_strings(self._learnt["names.bytes"], self._learnt["names.ends"])

    def columns(self) -> list[str]:
        """Return what each column stands for, such as "genres: Drama", "year: about 1994"."""
        return [told for place, name in enumerate(self.features()) for told in self._told(place, name)]

    def of_column(self) -> Rows:
        """Return the place of each column's feature in `features`; (C,)."""
        widths = [len(self._told(place, "")) for place in range(len(self._learnt["kinds"]))]
        return np.repeat(np.arange(len(widths), dtype=np.int32), widths)

    def rows(self, features: Features, n: int) -> sparse.csr_array:
        """Return n items' rows, (n, C) float32; a feature that is missing, or of another kind, is not known of any."""
        blocks: list[sparse.csr_array] = [sparse.csr_array((n, 0))]
        for place, name in enumerate(self.features()):
            given = features.get(name)
            kind = KINDS[self._learnt["kinds"][place]]
            known = given is not None and given.kind == kind
            wide = len(self._told(place, ""))
            blocks.append(_unit(self._block(place, given)) if known and given else sparse.csr_array((n, wide)))
        whole: sparse.csr_array = sparse.hstack(blocks, format="csr", dtype=np.float32)
        whole.sort_indices()
        return whole

    def state(self) -> Arrays:
        """Return what was learnt of each feature, its arrays under the number of its block."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._take(arrays)

    def _take(self, arrays: Arrays) -> None:
        self._learnt, self._words = dict(arrays), {}
        for place in np.flatnonzero(arrays["kinds"] == KINDS.index("text")).tolist():
            self._words[str(place)] = words = TfidfText(min_texts=self.min_texts)
            words.load_state({key: arrays[f"{place}.{key}"] for key in ("words.bytes", "words.ends", "rarity", "axes")})

    def _learn(self, feature: Feature) -> dict[str, Array] | None:
        """Return what is to be kept of a feature; None where it tells no items apart."""
        if feature.kind in ("categorical", "bag"):
            count = np.asarray(_members(feature.values, len(feature.names)).sum(axis=0)).reshape(-1)
            if not ((count > 0) & (count < len(feature))).any():
                return None
            data, ends = pack_strings(list(feature.names))
            rarity = np.log((1 + len(feature)) / (1 + count)) + 1
            return {"names.bytes": data, "names.ends": ends, "rarity": rarity}
        if feature.kind == "text":
            learnt = TfidfText(min_texts=self.min_texts, dimensions=1).fit(list(feature.values)).state()
            return dict(learnt) if len(learnt["rarity"]) else None
        if feature.kind == "vector":
            return {"width": np.array([feature.values.shape[1]])} if len(feature) else None
        known = _numbers(feature)
        known = known[~np.isnan(known)]
        anchors = np.unique(np.quantile(known, np.linspace(0, 1, ANCHORS))) if len(known) else known
        return {"anchors": anchors} if len(anchors) > 1 else None

    def _told(self, place: int, name: str) -> Sequence[str]:
        kind, learnt = KINDS[self._learnt["kinds"][place]], self._learnt
        if kind == "text":
            return [f"{name}: {word}" for word in self._words[str(place)].names()]
        if kind == "vector":
            return [name] * int(learnt[f"{place}.width"][0])
        if kind == "number":
            return [f"{name}: about {value:.4g}" for value in learnt[f"{place}.anchors"].tolist()]
        if kind == "time":
            days = learnt[f"{place}.anchors"].astype("datetime64[s]").astype("datetime64[D]")
            return [f"{name}: about {day}" for day in days.tolist()]
        named = unpack_strings(learnt[f"{place}.names.bytes"], learnt[f"{place}.names.ends"])
        return [f"{name}: {value}" for value in named]

    def _block(self, place: int, feature: Feature) -> sparse.csr_array:
        if feature.kind == "text":
            return self._words[str(place)].weights(list(feature.values))
        if feature.kind == "vector":
            wide = int(self._learnt[f"{place}.width"][0])
            values = np.nan_to_num(feature.values, nan=0, posinf=0, neginf=0)
            return sparse.csr_array(values if values.shape[1] == wide else np.zeros((len(feature), wide)))
        if feature.kind in ("categorical", "bag"):
            rarity = self._learnt[f"{place}.rarity"]
            members: sparse.csr_array = (
                _members(within(feature.values, len(rarity)), len(rarity)).multiply(rarity).tocsr()
            )
            return members
        return _near(_numbers(feature), self._learnt[f"{place}.anchors"])


def _numbers(feature: Feature) -> Array:
    values: Array = feature.values.astype(np.float64)
    if feature.kind == "time":
        values[feature.values == TIME_UNKNOWN] = np.nan
    values[np.isinf(values)] = np.nan
    return values


def _members(codes: Rows, n: int) -> sparse.csr_array:
    """Return 1 for each category that a row has, (rows, n); one that is told twice counts once."""
    codes = codes.reshape(len(codes), -1)
    row, column = np.nonzero(codes >= 0)
    table = sparse.csr_array((np.ones(len(row)), (row, codes[row, column])), shape=(len(codes), n))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def _near(values: Array, anchors: Array) -> sparse.csr_array:
    """Return how near each value is to the two anchors about it, summing to 1; the outermost take all beyond them."""
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


def _unit(table: sparse.csr_array) -> sparse.csr_array:
    """Return the rows at length 1; those of 0 as they are."""
    length = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).reshape(-1))
    made: sparse.csr_array = (sparse.diags_array(1 / np.where(length > 0, length, 1)) @ table).tocsr()
    return made
