"""Ranking: orders candidates by a model that reads more features, or costs more, than the retriever's model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pasand.contracts import Model
from pasand.types import Array, Candidates, Queries, Rows, Scores


@dataclass(frozen=True)
class Rank:
    """Returns the candidates ordered by a model's scores; candidates of equal score keep their order.

    Candidates that the model cannot score follow the others in their previous order, with lower scores. Only the first
    `depth` candidates are ranked; the others stay behind them. With a different model in the retriever this is the
    cascade hybrid (Burke, User Modeling and User-Adapted Interaction 12, 2002).
    """

    model: Model
    depth: int = 0
    """Number of candidates that are ranked; 0: all."""

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth must not be negative, got {self.depth}")

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        items, width = candidates.items, candidates.items.shape[1]
        depth = min(self.depth or width, width)
        if not depth or not len(queries):
            return candidates
        model_scores = self.model.score(queries, items[:, :depth])
        order, items, scores = _ordered(items, np.ascontiguousarray(model_scores, np.float32))
        propensity = candidates.propensity
        return Candidates(
            items=items,
            scores=scores,
            propensity=None if propensity is None else np.take_along_axis(propensity, order, axis=1),
        )


@njit(cache=True, nogil=True)
def _ordered(items: Rows, model_scores: Scores) -> tuple[Array, Rows, Scores]:
    """Return positions of candidates by falling score, with items and scores in that order, (B, K) each.

    `model_scores`, (B, depth), are those of the first candidates, -inf where the model cannot score. The others get
    scores that fall in small steps from the lowest model score.
    """
    width, depth = items.shape[1], model_scores.shape[1]
    orders = np.empty(items.shape, np.int64)
    out, scores = np.empty_like(items), np.empty(items.shape, np.float32)
    negative = np.empty(width, np.float32)
    for b in range(len(items)):
        lowest = np.float32(np.inf)
        for k in range(width):
            negative[k] = -model_scores[b, k] if k < depth and items[b, k] >= 0 else np.inf
            if np.isfinite(negative[k]):
                lowest = min(lowest, -negative[k])
        if not np.isfinite(lowest):
            lowest = np.float32(0)
        step = max(abs(lowest) * np.float32(1e-6), np.float32(1e-6))
        order = np.argsort(negative, kind="mergesort")
        n_unscored = np.float32(0)
        for k in range(width):
            position = order[k]
            orders[b, k], out[b, k], scores[b, k] = position, items[b, position], -negative[position]
            if not np.isfinite(negative[position]):
                n_unscored += 1
                scores[b, k] = lowest - n_unscored * step
            if items[b, position] < 0:
                scores[b, k] = -np.inf
    return orders, out, scores
