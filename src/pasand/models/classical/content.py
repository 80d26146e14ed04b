"""Content-based model: scores items by the features they share with the user's liked items, and explains the match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
from numpy.random import Generator
from scipy import sparse

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features
from pasand.encoders.feature_blocks import FeatureBlocks
from pasand.encoders.text import axes
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.models.hyperparameters import check_numbers
from pasand.training import validation
from pasand.types import Array, Arrays, Queries, Rows, Scores, Vectors, within

Explanation = TypeVar("Explanation")

DAY = 86_400.0
MIN_POSITIVES = 50
"""Fewest held-out positives from which feature weights are learnt."""
NEGATIVES = 50
"""Items sampled for each held-out positive."""
L2 = 1e-4
"""Penalty on the squares of the feature weights."""

LAYOUT = {
    "offsets": Entry("int64", "N+1", rises_to="E"),
    "columns": Entry("int32", "E", lowest=0, below="C"),
    "values": Entry("float32", "E"),
    "weight": Entry("float64", "F", lowest=0),
    "positive_from": Entry("number", "1", infinite=True),
    "half_life_days": Entry("float64", "1", above=0, infinite=True),
    "axes": Entry("float32", "C d", optional=True),
}


@dataclass(kw_only=True)
class Content:
    """Scores an item by the features it shares with the items that the user liked; recent ones weigh most.

    With x_if the row of item i in the block of feature f (`FeatureBlocks`), and s_uh the weights of the liked events h
    of a history, which halve every `half_life_days` and sum to 1,

        score(u, i) = sum_f w_f <x_if, sum_h s_uh x_hf>

    The feature weights w_f >= 0 are those that best separate held-out latest positives from uniformly sampled items (a
    multinomial logit, which is concave), and 1 if too few positives can be held out. The score is a sum over history
    and columns: `reasons` and `matches` return its terms. Lops, de Gemmis & Semeraro, "Content-based recommender
    systems", Recommender Systems Handbook, 2011; weights per feature as in Debnath et al., WWW 2008.

    An item without features scores 0. A user who liked no item with features gets -inf for every item, so that a
    fallback can take over.
    """

    half_life_days: float = 365.0
    """Half-life of the weight of a liked item, in days; without effect where the data have no times."""
    min_texts: int = 2
    """Fewest texts that must contain a word for it to be kept."""
    dimensions: int = 0
    """Width of the vectors that `embed_items` returns for other models to read; 0: none."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _blocks: FeatureBlocks = field(default_factory=FeatureBlocks, init=False, repr=False, compare=False)
    _weighted: sparse.csr_array | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("half_life_days", "min_texts"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.dimensions < 0:
            raise ValueError(f"dimensions must be at least 0, got {self.dimensions}")
        check_numbers(self)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Encode the items and learn the feature weights; raises InputError for items without usable features.

        The encoding is learnt from `Dataset.known_items`, not from items that come later.
        """
        known = np.flatnonzero(data.known_items).astype(np.int32)
        of_known = {name: feature.select(known) for name, feature in data.item_features.items()}
        self._blocks = FeatureBlocks(min_texts=self.min_texts).fit(of_known)
        if not self._blocks.feature_names():
            cure = "put a table of items, items.csv, beside the log, or leave this model out"
            raise InputError(data.name, cause="no features by which items could be compared", cure=cure)
        self._learnt = {
            "weight": np.ones(len(self._blocks.feature_names())),
            "positive_from": np.array([data.positive_from]),
            "half_life_days": np.array([self.half_life_days if data.order == "time" else np.inf]),
        }
        self._store(self._blocks.rows(data.item_features, data.n_items))
        split = validation.split_latest(data, rng)
        if split is not None and len(split.item) >= MIN_POSITIVES:
            self._learnt["weight"], self._weighted = self._learn_weights(split, known, rng), None
        if self.dimensions:
            self._learnt["axes"] = axes(self._table()[known].astype(np.float64), self.dimensions).astype(np.float32)
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return weighted overlaps, negative only by vector features; -inf for a history without known features."""
        table = self._table()
        user = self._profiles(queries)
        known = np.diff(user.indptr) > 0
        if items is None:
            scores = (user @ table.T).toarray()
            return np.where(known[:, None], scores, -np.inf).astype(np.float32)
        items = within(items, table.shape[0])
        scores = np.empty(items.shape)
        for b, row in enumerate(np.maximum(items, 0)):
            scores[b] = (table[row] @ user[[b]].toarray().reshape(-1)) if known[b] else -np.inf
        return np.where(items >= 0, scores, -np.inf).astype(np.float32)

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items with a positive contribution to the score, largest first."""
        table, weights = self._table(), self._history_weights(queries)

        def explain(b: int, item: int) -> list[Reason]:
            row = weights[[b]]
            added = row.data * (table[row.indices] @ table[[item]].T).toarray().reshape(-1)
            order = np.argsort(-added, kind="stable")
            return [Reason(int(row.indices[at]), float(added[at])) for at in order if added[at] > 0]

        return self._explain_each(items, explain)

    def matches(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return the shared words, categories, people and numbers with their contribution to the score, largest first.

        For each query and each of its (B, K) items it is a list of (name, contribution), empty at row -1.
        """
        table, user, names = self._table(), self._profiles(queries), self._blocks.column_names()

        def explain(b: int, item: int) -> list[tuple[str, float]]:
            shared = user[[b]].multiply(table[[item]]).tocoo()
            added: dict[str, float] = {}
            for column, value in zip(shared.coords[1].tolist(), shared.data.tolist(), strict=True):
                added[names[column]] = added.get(names[column], 0.0) + value
            return sorted(((name, value) for name, value in added.items() if value), key=lambda pair: -abs(pair[1]))

        return self._explain_each(items, explain)

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' rows projected on their `dimensions` principal axes (fewer if there are not as many).

        Shapes are (...) -> (..., D). The inner product of two vectors approximates the similarity of the items.
        """
        if "axes" not in self._learnt:
            return np.zeros((*items.shape, 0), np.float32)
        known = within(items, len(self._learnt["offsets"]) - 1)
        vectors = np.asarray(self._table()[np.maximum(known, 0).reshape(-1)] @ self._learnt["axes"])
        vectors[known.reshape(-1) < 0] = 0
        embedded: Vectors = vectors.reshape(*items.shape, -1).astype(np.float32)
        return embedded

    def add_items(self, features: Features) -> None:
        """Append items with their features, encoded and weighted as learnt in training."""
        n_new = max(map(len, features.values()), default=0)
        self._store(sparse.vstack([self._rows(), self._blocks.rows(features, n_new)], format="csr"))

    def weights(self) -> dict[str, float]:
        """Return the weight of each feature."""
        return dict(zip(self._blocks.feature_names(), self._learnt["weight"].tolist(), strict=True))

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit beside the data: three copies of the items' rows, and their vectors.

        A text counts as 100 words.
        """
        texts = sum(feature.kind == "text" for feature in data.item_features.values())
        others = sum(_n_values(feature) for feature in data.item_features.values() if feature.kind != "text")
        return 3 * 12 * (100 * texts * data.n_items + others) + 16 * self.dimensions * data.n_items

    def state(self) -> Arrays:
        """Return the items' rows, the feature weights and the learnt encoding of the features ("blocks...")."""
        return {**self._learnt, **{f"blocks.{name}": array for name, array in self._blocks.state().items()}}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        blocks = {key.removeprefix("blocks."): value for key, value in arrays.items() if key.startswith("blocks.")}
        self._learnt = {key: value for key, value in arrays.items() if not key.startswith("blocks.")}
        self._blocks = FeatureBlocks(min_texts=self.min_texts)
        self._blocks.load_state(blocks)
        sizes = {"C": len(self._blocks.feature_of_column()), "F": len(self._blocks.feature_names())}
        check(self._learnt, LAYOUT, **sizes)
        self._weighted = None

    def _store(self, rows: sparse.csr_array) -> None:
        self._weighted = None
        self._learnt |= {
            "values": rows.data,
            "columns": rows.indices.astype(np.int32),
            "offsets": rows.indptr.astype(np.int64),
        }

    def _rows(self) -> sparse.csr_array:
        """Return the rows of the items; (N, C)."""
        parts = (self._learnt["values"], self._learnt["columns"], self._learnt["offsets"])
        return sparse.csr_array(parts, shape=(len(parts[2]) - 1, len(self._blocks.feature_of_column())))

    def _table(self) -> sparse.csr_array:
        """Return the rows of the items times the roots of the weights, so that inner products are scores; (N, C)."""
        if self._weighted is None:
            rows = self._rows()
            root = np.sqrt(self._learnt["weight"])[self._blocks.feature_of_column()]
            weighted = (rows.data * root[rows.indices], rows.indices, rows.indptr)
            self._weighted = sparse.csr_array(weighted, shape=rows.shape)
        return self._weighted

    def _history_weights(self, queries: Queries) -> sparse.csr_array:
        """Return the weight of each liked item of the histories, summing to 1 in a row; (B, N)."""
        n = len(self._learnt["offsets"]) - 1
        liked = queries.within(n).liked(float(self._learnt["positive_from"][0]))
        age = np.maximum(queries.time[:, None] - queries.history_time, 0) / DAY
        newest = np.where(liked >= 0, age, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        since = np.where(liked >= 0, age - newest, 0)  # only differences of age matter: no weight underflows to 0
        weight = np.where(liked >= 0, 0.5 ** (since / self._learnt["half_life_days"][0]), 0)
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-30)
        at = np.nonzero(liked >= 0)
        table = sparse.csr_array((weight[at], (at[0], liked[at])), shape=(len(queries), n))
        table.sum_duplicates()
        return table

    def _profiles(self, queries: Queries) -> sparse.csr_array:
        """Return the profiles of the users in the columns of the items; (B, C)."""
        profiles: sparse.csr_array = self._history_weights(queries) @ self._table()
        return profiles

    def _explain_each(
        self, items: Rows, explain: Callable[[int, int], list[Explanation]]
    ) -> list[list[list[Explanation]]]:
        known = within(items, len(self._learnt["offsets"]) - 1)
        return [[explain(b, item) if item >= 0 else [] for item in row] for b, row in enumerate(known.tolist())]

    def _learn_weights(self, split: validation.ValidationSplit, known: Rows, rng: Generator) -> Array:
        """Return the feature weights that separate held-out positives from uniformly sampled known items; (F,)."""
        from scipy.optimize import minimize  # slow to import, and not needed for serving

        table, n_features = self._rows(), len(self._learnt["weight"])
        negatives = known[rng.integers(len(known), size=(len(split.item), NEGATIVES), dtype=np.int32)]
        items = np.concatenate([split.item[:, None], negatives], axis=1)
        profiles = self._history_weights(split.queries) @ table
        feature = self._blocks.feature_of_column()
        sums = sparse.csr_array((np.ones(len(feature)), (np.arange(len(feature)), feature)))
        parts = np.empty((*items.shape, n_features))
        for row, query in enumerate(split.query.tolist()):
            parts[row] = (table[items[row]].multiply(profiles[[query]].toarray()).tocsr() @ sums).toarray()
        difference = parts - parts[:, :1]

        def loss(weight: Array) -> tuple[float, Array]:
            margin = difference @ weight
            top = margin.max(axis=1, keepdims=True)
            odds = np.exp(margin - top)
            total = odds.sum(axis=1, keepdims=True)
            gradient = ((odds / total)[:, :, None] * difference).sum(axis=1).mean(axis=0)
            value = (top + np.log(total)).mean()
            return float(value + L2 * weight @ weight), gradient + 2 * L2 * weight

        fit = minimize(loss, np.ones(n_features), jac=True, method="L-BFGS-B", bounds=[(0, None)] * n_features)
        return np.asarray(fit.x) if fit.x.any() else np.ones(n_features)


def _n_values(feature: Feature) -> int:
    """Return the number of categories or numbers of a feature, over all rows."""
    return len(feature.bags.codes) if feature.kind == "bag" else int(np.size(feature.values))
