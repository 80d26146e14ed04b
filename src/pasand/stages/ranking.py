"""Ranking: candidates in the order of a model that knows more, or costs more, than the one that found them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.contracts import Model
from pasand.types import Candidates, Queries


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
        ranked = np.where(items[:, :depth] >= 0, ranked, np.float32(-np.inf))
        scores = np.full(items.shape, -np.inf, np.float32)
        scores[:, :depth] = ranked
        order = np.argsort(-scores, axis=1, kind="stable")
        scores = np.take_along_axis(scores, order, axis=1)
        items = np.take_along_axis(items, order, axis=1)
        # what the model says nothing of steps down below the last score, one by one, so that scores fall
        said = np.isfinite(scores)
        lowest = np.where(said, scores, np.inf).min(axis=1, initial=np.inf)
        lowest = np.where(np.isfinite(lowest), lowest, 0).astype(np.float32)
        behind = np.cumsum(~said, axis=1).astype(np.float32)
        step = np.maximum(np.abs(lowest) * np.float32(1e-6), np.float32(1e-6))
        scores = np.where(said, scores, lowest[:, None] - behind * step[:, None]).astype(np.float32)
        scores[items < 0] = -np.inf
        propensity = candidates.propensity
        return Candidates(
            items=items,
            scores=scores,
            propensity=None if propensity is None else np.take_along_axis(propensity, order, axis=1),
        )
