"""`ContentNeighbours`: recommends items without interactions by a model's scores of items that are similar to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator
from scipy import sparse

from pasand.contracts import AddsItems, Explains, Model, Reason
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.encoders.feature_blocks import FeatureBlocks
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Mask, Queries, Rows, Scores, Vectors, within

MOST_USERS = 1000
"""Most users from whose positives the unit of the model's scores is measured."""
LAYOUT = {
    "cold": Entry("bool", "N"),
    "unit": Entry("number"),
    "mean_similarity": Entry("number", above=0),
    "positive_from": Entry("number", infinite=True),
    "offsets": Entry("int64", "N+1", rises_to="E"),
    "columns": Entry("int32", "E", lowest=0, below="C"),
    "values": Entry("float32", "E"),
}


@dataclass(kw_only=True)
class ContentNeighbours:
    """Scores items without positives by the similar items that have some, and all others by `model`.

    With s_ji >= 0 the similarity of the cold item j and the item i, y(i) the model's score of i, plus `history_weight`
    times the mean score of a positive if i is a liked item of the history, and S_j the sum of s_ji over all i,

        score(j) = sum_i s_ji y(i) / S_j * (S_j / mean S) ^ (1 - scaling).

    With `scaling` 1 it is the weighted mean of the scores, with 0 their sum up to a factor, in which items with many
    similar ones are ahead. Similarity is the inner product of the rows of `FeatureBlocks`. It is a neighbourhood model
    of content whose histories are completed by a collaborative one. On articles with citations and tags, one data set,
    its lists are better than those of `ContentFactors` (`python -m benchmarks citeulike`).

    Scores of items with positives, and so the lists without cold items, are exactly those of the model. An item without
    any known feature in common with them has a score of 0. An item added to a running bundle is scored at once.
    """

    model: Model
    """Model whose scores are read; it is fitted here, and no other component may fit it."""
    scaling: float = 0.5
    """How far the sum over similar items is divided by the sum of their similarities, 0 to 1. The defaults of this and
    of `history_weight` were chosen on the validation articles of CiteULike."""
    history_weight: float = 0.5
    """Weight of a liked item of the history beside the model's score of it, in mean scores of positives."""
    min_texts: int = 2
    """Fewest texts that must contain a word for it to be kept."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _blocks: FeatureBlocks = field(default_factory=FeatureBlocks, init=False, repr=False, compare=False)
    _table: sparse.csr_array | None = field(default=None, init=False, repr=False, compare=False)
    _factors: Array = field(default_factory=lambda: np.empty(0), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.scaling <= 1:
            raise ValueError(f"scaling must be at least 0 and at most 1, got {self.scaling}")
        if not 0 <= self.history_weight < np.inf:
            raise ValueError(f"history_weight must not be negative or infinite, got {self.history_weight}")
        if self.min_texts < 1:
            raise ValueError(f"min_texts must be at least 1, got {self.min_texts}")

    @property
    def owned(self) -> tuple[object, ...]:
        """The model."""
        return (self.model,)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Fit the model and encode the features; raises InputError for items without usable features.

        Features are encoded as learnt from `Dataset.known_items`, not from items that come later.
        """
        known = np.flatnonzero(data.known_items).astype(np.int32)
        self._blocks = FeatureBlocks(min_texts=self.min_texts)
        self._blocks.fit({name: feature.select(known) for name, feature in data.item_features.items()})
        if not self._blocks.feature_names():
            cure = "put a table of items, items.csv, beside the log, or leave this component out"
            raise InputError(data.name, cause="no features by which items could be compared", cure=cure)
        sample = rng.spawn(1)[0]
        self.model.fit(data, rng=rng)
        has_positive = np.bincount(data.item[data.is_positive], minlength=data.n_items) > 0
        rows = self._blocks.rows(data.item_features, data.n_items)
        total = rows[np.flatnonzero(~has_positive)] @ np.asarray(rows[np.flatnonzero(has_positive)].sum(axis=0))
        self._learnt = {
            "cold": ~has_positive,
            "unit": np.array(self._mean_score(data, sample)),
            "mean_similarity": np.array(float(total[total > 0].mean()) if (total > 0).any() else 1.0),
            "positive_from": np.array(data.positive_from),
        }
        self._store(rows)
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores, and those of similar items for cold items; -inf where the model scores nothing."""
        cold = self._learnt["cold"]
        rows = np.flatnonzero(cold).astype(np.int32)
        if items is None:
            own = self.model.score(queries, None)
            scores = np.full((len(queries), len(cold)), -np.inf, np.float32)
            scores[:, : own.shape[1]] = own
            scores[:, rows] = self._of_similar(self._profiles(queries, own), rows)
            return scores
        items = within(items, len(cold))
        scores = self.model.score(queries, items).copy()
        is_cold = (items >= 0) & cold[items] if len(cold) else np.zeros(items.shape, np.bool_)
        if is_cold.any():
            wanted = np.unique(items[is_cold])
            found = self._of_similar(self._profiles(queries, self.model.score(queries, None)), wanted)
            row, column = np.nonzero(is_cold)
            scores[row, column] = found[row, np.searchsorted(wanted, items[row, column])]
        return scores

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the model's reasons, none for cold items, which `matches` explains."""
        if isinstance(self.model, Explains):
            cold = self._learnt["cold"]
            items = within(items, len(cold))
            return self.model.reasons(queries, np.where((items >= 0) & cold[items], np.int32(-1), items))
        return [[[] for _ in row] for row in items]

    def matches(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return the features of cold items and their contributions to the score, largest first; none for others.

        The score of a cold item is the sum of these contributions.
        """
        cold, table, names = self._learnt["cold"], self._rows(), self._blocks.column_names()
        found: list[list[list[tuple[str, float]]]] = []
        profiles = self._profiles(queries, self.model.score(queries, None))
        for profile, row in zip(profiles, within(items, len(cold)).tolist(), strict=True):
            found.append([])
            for i in row:
                added: dict[str, float] = {}
                if i >= 0 and cold[i] and np.isfinite(profile).all():
                    one = table[[i]]
                    shares = one.data * profile[one.indices] * self._factors[i]
                    for column, share in zip(one.indices.tolist(), shares.tolist(), strict=True):
                        added[names[column]] = added.get(names[column], 0.0) + share
                found[-1].append(sorted(((n, v) for n, v in added.items() if v), key=lambda pair: -abs(pair[1])))
        return found

    def add_items(self, features: Features) -> None:
        """Append items, which are scored by those that are similar; the model receives them where it can."""
        n_new = max(map(len, features.values()), default=0)
        rows = sparse.vstack([self._rows(), self._blocks.rows(features, n_new)], format="csr")
        self._learnt["cold"] = np.append(self._learnt["cold"], np.ones(n_new, np.bool_))
        self._store(rows)
        if isinstance(self.model, AddsItems):
            self.model.add_items(features)

    def state(self) -> Arrays:
        """Return what is learnt, the rows of the items, and the encoding of the features ("blocks...")."""
        return {**self._learnt, **{f"blocks.{name}": array for name, array in self._blocks.state().items()}}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        blocks = {key.removeprefix("blocks."): value for key, value in arrays.items() if key.startswith("blocks.")}
        self._learnt = {key: value for key, value in arrays.items() if not key.startswith("blocks.")}
        self._blocks = FeatureBlocks(min_texts=self.min_texts)
        self._blocks.load_state(blocks)
        self._table = None
        check(self._learnt, LAYOUT, C=len(self._blocks.feature_of_column()))

    def _profiles(self, queries: Queries, scores: Scores) -> Vectors:
        """Return the sum of the rows of items with positives, weighted by the model's scores of the catalogue, (B, C).

        -inf for queries of which the model scores nothing.
        """
        cold = self._learnt["cold"]
        scores = np.pad(scores[:, : len(cold)], ((0, 0), (0, max(0, len(cold) - scores.shape[1]))))
        none = ~np.isfinite(scores[:, ~cold]).any(axis=1)
        weight = np.where(np.isfinite(scores) & ~cold, scores, 0).astype(np.float32)
        liked = within(queries.liked(float(self._learnt["positive_from"])), len(cold))
        row, column = np.nonzero(liked >= 0)
        is_liked = np.zeros(weight.shape, np.bool_)
        is_liked[row, liked[row, column]] = True
        weight[is_liked & ~cold] += np.float32(self.history_weight * float(self._learnt["unit"]))
        profiles: Vectors = np.asarray((self._rows().T @ weight.T).T, np.float32)
        profiles[none] = -np.inf
        return profiles

    def _of_similar(self, profiles: Vectors, items: Rows) -> Scores:
        """Return the scores of items, (n,), for the profiles; (B, n)."""
        usable: Mask = np.asarray(np.isfinite(profiles).all(axis=1))
        scores, rows = np.full((len(profiles), len(items)), -np.inf, np.float32), self._rows()[items]
        scores[usable] = (rows @ profiles[usable].T).T * self._factors[items]
        return scores

    def _mean_score(self, data: Dataset, rng: Generator) -> float:
        """Return the mean score that the model gives to positives of the histories of some users."""
        users = np.unique(data.user[data.is_positive])
        users = np.sort(rng.permutation(users)[:MOST_USERS]).astype(np.int32)
        if not len(users):
            return 1.0
        queries = data.queries(users, k=1)
        liked = np.ascontiguousarray(queries.liked(data.positive_from))
        scores = self.model.score(queries, liked)
        of_liked = scores[(liked >= 0) & np.isfinite(scores)]
        return float(of_liked.mean()) if len(of_liked) else 1.0

    def _store(self, rows: sparse.csr_array) -> None:
        self._table = None
        self._learnt |= {
            "values": rows.data.astype(np.float32),
            "columns": rows.indices.astype(np.int32),
            "offsets": rows.indptr.astype(np.int64),
        }

    def _rows(self) -> sparse.csr_array:
        """Return the rows of all items, (N, C); with them, by what the sums over similar items are multiplied."""
        if self._table is None:
            parts = (self._learnt["values"], self._learnt["columns"], self._learnt["offsets"])
            table = sparse.csr_array(parts, shape=(len(parts[2]) - 1, len(self._blocks.feature_of_column())))
            total = table @ np.asarray(table[np.flatnonzero(~self._learnt["cold"])].sum(axis=0))
            known, mean = np.where(total > 0, total, 1), float(self._learnt["mean_similarity"])
            factors = np.where(total > 0, (known / mean) ** (1 - self.scaling) / known, 0)
            self._table, self._factors = table, factors.astype(np.float32)
        return self._table
