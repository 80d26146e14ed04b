"""Switching: one retriever for users with a short history, another for the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.contracts import Retriever
from pasand.types import Candidates, Queries


@dataclass(frozen=True)
class Switch:
    """Returns the lists of `warm` for queries with at least `min_history` events, and of `cold` for the others.

    This is the switching hybrid of Burke, User Modeling and User-Adapted Interaction 12, 2002. Each retriever receives
    only its own queries. Short lists stay short: if a retriever may return some, put the switch into a `Fallback`.
    """

    cold: Retriever
    """Retriever for short histories, such as content or popularity."""
    warm: Retriever
    """Retriever for the others, such as a collaborative model."""
    min_history: int = 5
    """Number of events from which a query counts as warm; at least 1."""

    def __post_init__(self) -> None:
        if self.min_history < 1:
            raise ValueError(f"min_history must be at least 1, got {self.min_history}")

    def __call__(self, queries: Queries) -> Candidates:
        warm = (queries.history >= 0).sum(axis=1) >= self.min_history
        if warm.all():
            return self.warm(queries)
        if not warm.any():
            return self.cold(queries)
        items = np.full((len(queries), queries.k), -1, np.int32)
        scores = np.full((len(queries), queries.k), -np.inf, np.float32)
        for retriever, which in ((self.cold, np.flatnonzero(~warm)), (self.warm, np.flatnonzero(warm))):
            found = retriever(queries.take(which)).top(queries.k)
            width = found.items.shape[1]
            items[which, :width], scores[which, :width] = found.items, found.scores
        return Candidates(items=items, scores=scores)
