"""Content: an item is what is known of it, a user the items that the history holds, and a match says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
from numpy.random import Generator
from scipy import sparse
from scipy.optimize import minimize

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.encoders.feature_blocks import Blocks
from pasand.encoders.text import axes
from pasand.errors import InputError
from pasand.training import validation
from pasand.types import Array, Arrays, Queries, Rows, Scores, Vectors, within

Told = TypeVar("Told")

DAY = 86_400.0
FEWEST = 50
"""Withheld likings from which on the features are weighed."""
OTHERS = 50
"""Items drawn beside each withheld liking."""
STRENGTH = 1e-4
"""Penalty on the squares of the weights."""


@dataclass(kw_only=True)
class Content:
    """Scores an item by what it shares with the items that the user liked, the latest counting most.

    With x_if the row of item i in the block of feature f (`Blocks`), s_uh the shares of the liked events h of a
    history, which halve every `half_life` and sum to 1,

        score(u, i) = sum_f w_f <x_if, sum_h s_uh x_hf>

    The weights w_f >= 0 of the features are those that best tell the latest likings, withheld, from items drawn
    uniformly (a multinomial logit, which is concave), and 1 where too few likings can be withheld. The score is a sum
    over history and columns: `reasons` and `matches` are its terms. Lops, de Gemmis & Semeraro, "Content-based
    recommender systems", Recommender Systems Handbook, 2011; weights per feature as in Debnath et al., WWW 2008.

    An item of which nothing is known shares nothing, and scores 0. A user who liked nothing of which something is
    known gets -inf everywhere: ask another model then.
    """

    half_life: float = 365.0
    """Days after which a liking counts half; of no consequence where times mean nothing."""
    min_texts: int = 2
    """Texts that a word must stand in to be kept."""
    dimensions: int = 0
    """Width of the vectors that `embed_items` gives, for models that read these; 0: none."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _blocks: Blocks = field(default_factory=Blocks, init=False, repr=False, compare=False)
    _weighed: sparse.csr_array | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("half_life", "min_texts"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.dimensions < 0:
            raise ValueError(f"dimensions must be at least 0, got {self.dimensions}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn the rows of items and the weights of features; raises InputError where nothing is known of items."""
        self._blocks = Blocks(min_texts=self.min_texts).fit(data.item_features)
        if not self._blocks.features():
            cure = "give a table of items (--items, or items.csv beside the log), or leave this model out"
            raise InputError(data.name, cause="no features by which items could be compared", cure=cure)
        self._learnt = {
            "weight": np.ones(len(self._blocks.features())),
            "positive_from": np.array([data.positive_from]),
            "half_life": np.array([self.half_life if data.order == "time" else np.inf]),
        }
        self._know(self._blocks.rows(data.item_features, data.n_items))
        asked = validation.latest(data, rng)
        if asked is not None and len(asked.item) >= FEWEST:
            self._learnt["weight"], self._weighed = self._weigh(asked, rng), None
        if self.dimensions:
            self._learnt["axes"] = axes(self._table().astype(np.float64), self.dimensions).astype(np.float32)
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return what is shared, at least 0 unless vectors point apart; -inf where nothing is known of the history."""
        table = self._table()
        user = self._taste(queries)
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
        """Return the liked items of the history by what each adds to the score; those that add nothing are left out."""
        table, shares = self._table(), self._shares(queries)

        def of(b: int, item: int) -> list[Reason]:
            row = shares[[b]]
            added = row.data * (table[row.indices] @ table[[item]].T).toarray().reshape(-1)
            order = np.argsort(-added, kind="stable")
            return [Reason(int(row.indices[at]), float(added[at])) for at in order if added[at] > 0]

        return self._each(items, of)

    def matches(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return the words, categories, people and numbers shared, by what each adds to the score, most first."""
        table, user, told = self._table(), self._taste(queries), self._blocks.columns()

        def of(b: int, item: int) -> list[tuple[str, float]]:
            shared = user[[b]].multiply(table[[item]]).tocoo()
            added: dict[str, float] = {}
            for column, value in zip(shared.coords[1].tolist(), shared.data.tolist(), strict=True):
                added[told[column]] = added.get(told[column], 0.0) + value
            return sorted(((name, value) for name, value in added.items() if value), key=lambda pair: -abs(pair[1]))

        return self._each(items, of)

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' rows on their `dimensions` main axes, or as many as there are, (...) -> (..., D).

        The inner product of two vectors nearly is what the items add to each other's score.
        """
        if "axes" not in self._learnt:
            return np.zeros((*items.shape, 0), np.float32)
        known = within(items, len(self._learnt["offsets"]) - 1)
        vectors = np.asarray(self._table()[np.maximum(known, 0).reshape(-1)] @ self._learnt["axes"])
        vectors[known.reshape(-1) < 0] = 0
        made: Vectors = vectors.reshape(*items.shape, -1).astype(np.float32)
        return made

    def add_items(self, features: Features) -> None:
        """Append items by their features, which are compared at once by what was learnt of those there were."""
        more = max(map(len, features.values()), default=0)
        self._know(sparse.vstack([self._rows(), self._blocks.rows(features, more)], format="csr"))

    def weights(self) -> dict[str, float]:
        """Return the weight of each feature."""
        return dict(zip(self._blocks.features(), self._learnt["weight"].tolist(), strict=True))

    def state(self) -> Arrays:
        """Return the items' rows, the weights and what was learnt of the features."""
        return {**self._learnt, **{f"blocks.{name}": array for name, array in self._blocks.state().items()}}

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        blocks = {key.removeprefix("blocks."): value for key, value in arrays.items() if key.startswith("blocks.")}
        self._learnt = {key: value for key, value in arrays.items() if not key.startswith("blocks.")}
        self._blocks = Blocks(min_texts=self.min_texts)
        self._blocks.load_state(blocks)
        self._weighed = None

    def _know(self, rows: sparse.csr_array) -> None:
        self._weighed = None
        self._learnt |= {"values": rows.data, "columns": rows.indices.astype(np.int32), "offsets": rows.indptr}

    def _rows(self) -> sparse.csr_array:
        """Return the rows of the items; (N, C)."""
        parts = (self._learnt["values"], self._learnt["columns"], self._learnt["offsets"])
        return sparse.csr_array(parts, shape=(len(parts[2]) - 1, len(self._blocks.of_column())))

    def _table(self) -> sparse.csr_array:
        """Return the rows of the items times the roots of the weights, so that inner products are scores; (N, C)."""
        if self._weighed is None:
            rows = self._rows()
            root = np.sqrt(self._learnt["weight"])[self._blocks.of_column()]
            weighed = (rows.data * root[rows.indices], rows.indices, rows.indptr)
            self._weighed = sparse.csr_array(weighed, shape=rows.shape)
        return self._weighed

    def _shares(self, queries: Queries) -> sparse.csr_array:
        """Return the share of each liked item of the histories, summing to 1 in a row; (B, N)."""
        n = len(self._learnt["offsets"]) - 1
        liked = queries.within(n).liked(float(self._learnt["positive_from"][0]))
        age = np.maximum(queries.time[:, None] - queries.history_time, 0) / DAY
        newest = np.where(liked >= 0, age, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        since = np.where(liked >= 0, age - newest, 0)  # only differences of age matter: no share is lost to rounding
        weight = np.where(liked >= 0, 0.5 ** (since / self._learnt["half_life"][0]), 0)
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-30)
        at = np.nonzero(liked >= 0)
        table = sparse.csr_array((weight[at], (at[0], liked[at])), shape=(len(queries), n))
        table.sum_duplicates()
        return table

    def _taste(self, queries: Queries) -> sparse.csr_array:
        """Return what the users like, in the columns of the items; (B, C)."""
        taste: sparse.csr_array = self._shares(queries) @ self._table()
        return taste

    def _each(self, items: Rows, of: Callable[[int, int], list[Told]]) -> list[list[list[Told]]]:
        known = within(items, len(self._learnt["offsets"]) - 1)
        return [[of(b, item) if item >= 0 else [] for item in row] for b, row in enumerate(known.tolist())]

    def _weigh(self, asked: validation.ValidationSplit, rng: Generator) -> Array:
        """Return the weights that tell withheld likings from items drawn uniformly; (F,)."""
        table, n_features = self._rows(), len(self._learnt["weight"])
        drawn = rng.integers(table.shape[0], size=(len(asked.item), OTHERS), dtype=np.int32)
        items = np.concatenate([asked.item[:, None], drawn], axis=1)
        taste = self._shares(asked.queries) @ table
        of_column = self._blocks.of_column()
        sums = sparse.csr_array((np.ones(len(of_column)), (np.arange(len(of_column)), of_column)))
        parts = np.empty((*items.shape, n_features))
        for row, query in enumerate(asked.query.tolist()):
            parts[row] = (table[items[row]].multiply(taste[[query]].toarray()).tocsr() @ sums).toarray()
        told = parts - parts[:, :1]

        def loss(weight: Array) -> tuple[float, Array]:
            margin = told @ weight
            top = margin.max(axis=1, keepdims=True)
            odds = np.exp(margin - top)
            total = odds.sum(axis=1, keepdims=True)
            slope = ((odds / total)[:, :, None] * told).sum(axis=1).mean(axis=0)
            value = (top + np.log(total)).mean()
            return float(value + STRENGTH * weight @ weight), slope + 2 * STRENGTH * weight

        found = minimize(loss, np.ones(n_features), jac=True, method="L-BFGS-B", bounds=[(0, None)] * n_features)
        return np.asarray(found.x) if found.x.any() else np.ones(n_features)
