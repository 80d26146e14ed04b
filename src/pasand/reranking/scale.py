"""Scores as policies compare them, and `spread`, the unit in which they weigh them for every model alike."""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.types import Scores


def spread(scores: Values) -> float:
    """Return the difference between the first score and the median of a list's finite scores, (n,), best first.

    It is 1 where there is no difference, and for an empty list.
    """
    difference = float(scores[0] - scores[len(scores) // 2]) if len(scores) else 0.0
    return difference if difference > 0 else 1.0


def finite_lists(scores: Scores, available: Counts) -> tuple[Values, Values]:
    """Return the scores of lists as they are compared, (B, K), and the `spread` of each list, (B,).

    Of list b the first `available[b]` scores count. Items that no model could score follow the others.
    """
    found: tuple[Values, Values] = _finite_lists(np.ascontiguousarray(scores), available)
    return found


@njit(cache=True, nogil=True)
def _finite_lists(scores: Scores, available: Counts) -> tuple[Values, Values]:
    values, units = np.zeros(scores.shape), np.ones(len(scores))
    for b in range(len(scores)):
        lowest, unscored, n = 0.0, 0, available[b]
        for i in range(n):
            if np.isfinite(scores[b, i]):
                lowest = min(lowest, float(scores[b, i]))
        for i in range(n):
            if np.isfinite(scores[b, i]):
                values[b, i] = scores[b, i]
            else:
                unscored += 1
                values[b, i] = lowest - unscored
        if n and values[b, 0] > values[b, n // 2]:
            units[b] = values[b, 0] - values[b, n // 2]
    return values, units
