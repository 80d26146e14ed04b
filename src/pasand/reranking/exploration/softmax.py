"""Softmax exploration: weights exp(score / temperature), whose draws without replacement are Plackett-Luce rankings."""

from __future__ import annotations

from pasand.reranking.counted_search import Values
from pasand.reranking.random_slots import softmax
from pasand.reranking.scale import spread


def weights(scores: Values, temperature: float) -> Values:
    """Return the weights of items, (n,), given non-increasing scores; the temperature is in units of `spread`."""
    unit = spread(scores)
    return softmax(scores, temperature * (unit if unit > 0 else 1.0))
