"""`ContentNeighbours`: recommends items without interactions by a model's scores of items that are similar to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator
from scipy import sparse
from scipy.linalg import solve

from pasand.contracts import AddsItems, Explains, Model, Reason
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.encoders.feature_blocks import FeatureBlocks
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.progress import track
from pasand.types import Array, Arrays, Mask, Queries, Rows, Scores, Vectors, within

MOST_USERS = 1000
"""Most users from whose positives the unit of the model's scores is measured."""
CELLS = 2**24
"""Similarities that are held at once while the nearest items are searched."""
LAYOUT = {
    "cold": Entry("bool", "N"),
    "unit": Entry("number"),
    "positive_from": Entry("number", infinite=True),
    "is_bag": Entry("bool", "F"),
    "offsets": Entry("int64", "N+1", rises_to="E"),
    "columns": Entry("int32", "E", lowest=0, below="C"),
    "values": Entry("float32", "E"),
    "near": Entry("int32", "M k", lowest=-1, below="N"),
    "weight": Entry("float32", "M k"),
}


@dataclass(kw_only=True)
class ContentNeighbours:
    """Scores items without positives by their most similar items with positives, and all others by `model`.

    With y(i) the model's score of i, plus `history_weight` times the mean score of a positive if i is a liked item of
    the history, S the similarities of the `neighbours` nearest items with positives among each other, and s_j those of
    the cold item j to them,

        score(j) = s_j^T (S + l2 I)^-1 y,

    kernel ridge regression of the scores on content, solved for each cold item among its neighbours: several that are
    near copies of each other count little more than one. Similarity is the cosine of the items' rows of
    `FeatureBlocks`, in which the block of a bag counts by the square root of its number of members. On articles with
    citations and tags, one data set, its lists are better than those of `ContentFactors` and than a weighted mean of
    the neighbours' scores (`python -m benchmarks citeulike`).

    Scores of items with positives, and so the lists without cold items, are exactly those of the model. An item without
    any known feature in common with them has a score of 0. An item added to a running bundle is scored at once.
    A bundle holds up to `neighbours` weights, of eight bytes with their items, for each cold item.
    """

    model: Model
    """Model whose scores are read; it is fitted here, and no other component may fit it."""
    neighbours: int = 300
    """Items with positives by which a cold item is scored, those with the most similar content."""
    l2: float = 2.0
    """Ridge penalty, in similarities; the larger, the more the score is a plain weighted sum. The defaults of these two
    and of `history_weight` were chosen on the validation articles of CiteULike."""
    history_weight: float = 0.5
    """Weight of a liked item of the history beside the model's score of it, in mean scores of positives."""
    min_texts: int = 2
    """Fewest texts that must contain a word for it to be kept."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _blocks: FeatureBlocks = field(default_factory=FeatureBlocks, init=False, repr=False, compare=False)
    _tables: tuple[sparse.csr_array, sparse.csr_array] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if not 0 < self.l2 < np.inf:
            raise ValueError(f"l2 must be positive and finite, got {self.l2}")
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
        kinds = [data.item_features[name].kind for name in self._blocks.feature_names()]
        self._learnt = {
            "cold": ~has_positive,
            "unit": np.array(self._mean_score(data, sample)),
            "positive_from": np.array(data.positive_from),
            "is_bag": np.array([kind == "bag" for kind in kinds]),
        }
        rows = self._encoded(data.item_features, data.n_items)
        k = min(self.neighbours, int(has_positive.sum()))
        self._store(rows, *self._solved(rows, np.flatnonzero(~has_positive).astype(np.int32), k))
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores, and those of similar items for cold items; -inf where the model scores nothing."""
        cold = self._learnt["cold"]
        rows = np.flatnonzero(cold).astype(np.int32)
        if items is None:
            own = self.model.score(queries, None)
            scores = np.full((len(queries), len(cold)), -np.inf, np.float32)
            scores[:, : own.shape[1]] = own
            scores[:, rows] = self._of_similar(self._known(queries, own), rows)
            return scores
        items = within(items, len(cold))
        scores = self.model.score(queries, items).copy()
        is_cold = (items >= 0) & cold[items] if len(cold) else np.zeros(items.shape, np.bool_)
        if is_cold.any():
            wanted = np.unique(items[is_cold])
            found = self._of_similar(self._known(queries, self.model.score(queries, None)), wanted)
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
        cold, names, (table, _) = self._learnt["cold"], self._blocks.column_names(), self._rows()
        found: list[list[list[tuple[str, float]]]] = []
        known = self._known(queries, self.model.score(queries, None))
        for values, row in zip(known, within(items, len(cold)).tolist(), strict=True):
            found.append([])
            for i in row:
                added: dict[str, float] = {}
                if i >= 0 and cold[i] and np.isfinite(values).all():
                    near = self._learnt["near"][self._position(i)]
                    of_near, one = table[near[near >= 0]], table[[i]]
                    profile = of_near.T @ solve(self._kernel(of_near), values[near[near >= 0]], assume_a="pos")
                    for column, share in zip(one.indices.tolist(), (one.data * profile[one.indices]), strict=True):
                        added[names[column]] = added.get(names[column], 0.0) + float(share)
                found[-1].append(sorted(((n, v) for n, v in added.items() if v), key=lambda pair: -abs(pair[1])))
        return found

    def add_items(self, features: Features) -> None:
        """Append items, which are scored by those that are similar; the model receives them where it can."""
        n_new = max(map(len, features.values()), default=0)
        cold = self._learnt["cold"]
        rows = sparse.vstack([self._rows()[0], self._encoded(features, n_new)], format="csr")
        self._learnt["cold"] = np.append(cold, np.ones(n_new, np.bool_))
        near, weight = self._solved(
            rows, np.arange(len(cold), len(cold) + n_new, dtype=np.int32), self._learnt["near"].shape[1]
        )
        self._store(rows, np.vstack([self._learnt["near"], near]), np.vstack([self._learnt["weight"], weight]))
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
        self._tables = None
        columns = self._blocks.feature_of_column()
        check(self._learnt, LAYOUT, C=len(columns), F=len(self._blocks.feature_names()))
        if len(self._learnt["near"]) != (n_cold := int(self._learnt["cold"].sum())):
            raise ValueError(f"near has {len(self._learnt['near'])} rows, but {n_cold} items are cold")

    def _known(self, queries: Queries, scores: Scores) -> Vectors:
        """Return the model's scores of items with positives, plus those of liked items of the history, (B, N).

        They are 0 for cold items, and -inf for queries of which the model scores nothing.
        """
        cold = self._learnt["cold"]
        scores = np.pad(scores[:, : len(cold)], ((0, 0), (0, max(0, len(cold) - scores.shape[1]))))
        none = ~np.isfinite(scores[:, ~cold]).any(axis=1)
        known = np.where(np.isfinite(scores) & ~cold, scores, 0).astype(np.float32)
        liked = within(queries.liked(float(self._learnt["positive_from"])), len(cold))
        row, column = np.nonzero(liked >= 0)
        is_liked = np.zeros(known.shape, np.bool_)
        is_liked[row, liked[row, column]] = True
        known[is_liked & ~cold] += np.float32(self.history_weight * float(self._learnt["unit"]))
        known[none] = -np.inf
        return known

    def _of_similar(self, known: Vectors, items: Rows) -> Scores:
        """Return the scores of cold items, (n,), by those of items with positives; (B, n)."""
        usable: Mask = np.asarray(np.isfinite(known).all(axis=1))
        scores, weights = np.full((len(known), len(items)), -np.inf, np.float32), self._rows()[1]
        scores[usable] = (weights[self._position(items)] @ known[usable].T).T
        return scores

    def _position(self, items: Rows | int) -> Array:
        """Return the positions of cold items among the cold ones."""
        found: Array = np.cumsum(self._learnt["cold"])[items] - 1
        return found

    def _encoded(self, features: Features, n: int) -> sparse.csr_array:
        """Return the rows of n items, of length 1 or zeros, (n, C); a bag counts by the square root of its members."""
        rows = self._blocks.rows(features, n)
        feature = self._blocks.feature_of_column()[rows.indices]
        row = np.repeat(np.arange(n), np.diff(rows.indptr))
        members = np.zeros((n, len(self._learnt["is_bag"])))
        np.add.at(members, (row, feature), 1)
        rows.data *= np.where(self._learnt["is_bag"][feature], np.sqrt(members[row, feature]), 1).astype(np.float32)
        length = np.sqrt(np.bincount(row, rows.data.astype(np.float64) ** 2, n))
        rows.data /= length[row].astype(np.float32)
        return rows

    def _solved(self, rows: sparse.csr_array, items: Rows, k: int) -> tuple[Array, Array]:
        """Return the k most similar items with positives of each of n items, -1 after the last, and weights; (n, k)."""
        warm = np.flatnonzero(~self._learnt["cold"])
        of_warm = rows[warm]
        near, weight = np.full((len(items), k), -1, np.int32), np.zeros((len(items), k), np.float32)
        part = max(1, CELLS // max(len(warm), 1))
        for at in track(range(len(items) if k else 0), "weighing similar items", len(items)):
            if at % part == 0:
                similar = (rows[items[at : at + part]] @ of_warm.T).toarray()
            own = similar[at % part]
            chosen = np.sort(np.argpartition(-own, k - 1)[:k])
            chosen = chosen[own[chosen] > 0]
            if len(chosen):
                near[at, : len(chosen)] = warm[chosen]
                weight[at, : len(chosen)] = solve(self._kernel(of_warm[chosen]), own[chosen], assume_a="pos")
        return near, weight

    def _kernel(self, rows: sparse.csr_array) -> Array:
        """Return the similarities of items among each other with the ridge penalty, (n, n) float64."""
        kernel: Array = (rows @ rows.T).toarray().astype(np.float64)
        kernel[np.diag_indices_from(kernel)] += self.l2
        return kernel

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

    def _store(self, rows: sparse.csr_array, near: Array, weight: Array) -> None:
        self._tables = None
        self._learnt |= {
            "values": rows.data.astype(np.float32),
            "columns": rows.indices.astype(np.int32),
            "offsets": rows.indptr.astype(np.int64),
            "near": near,
            "weight": weight,
        }

    def _rows(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return the rows of all items, (N, C), and the weights of items with positives for each cold item, (M, N)."""
        if self._tables is None:
            near, n = self._learnt["near"], len(self._learnt["cold"])
            parts = (self._learnt["values"], self._learnt["columns"], self._learnt["offsets"])
            table = sparse.csr_array(parts, shape=(n, len(self._blocks.feature_of_column())))
            start = np.append(0, np.cumsum((near >= 0).sum(axis=1)))
            given = self._learnt["weight"][near >= 0], near[near >= 0], start
            self._tables = table, sparse.csr_array(given, shape=(len(near), n))
        return self._tables
