"""Ranking: candidates in the order of a model that knows more, or costs more, than the one that found them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pasand.contracts import Model
from pasand.types import Array, Candidates, Queries, Rows, Scores


@dataclass(frozen=True)
class Rank:
    """Returns the candidates in the order of a model's scores; equal ones keep their order.

    Candidates of which the model has nothing to say follow the others in the order in which they came, and score below
    them. With another model for the retriever this is the cascade hybrid (Burke, User Modeling and User-Adapted
    Interaction 12, 2002). Only the first `depth` are ranked; those behind stay behind.
    """

    model: Model
    depth: int = 0
    """Candidates that are ranked; 0: all."""

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth must not be negative, got {self.depth}")

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        items, width = candidates.items, candidates.items.shape[1]
        depth = min(self.depth or width, width)
        if not depth or not len(queries):
            return candidates
        ranked = self.model.score(queries, items[:, :depth])
        order, items, scores = _ordered(items, np.ascontiguousarray(ranked, np.float32))
        propensity = candidates.propensity
        return Candidates(
            items=items,
            scores=scores,
            propensity=None if propensity is None else np.take_along_axis(propensity, order, axis=1),
        )


@njit(cache=True, nogil=True)
def _ordered(items: Rows, said: Scores) -> tuple[Array, Rows, Scores]:
    """Return places of candidates by falling score, with items and scores in that order, (B, K) each.

    `said`: (B, depth) of the first ones, -inf where nothing is said. What nothing is said of steps down below the last
    score, one by one, so that scores fall.
    """
    width, depth = items.shape[1], said.shape[1]
    orders = np.empty(items.shape, np.int64)
    out, scores = np.empty_like(items), np.empty(items.shape, np.float32)
    negative = np.empty(width, np.float32)
    for b in range(len(items)):
        lowest = np.float32(np.inf)
        for k in range(width):
            negative[k] = -said[b, k] if k < depth and items[b, k] >= 0 else np.inf
            if np.isfinite(negative[k]):
                lowest = min(lowest, -negative[k])
        if not np.isfinite(lowest):
            lowest = np.float32(0)
        step = max(abs(lowest) * np.float32(1e-6), np.float32(1e-6))
        order = np.argsort(negative, kind="mergesort")
        behind = np.float32(0)
        for k in range(width):
            place = order[k]
            orders[b, k], out[b, k], scores[b, k] = place, items[b, place], -negative[place]
            if not np.isfinite(negative[place]):
                behind += 1
                scores[b, k] = lowest - behind * step
            if items[b, place] < 0:
                scores[b, k] = -np.inf
    return orders, out, scores
