"""Blending: the weighted sum of several models' standardised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pasand.contracts import Model
from pasand.stages.retrieval import best
from pasand.types import Candidates, Queries, Scores


@dataclass(frozen=True)
class Blend:
    """Returns the k allowed items with the highest weighted sum of the models' standardised scores.

    A model's scores for a query are standardised over the catalogue: less their mean, divided by their standard
    deviation. A model that cannot score a query is left out of its sum. An item that a model cannot score counts as
    that model's lowest score, also where the model's catalogue is smaller than that of the others. Ties go to the lower
    row. A list is short, padded with -1, only where fewer than k allowed items are scored by any model.
    """

    models: Sequence[Model]
    weights: Sequence[float] = ()
    """One weight above 0 per model; empty: all 1."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models must not be empty")
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(f"weights must be one per model ({len(self.models)}), got {len(self.weights)}")
        if any(not weight > 0 for weight in self.weights):
            raise ValueError(f"weights must be above 0, got {list(self.weights)}")

    def __call__(self, queries: Queries) -> Candidates:
        return best(self.score(queries), queries)

    def score(self, queries: Queries) -> Scores:
        """Return the sums for the whole catalogue, (B, N); -inf where no model scores the item."""
        model_scores = [model.score(queries, None) for model in self.models]
        n_items = max(scores.shape[1] for scores in model_scores)
        total = np.zeros((len(queries), n_items), np.float32)
        scored = np.zeros(total.shape, np.bool_)
        for scores, weight in zip(model_scores, self.weights or [1.0] * len(model_scores), strict=True):
            if scores.shape[1] < n_items:  # a model that did not accept items added since
                scores = np.pad(scores, ((0, 0), (0, n_items - scores.shape[1])), constant_values=-np.inf)
            total += np.float32(weight) * standardised(scores)
            scored |= np.isfinite(scores)
        total[~scored] = -np.inf
        return total


def standardised(scores: Scores) -> Scores:
    """Return (B, N) scores less the mean of each row's finite scores, divided by their standard deviation.

    -inf becomes the lowest score of its row. A row without finite scores, or of equal scores, becomes 0.

    >>> standardised(np.array([[1, 3, -np.inf], [2, 2, 2]], np.float32)).tolist()
    [[-1.0, 1.0, -1.0], [0.0, 0.0, 0.0]]
    """
    finite = np.isfinite(scores)
    everywhere = finite.all(axis=1)
    if everywhere.all():
        filled = scores
        mean = scores.mean(axis=1, keepdims=True, dtype=np.float64)
        square = np.square(scores - mean.astype(np.float32)).mean(axis=1, keepdims=True, dtype=np.float64)
    else:
        lowest = np.where(finite, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
        filled = np.where(finite, scores, np.where(np.isfinite(lowest), lowest, 0))
        count = np.maximum(finite.sum(axis=1, keepdims=True), 1)
        mean = np.where(finite, scores, 0).sum(axis=1, keepdims=True, dtype=np.float64) / count
        square = np.square(np.where(finite, scores - mean, 0)).sum(axis=1, keepdims=True, dtype=np.float64) / count
    deviation = np.sqrt(square)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    out: Scores = (filled - mean.astype(np.float32)) * scale.astype(np.float32)
    return out
