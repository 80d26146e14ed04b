"""Switching: who is little known is answered by one retriever, everybody else by another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.contracts import Retriever
from pasand.types import Candidates, Queries


@dataclass(frozen=True)
class Switch:
    """Returns the lists of `known` for queries with at least `least` events in the history, of `new` for the others.

    The switching hybrid of Burke, User Modeling and User-Adapted Interaction 12, 2002. Each retriever sees the queries
    that are its own alone. A list is as short as its retriever left it: put a `Fallback` around where that can happen.
    """

    new: Retriever
    """Answers from content or popularity."""
    known: Retriever
    """Answers from the history."""
    least: int = 5
    """Events in the history from which on a user is known; at least 1."""

    def __post_init__(self) -> None:
        if self.least < 1:
            raise ValueError(f"least must be at least 1, got {self.least}")

    def __call__(self, queries: Queries) -> Candidates:
        known = (queries.history >= 0).sum(axis=1) >= self.least
        if known.all():
            return self.known(queries)
        if not known.any():
            return self.new(queries)
        items = np.full((len(queries), queries.k), -1, np.int32)
        scores = np.full((len(queries), queries.k), -np.inf, np.float32)
        for retriever, which in ((self.new, np.flatnonzero(~known)), (self.known, np.flatnonzero(known))):
            found = retriever(queries.take(which)).top(queries.k)
            width = found.items.shape[1]
            items[which, :width], scores[which, :width] = found.items, found.scores
        return Candidates(items=items, scores=scores)
