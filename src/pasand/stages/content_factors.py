"""`ContentFactors`: recommends items without interactions by a model's own factors, predicted from their features."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator
from scipy import sparse

from pasand.contracts import AddsItems, Explains, Reason, TowerModel
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.encoders.feature_blocks import FeatureBlocks
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.stages.field_ridge import FieldWeights, HeldOutItems, coefficients
from pasand.stages.item_fold_in import LAYOUT as FOLD_IN_LAYOUT
from pasand.stages.item_fold_in import ItemFoldIn, fold_in_of
from pasand.stages.moving_vectors import MovingVectors
from pasand.types import Array, Arrays, Mask, Offsets, Queries, Rows, Scores, Vectors, within

FEWEST_ITEMS = 50
"""Fewest items with positives from which weights are learnt; with fewer, all weights are equal."""
MOST_ITEMS, MOST_HELD_OUT, MOST_USERS = 1000, 400, 1000
"""Most known items, held-out items and users from which weights are learnt."""
CHUNK = 500
"""Users whose vectors are computed at a time."""
INTERACTIONS = "interactions"
"""Name among the features of what users who interacted with an item contribute."""
LAYOUT = {
    "mean": Entry("float32", "D"),
    "coefficients": Entry("float32", "C D"),
    "cold": Entry("bool", "N"),
    "weight": Entry("float64", "F", above=0),
    "l2": Entry("number", above=0),
    "offsets": Entry("int64", "K+1", rises_to="E"),
    "columns": Entry("int32", "E", lowest=0, below="C"),
    "values": Entry("float32", "E"),
    **FOLD_IN_LAYOUT,
}


@dataclass(kw_only=True)
class ContentFactors:
    """Scores items without positives by vectors that are predicted from their features, and all others by `model`.

    The vector of a cold item with the row x in the blocks of the features (`FeatureBlocks`) is mean + B'x. B is the
    ridge regression of the model's own item vectors, less their mean, on the rows of the items with positives. Each
    feature has a weight w_f: the regression is that on the kernel sum_f w_f <x_if, x_jf>. Weights and penalty are those
    with which a copy of the model, fitted without a share of the items, ranks these held-out items best for the users
    who like them. Attribute-to-feature mapping of factor models is due to Gantner et al., ICDM 2010; the kernel of
    weighted fields to Pilászy & Tikk, RecSys 2009.

    Scores of items with positives, and so the lists without cold items, are exactly those of the model. Works with
    every model that has vectors (iALS, two-tower); `ScoreAxes` gives vectors to the others, such as EASE. An item
    without any known feature has a vector of zeros. An item added to a running bundle has its vector at once.

    Where the model follows a log (`pasand.following`), as in a server and in evaluations with live histories, the
    vector of a cold item moves towards the one that the model would learn, by the users with a positive event of it
    before the query (`ItemFoldIn`). Users count with their histories in the log that is followed first.
    """

    model: TowerModel
    """Model whose item vectors are predicted; it is fitted here, and no other component may fit it."""
    holdout_share: float = 0.25
    """Share of the items with positives on which the weights are learnt; 0: all weights are equal."""
    min_texts: int = 2
    """Fewest texts that must contain a word for it to be kept."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _blocks: FeatureBlocks = field(default_factory=FeatureBlocks, init=False, repr=False, compare=False)
    _predicted: Vectors | None = field(default=None, init=False, repr=False, compare=False)
    _moving: MovingVectors | None = field(default=None, init=False, repr=False, compare=False)
    _log: Dataset | None = field(default=None, init=False, repr=False, compare=False)
    _now: int = field(default=0, init=False, repr=False, compare=False)
    """Time at which the vectors of cold items are read, where they move."""

    def __post_init__(self) -> None:
        if not 0 <= self.holdout_share < 1:
            raise ValueError(f"holdout_share must be at least 0 and below 1, got {self.holdout_share}")
        if self.min_texts < 1:
            raise ValueError(f"min_texts must be at least 1, got {self.min_texts}")

    @property
    def owned(self) -> tuple[object, ...]:
        """The model."""
        return (self.model,)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn weights, fit the model, and predict; raises InputError for items without usable features.

        Features are encoded as learnt from `Dataset.known_items`, not from items that come later.
        """
        known = np.flatnonzero(data.known_items).astype(np.int32)
        self._blocks = FeatureBlocks(min_texts=self.min_texts)
        self._blocks.fit({name: feature.select(known) for name, feature in data.item_features.items()})
        if not self._blocks.feature_names():
            cure = "put a table of items, items.csv, beside the log, or leave this component out"
            raise InputError(data.name, cause="no features from which item vectors could be predicted", cure=cure)
        rows, feature = self._blocks.rows(data.item_features, data.n_items), self._blocks.feature_of_column()
        chosen, factor = self._weights(data, rows, rng.spawn(1)[0])
        self.model.fit(data, rng=rng)
        warm = _has_positive(data)
        vectors = self.model.embed_items(np.flatnonzero(warm).astype(np.int32))
        if not vectors.shape[1]:
            cause, cure = "its item vectors have no dimensions", "set its `dimensions`"
            raise InputError(type(self.model).__name__, cause=cause, cure=cure)
        mean = vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], np.float32)
        self._learnt = {
            "mean": mean,
            "coefficients": coefficients(rows[np.flatnonzero(warm)], feature, vectors - mean, chosen),
            "cold": ~warm,
            "weight": chosen.weight,
            "l2": np.array(chosen.l2),
        }
        predicted = rows[np.flatnonzero(warm)] @ self._learnt["coefficients"] + mean
        fold_in = fold_in_of(self.model, data, warm, vectors, predicted, rng.spawn(1)[0])
        self._learnt |= fold_in.scaled(factor).state()
        self._store(rows[np.flatnonzero(~warm)])
        return self

    def follow(self, data: Dataset | None) -> None:
        """Let the positive events of cold items in `data` move their vectors from now on; None: they stay predicted.

        `data` continue the training data. Each event counts with the vector of its user just before it. Data without
        times change nothing.
        """
        self._moving, self._log, self._now = None, None, 0
        if data is None or data.order != "time":
            return
        self._log, self._moving = data, MovingVectors(ItemFoldIn.restored(self._learnt), self._at_rest())
        event = self._events_of_cold(data)
        position = np.empty(len(data), np.int64)
        position[data.by_user.event] = np.arange(len(data)) - data.by_user.start[data.user[data.by_user.event]]
        self._add(data, event, position[event])

    def add_events(self, data: Dataset) -> None:
        """Add events to those that move vectors; users that the log of `follow` lacks, such as -1, move none."""
        if self._moving is not None:
            event = self._events_of_cold(data)
            self._add(data, event, None)
            self._now = max(self._now, int(data.time[event].max(initial=-1)) + 1)

    def compact(self) -> None:
        """Let all events so far move the vectors at any time."""
        if self._moving is not None:
            self._moving.compact()

    def _events_of_cold(self, data: Dataset) -> Offsets:
        """Return the positive events of cold items by users of the log that is followed."""
        assert self._log is not None
        number = self._number()
        of_user = (data.user >= 0) & (data.user < self._log.n_users)
        event = np.flatnonzero(data.is_positive & of_user & (data.item >= 0) & (data.item < len(number)))
        return event[number[data.item[event]] >= 0]

    def _add(self, data: Dataset, event: Offsets, upto: Offsets | None) -> None:
        """Add events, with their users' vectors from the first `upto` events of their histories; None: from all."""
        assert self._log is not None
        assert self._moving is not None
        for at in range(0, len(event), CHUNK):
            part = event[at : at + CHUNK]
            some = None if upto is None else upto[at : at + CHUNK]
            queries = self._log.queries(data.user[part], k=1, time=data.time[part], upto=some)
            vectors = self.model.embed_queries(queries)
            self._moving.add(self._number()[data.item[part]], data.user[part], data.time[part], vectors)

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores, and inner products for cold items; -inf where the query has no vector."""
        cold, vectors = self._learnt["cold"], self.model.embed_queries(queries)
        if items is None:
            own, rows = self.model.score(queries, None), np.flatnonzero(cold).astype(np.int32)
            scores = np.full((len(queries), len(cold)), -np.inf, np.float32)
            scores[:, : own.shape[1]] = own
            at: tuple[Array, Array] = (np.arange(len(queries))[:, None], rows[None, :])
            for which in self._times(queries):
                scores[which[:, None], rows[None, :]] = vectors[which] @ self._vectors().T
        else:
            items = within(items, len(cold))
            scores = self.model.score(queries, items).copy()
            row, column = np.nonzero((items >= 0) & cold[items] if len(cold) else np.zeros(items.shape, np.bool_))
            at, number = (row, column), self._number()
            for which in self._times(queries):
                cells = np.isin(at[0], which) if len(which) < len(queries) else np.ones(len(at[0]), np.bool_)
                of_items = self._vectors()[number[items[row[cells], column[cells]]]]
                scores[row[cells], column[cells]] = np.einsum("nd,nd->n", vectors[row[cells]], of_items)
        without: Mask = np.asarray(~vectors.any(axis=1))
        if without.any():
            scores[at] = np.where(without[at[0]], -np.inf, scores[at])
        return scores

    def _times(self, queries: Queries) -> Iterator[Offsets]:
        """Yield the queries of each time, while the vectors of cold items are those of that time."""
        if self._moving is None:
            yield np.arange(len(queries))
            return
        for time in np.unique(queries.time).tolist():
            self._now = time
            yield np.flatnonzero(queries.time == time)

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the model's vectors of the queries, (B, D)."""
        return self.model.embed_queries(queries)

    def embed_items(self, items: Rows) -> Vectors:
        """Return the model's vectors, and predicted ones for cold items, (...) -> (..., D); zeros at row -1."""
        cold = self._learnt["cold"]
        items = within(items, len(cold))
        vectors = self.model.embed_items(items).astype(np.float32)
        at = (items >= 0) & cold[items] if len(cold) else np.zeros(items.shape, np.bool_)
        if at.any():
            vectors[at] = self._vectors()[self._number()[items[at]]]
        return vectors

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the model's reasons, none for cold items, which `matches` explains."""
        if isinstance(self.model, Explains):
            cold = self._learnt["cold"]
            items = within(items, len(cold))
            return self.model.reasons(queries, np.where((items >= 0) & cold[items], np.int32(-1), items))
        return [[[] for _ in row] for row in items]

    def matches(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return the features of cold items and their contributions to the score, largest first; none for others.

        The score of a cold item is the inner product of the query and the mean, plus the sum of these contributions, of
        which `INTERACTIONS` is that of the users who have interacted with it since.
        """
        vectors, table = self.model.embed_queries(queries), self._rows()
        number, names = self._number(), self._blocks.column_names()
        found = []
        for vector, row in zip(vectors, within(items, len(number)).tolist(), strict=True):
            found.append([self._terms(vector, table, number[i], names) if i >= 0 <= number[i] else [] for i in row])
        return found

    def add_items(self, features: Features) -> None:
        """Append items, whose vectors are predicted from their features; the model receives them where it can."""
        n_new = max(map(len, features.values()), default=0)
        rows = sparse.vstack([self._rows(), self._blocks.rows(features, n_new)], format="csr")
        self._learnt["cold"] = np.append(self._learnt["cold"], np.ones(n_new, np.bool_))
        self._store(rows)
        if self._moving is not None:
            self._moving.add_items(self._at_rest()[-n_new:] if n_new else self._at_rest()[:0])
        if isinstance(self.model, AddsItems):
            self.model.add_items(features)

    def weights(self) -> dict[str, float]:
        """Return the weight of each feature, divided by the penalty."""
        ratio = self._learnt["weight"] / float(self._learnt["l2"])
        return dict(zip(self._blocks.feature_names(), ratio.tolist(), strict=True))

    def state(self) -> Arrays:
        """Return what is learnt, the rows of the cold items, and the encoding of the features ("blocks...")."""
        return {**self._learnt, **{f"blocks.{name}": array for name, array in self._blocks.state().items()}}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        blocks = {key.removeprefix("blocks."): value for key, value in arrays.items() if key.startswith("blocks.")}
        self._learnt = {key: value for key, value in arrays.items() if not key.startswith("blocks.")}
        self._blocks, self._predicted, self._moving = FeatureBlocks(min_texts=self.min_texts), None, None
        self._blocks.load_state(blocks)
        sizes = {"C": len(self._blocks.feature_of_column()), "F": len(self._blocks.feature_names())}
        if check(self._learnt, LAYOUT, **sizes)["K"] != np.count_nonzero(self._learnt["cold"]):
            raise ValueError("there must be a row for each cold item")

    def _weights(self, data: Dataset, rows: sparse.csr_array, rng: Generator) -> tuple[FieldWeights, float]:
        """Return the weights, and the factor of the fold-in, learnt from a copy of the model without held-out items."""
        n_features = len(self._blocks.feature_names())
        liked = rng.permutation(np.flatnonzero(_has_positive(data)))
        held_out = np.sort(liked[: int(self.holdout_share * len(liked))])
        if len(liked) < FEWEST_ITEMS or not len(held_out):
            return FieldWeights.default(n_features), 1.0
        reduced = data.select(~np.isin(data.item, held_out))
        if not reduced.is_positive.any():
            return FieldWeights.default(n_features), 1.0
        model = copy.deepcopy(self.model).fit(reduced, rng=rng)
        held_out = np.sort(rng.permutation(held_out)[:MOST_HELD_OUT])
        known = np.sort(rng.permutation(np.flatnonzero(_has_positive(reduced)))[:MOST_ITEMS])
        table = data.matrix()[:, held_out]
        users = np.flatnonzero(np.diff(table.indptr) > 0)
        users = np.sort(rng.permutation(users)[:MOST_USERS]).astype(np.int32)
        queries = model.embed_queries(reduced.queries(users.astype(np.int32), k=1))
        able = queries.any(axis=1)
        if not able.any():
            return FieldWeights.default(n_features), 1.0
        target = model.embed_items(known.astype(np.int32))
        own = table[users[able]]
        shares = sparse.diags_array(1 / np.diff(own.indptr)) @ own
        held = HeldOutItems(
            rows=rows[np.concatenate([known, held_out])],
            target=target - target.mean(axis=0),
            mean=target.mean(axis=0),
            queries=queries[able],
            liked=shares.tocsr(),
        )
        feature, n = self._blocks.feature_of_column(), len(known)
        chosen = held.learn(feature, n_features)
        predicted = held.rows @ coefficients(held.rows[:n], feature, held.target, chosen) + held.mean
        of_known = reduced.matrix()[users[able]][:, known].T.tocsr()
        fold_in = ItemFoldIn.learn(held.queries, of_known, target, predicted[:n])
        return chosen, fold_in.best_factor(predicted[n:], held.queries, held.liked, rng)

    def _terms(self, vector: Vectors, table: sparse.csr_array, at: int, names: list[str]) -> list[tuple[str, float]]:
        """Return the contributions of the features of one item to its score, largest first; equal names are added."""
        row, added = table[[at]], dict[str, float]()
        shares = row.data * (self._learnt["coefficients"][row.indices] @ vector)
        for column, share in zip(row.indices.tolist(), shares.tolist(), strict=True):
            added[names[column]] = added.get(names[column], 0.0) + share
        if self._moving is not None:
            added[INTERACTIONS] = float((self._vectors()[at] - self._at_rest()[at]) @ vector)
        return sorted(((name, value) for name, value in added.items() if value), key=lambda pair: -abs(pair[1]))

    def _store(self, rows: sparse.csr_array) -> None:
        self._predicted = None
        self._learnt |= {
            "values": rows.data.astype(np.float32),
            "columns": rows.indices.astype(np.int32),
            "offsets": rows.indptr.astype(np.int64),
        }

    def _rows(self) -> sparse.csr_array:
        """Return the rows of the cold items, in order; (K, C)."""
        parts = (self._learnt["values"], self._learnt["columns"], self._learnt["offsets"])
        return sparse.csr_array(parts, shape=(len(parts[2]) - 1, len(self._learnt["coefficients"])))

    def _number(self) -> Rows:
        """Return the number of each item among the cold ones, -1 for the others; (N,)."""
        cold = self._learnt["cold"]
        return np.where(cold, np.cumsum(cold) - 1, -1).astype(np.int32)

    def _vectors(self) -> Vectors:
        """Return the vectors of the cold items at the time of the queries, (K, D)."""
        return self._at_rest() if self._moving is None else self._moving.at(self._now)

    def _at_rest(self) -> Vectors:
        """Return the predicted vectors of the cold items, zeros for those without a known feature; (K, D)."""
        if self._predicted is None:
            rows = self._rows()
            vectors = rows @ self._learnt["coefficients"] + self._learnt["mean"]
            vectors[np.diff(rows.indptr) == 0] = 0
            self._predicted = np.ascontiguousarray(vectors, np.float32)
        return self._predicted


def _has_positive(data: Dataset) -> Mask:
    """Return whether each item has a positive event; (N,)."""
    known: Mask = np.bincount(data.item[data.is_positive], minlength=data.n_items) > 0
    return known
