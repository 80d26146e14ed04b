"""Thompson sampling: the probability that an item has the largest of independent normal draws, by quadrature."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Values

STEP = 0.25
"""Distance of the nodes, in units of the smallest standard deviation: the error of the trapezoid rule falls with
exp(-2 (pi / step)^2), but for factors that vary faster; here it is below 1e-10."""
REACH = 7.0
"""Standard deviations above which no draw counts: it is one in 10^12."""
NEVER = 1e-13
"""Probability of a largest draw below the first node."""
NARROWEST = 0.05
"""Least standard deviation, relative to the largest: a draw of an item that is better known counts as that wide."""
HALF = math.sqrt(0.5)


def weights(mean: Values, deviation: Values) -> Values:
    """Return the probability that each item has the largest draw from N(mean, deviation^2), (n,), (n,) -> (n,).

    Draws of different items are independent, so the probability of item i is the integral of its density times the
    distribution functions of all others: one dimension, computed by the trapezoid rule (Thompson 1933; Chapelle & Li,
    An empirical evaluation of Thompson sampling, NeurIPS 2011). The sum is 1. Raises ValueError for numbers that are
    not finite and for a deviation that is not positive.

    >>> weights(np.zeros(4), np.ones(4)).round(9).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
        raise ValueError("means must be finite, and deviations positive and finite")
    if not len(mean):
        return np.zeros(0)
    wide = np.maximum(deviation, NARROWEST * deviation.max())
    found = _largest(np.ascontiguousarray(mean, np.float64), np.ascontiguousarray(wide, np.float64))
    shares: Values = found / found.sum()
    return shares


@njit(cache=True, nogil=True)
def _largest(mean: Values, deviation: Values) -> Values:
    """Return the integral over t of density times the other distribution functions, without factor, (n,)."""
    n = len(mean)
    out, below, own = np.zeros(n), np.ones(n + 1), np.ones(n)
    low, high = (mean - REACH * deviation).max(), (mean + REACH * deviation).max()
    above = high
    for _ in range(12):  # the largest draw is below `low` with a probability below NEVER
        middle, product = (low + above) / 2, 1.0
        for i in range(n):
            product *= 0.5 * math.erfc((mean[i] - middle) / deviation[i] * HALF)
        if product < NEVER:
            low = middle
        else:
            above = middle
    narrow = np.inf
    for i in range(n):
        if mean[i] + REACH * deviation[i] > low:
            narrow = min(narrow, deviation[i])
    nodes = 1 + math.ceil((high - low) / (STEP * narrow))
    for t in range(nodes + 1):
        at = low + (high - low) * t / nodes
        for i in range(n):
            z = (at - mean[i]) / deviation[i]
            own[i] = 0.5 * math.erfc(-z * HALF) if z < REACH else 1.0
            below[i + 1] = below[i] * own[i]
        after = 1.0
        for i in range(n - 1, -1, -1):
            z = (at - mean[i]) / deviation[i]
            if z < REACH:
                out[i] += math.exp(-0.5 * z * z) / deviation[i] * below[i] * after
            after *= own[i]
    return out
