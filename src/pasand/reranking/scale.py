"""`spread`: the unit in which policies weigh scores, so that a strength means the same for every model."""

from __future__ import annotations

from pasand.reranking.counted_search import Values


def spread(scores: Values) -> float:
    """Return the difference between the first score and the median of a list's finite scores, (n,), best first.

    It is 1 where there is no difference, and for an empty list.
    """
    difference = float(scores[0] - scores[len(scores) // 2]) if len(scores) else 0.0
    return difference if difference > 0 else 1.0
