"""`ItemSimilarity`: how alike two items are, by the cosine of their features or of their vectors in a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from pasand.contracts import EmbedsItems
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.encoders.feature_blocks import FeatureBlocks
from pasand.errors import InputError
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.reranking.counted_search import Values
from pasand.types import Array, Arrays, Offsets, Rows, Scores, Vectors, within

LAYOUT = {
    "offsets": Entry("int64", "N+1", rises_to="E"),
    "columns": Entry("int32", "E", lowest=0, below="C"),
    "values": Entry("float32", "E"),
}
NO_FEATURES: Arrays = {
    "kinds": np.empty(0, np.int8),
    "names.bytes": np.empty(0, np.uint8),
    "names.ends": np.empty(0, np.int64),
}


class Compared(NamedTuple):
    """n candidates in a form in which they can be compared: sparse rows of item features, and vectors of a model.

    Row i of the features has `values[t]` in `columns[t]` for t in offsets[items[i]]:offsets[items[i] + 1].
    """

    items: Rows
    """(n,) rows of the table of features; -1: none."""
    offsets: Offsets
    columns: Rows
    values: Scores
    vectors: Vectors
    """(n, D); D is 0 without a model."""
    work: Values
    """(C,) zeros, by column of the features; functions leave them 0."""


class ItemSimilarity:
    """The similarity of items: the mean of their cosines by each of the features and by the vectors of a model.

    The blocks of features are those of `FeatureBlocks`, so features of all kinds can be compared. It is in [-1, 1], and
    in [0, 1] by features other than vectors. An item without a value of a feature has a cosine of 0 with every other
    item by it.
    """

    def __init__(self, features: Sequence[str], model: EmbedsItems | None) -> None:
        if not features and model is None:
            raise ValueError('nothing to compare items by: give features = ["genres"], or model = "@NAME"')
        if len(set(features)) < len(features):
            raise ValueError(f"features must be different, got {list(features)}")
        if model is not None and not isinstance(model, EmbedsItems):
            raise ValueError(f"{type(model).__name__} has no vectors of items: give another model, or features")
        self.features, self.model = tuple(features), model
        self._blocks, self._table = FeatureBlocks(), dict[str, Array]()
        empty = {"columns": np.empty(0, np.int32), "values": np.empty(0, np.float32)}
        self.load_state({"offsets": np.zeros(1, np.int64), **empty})

    def fit(self, data: Dataset, where: str) -> None:
        """Encode the features of the items; the encoding is learnt from `Dataset.known_items`.

        Raises InputError, by name, for a feature that items do not have or that is the same for all of them, and for a
        model without vectors.
        """
        where, known = f"{data.name}, {where}", data.item_features
        for name in self.features:
            if name not in known:
                cure = f"use one of: {', '.join(known)}" if known else "give items features, or name a model"
                raise InputError(where, value=name, cause="items have no such feature", cure=cure)
        if self.model is not None and not self.model.embed_items(np.zeros(1, np.int32)).shape[-1]:
            cause = f"{type(self.model).__name__} has vectors of no dimension"
            raise InputError(where, column="model", cause=cause, cure="set its dimensions, such as dimensions = 64")
        rows = np.flatnonzero(data.known_items).astype(np.int32)
        self._blocks = FeatureBlocks().fit({name: known[name].select(rows) for name in self.features})
        for name in set(self.features) - set(self._blocks.feature_names()):
            cause = "it does not differ between items, or is always missing"
            raise InputError(where, value=name, cause=cause, cure="remove it, or name another feature")
        self._table = self._encoded(known, data.n_items)

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features; a feature that is not given is missing."""
        more, old = self._encoded(features, max(map(len, features.values()), default=0)), self._table
        self._table = {
            "offsets": extended(old["offsets"], more["offsets"][1:] + old["offsets"][-1]),
            "columns": extended(old["columns"], more["columns"]),
            "values": extended(old["values"], more["values"]),
        }

    def state(self) -> Arrays:
        """Return the rows of the items, and the encoding of the features ("blocks...")."""
        return {**self._table, **{f"blocks.{name}": array for name, array in self._blocks.state().items()}}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        blocks = {name.removeprefix("blocks."): array for name, array in arrays.items() if name.startswith("blocks.")}
        self._blocks = FeatureBlocks()
        self._blocks.load_state(blocks or NO_FEATURES)
        self._n_columns = len(self._blocks.feature_of_column())
        check(arrays, LAYOUT, C=self._n_columns)
        self._table = {name: arrays[name] for name in LAYOUT}

    def compared(self, items: Rows) -> Compared:
        """Return candidates, (n,), in a form in which they can be compared."""
        vectors = np.empty((len(items), 0), np.float32)
        if self.model is not None:
            vectors = self.model.embed_items(items)
            squares: Scores = np.einsum("nd,nd->n", vectors, vectors)
            length = np.sqrt(squares * np.float32(self._parts))
            length[length == 0] = 1
            vectors = vectors / length[:, None]
        table = self._table
        known = within(items, len(table["offsets"]) - 1)
        rows = table["offsets"], table["columns"], table["values"]
        return Compared(known, *rows, vectors, np.zeros(self._n_columns))

    def matrix(self, items: Rows) -> Values:
        """Return the similarity of each pair of items, (n,) -> (n, n); 1 on the diagonal."""
        table: Values = _matrix(self.compared(items))
        return table

    def within_lists(self, items: Rows) -> Values:
        """Return the mean similarity over all pairs of items of each list, (B, K) -> (B,); nan with fewer than two."""
        means = np.full(len(items), np.nan)
        for b, row in enumerate(items):
            n = int((row >= 0).sum())
            if n > 1:
                means[b] = _mean_of_pairs(self.compared(row[:n]))
        return means

    @property
    def _parts(self) -> int:
        return len(self.features) + (self.model is not None)

    def _encoded(self, features: Features, n: int) -> dict[str, Array]:
        """Return the rows of n items, scaled so that an inner product is a mean over the parts."""
        self._n_columns = len(self._blocks.feature_of_column())
        rows = self._blocks.rows({name: features[name] for name in self.features if name in features}, n)
        return {
            "offsets": rows.indptr.astype(np.int64),
            "columns": rows.indices.astype(np.int32),
            "values": (rows.data / np.sqrt(self._parts)).astype(np.float32),
        }


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def similarities(j: int, compared: Compared, out: Values) -> None:
    """Fill (n,) with the similarity of candidate j to each candidate; 1 to itself."""
    offsets, columns, values, work = compared.offsets, compared.columns, compared.values, compared.work
    own = compared.items[j]
    if own >= 0:
        for t in range(offsets[own], offsets[own + 1]):
            work[columns[t]] = values[t]
    vector = compared.vectors[j]
    for i in range(len(out)):
        item, total = compared.items[i], 0.0
        if item >= 0:
            for t in range(offsets[item], offsets[item + 1]):
                total += work[columns[t]] * values[t]
        dense = np.float32(0)
        for d in range(len(vector)):
            dense += vector[d] * compared.vectors[i, d]
        out[i] = total + dense
    out[j] = 1.0
    if own >= 0:
        for t in range(offsets[own], offsets[own + 1]):
            work[columns[t]] = 0.0


@njit(cache=True, nogil=True)
def _matrix(compared: Compared) -> Values:
    """Return the similarity of each pair of n candidates, (n, n)."""
    table = np.empty((len(compared.items), len(compared.items)))
    for i in range(len(table)):
        similarities(i, compared, table[i])
    return table


@njit(cache=True, nogil=True)
def _mean_of_pairs(compared: Compared) -> float:
    """Return the mean similarity of all pairs of n > 1 candidates."""
    n = len(compared.items)
    return float((_matrix(compared).sum() - n) / (n * (n - 1)))
