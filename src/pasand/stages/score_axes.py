"""`ScoreAxes`: gives item and query vectors to a model without any, from the principal axes of its scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.contracts import Explains, Model, Reason
from pasand.data.dataset import Dataset
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Queries, Rows, Scores, Vectors, within

MOST_USERS = 4096
"""Most users whose scores determine the axes."""
CELLS = 2**23
"""Most scores, queries x items, that are computed at a time."""
LAYOUT = {"axes": Entry("float32", "N D"), "positive_from": Entry("number", infinite=True)}


@dataclass(kw_only=True)
class ScoreAxes:
    """Returns the scores of `model`, and has vectors whose inner products approximate them.

    With z(u) the scores of all items for user u, plus `history_weight` for each liked item of the history, and V the
    eigenvectors of the sum of z(u) z(u)' with the largest eigenvalues, (N, D), an item's vector is its row of V, and
    that of a query is V'z. Their inner product is the best approximation of z(u) of rank D. A linear model such as EASE
    thereby has factors of its own, which other components can read. This is the truncated singular value decomposition
    of PureSVD (Cremonesi et al., RecSys 2010), of scores in place of ratings, by a randomised range finder (Halko et
    al., SIAM Review 53, 2011, algorithm 4.4).
    """

    model: Model
    """Scored model without vectors, such as EASE; it is fitted here, and no other component may fit it."""
    dimensions: int = 128
    """Width of the vectors; fewer where there are not as many items or users."""
    history_weight: float = 0.5
    """Weight of a liked item of the history beside the scores, in their unit. A model without a diagonal, such as EASE,
    does not express that a user likes an item that is in the history."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ValueError(f"dimensions must be at least 1, got {self.dimensions}")
        if not 0 <= self.history_weight < np.inf:
            raise ValueError(f"history_weight must not be negative or infinite, got {self.history_weight}")

    @property
    def owned(self) -> tuple[object, ...]:
        """The model."""
        return (self.model,)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Fit the model, and find the axes from the scores of at most `MOST_USERS` users, drawn at random."""
        axes_rng = rng.spawn(1)[0]
        self.model.fit(data, rng=rng)
        self._learnt = {"positive_from": np.array(data.positive_from), "axes": np.zeros((data.n_items, 0), np.float32)}
        users = np.unique(data.user[data.is_positive])
        users = np.sort(axes_rng.permutation(users)[:MOST_USERS]).astype(np.int32)
        size = max(1, CELLS // max(data.n_items, 1))
        parts = [self._extended(data.queries(users[at : at + size], k=1)) for at in range(0, len(users), size)]
        table = np.concatenate(parts) if parts else np.zeros((0, data.n_items), np.float32)
        width = min(self.dimensions, *table.shape)
        basis = axes_rng.normal(size=(table.shape[1], min(width + 16, *table.shape))).astype(np.float32)
        for _ in range(3):
            basis = np.linalg.qr(table.T @ (table @ basis))[0]
        within_basis = table @ basis
        order = np.linalg.eigh(within_basis.T @ within_basis)[1][:, ::-1][:, :width]
        self._learnt["axes"] = np.ascontiguousarray(basis @ order, np.float32)
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores."""
        return self.model.score(queries, items)

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the queries' scores on the axes, (B, D); zeros for a query that the model cannot score."""
        vectors: Vectors = self._extended(queries) @ self._learnt["axes"]
        return vectors

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' rows of the axes, (...) -> (..., D); zeros at row -1 and for items added after training."""
        axes = self._learnt["axes"]
        items = within(items, len(axes))
        if not len(axes):
            return np.zeros((*items.shape, axes.shape[1]), np.float32)
        vectors: Vectors = np.where((items >= 0)[..., None], axes[items], np.float32(0))
        return vectors

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the model's reasons; none where it does not explain its scores."""
        if isinstance(self.model, Explains):
            return self.model.reasons(queries, items)
        return [[[] for _ in row] for row in items]

    def state(self) -> Arrays:
        """Return "axes" (N, D) and "positive_from"; the model has a state of its own."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt = dict(arrays)

    def _extended(self, queries: Queries) -> Scores:
        """Return z of each query, (B, N); zeros where the model has no score."""
        n = len(self._learnt["axes"])
        scores = self.model.score(queries, None)[:, :n]
        scores = np.where(np.isfinite(scores), scores, np.float32(0))
        liked = within(queries.liked(float(self._learnt["positive_from"])), n)
        query, column = np.nonzero(liked >= 0)
        cells = np.unique(query.astype(np.int64) * max(n, 1) + liked[query, column])
        scores.reshape(-1)[cells] += np.float32(self.history_weight)
        return scores
