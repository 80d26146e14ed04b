"""How far the distribution of a list over categories is from that of the user's history: divergence and distance.

These are functions of distributions and not named metrics, as metrics of lists do not read the history of a query.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def kl_divergence(target: Values, shown: Values, *, smoothing: float = 0.01) -> Values:
    """Return the Kullback-Leibler divergence of lists from targets p, in nats; (B, C) -> (B,).

    It is the sum of p log(p / q~) over the categories, with q~ = (1 - smoothing) q + smoothing p: 0 for equal
    distributions, and at most -log(smoothing) where p sums to 1. A target without any category has 0. Steck, Calibrated
    recommendations, RecSys 2018, equations 3 and 4.
    """
    mixed = (1 - smoothing) * shown + smoothing * target
    positive = target > 0
    ratio = np.divide(target, mixed, out=np.ones_like(mixed), where=positive)
    return np.asarray((np.where(positive, target, 0) * np.log(ratio)).sum(axis=1))


def hellinger(target: Values, shown: Values) -> Values:
    """Return the Hellinger distance |sqrt(p) - sqrt(q)| / sqrt(2) of two distributions, in [0, 1]; (B, C) -> (B,)."""
    distance: Values = np.linalg.norm(np.sqrt(target) - np.sqrt(shown), axis=1) / np.sqrt(2)
    return distance
