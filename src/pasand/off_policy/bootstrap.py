"""The usual interval: a studentised bootstrap that resamples users."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from pasand.evaluation.intervals import PERCENTILES, Interval, bootstrap_weights
from pasand.off_policy.logged import Terms, linearised
from pasand.types import Array

MAX_UNITS = 20_000
"""Users beyond which random groups of users are resampled, whose sums have the same variance."""


def usual_interval(
    terms: Terms, user: Array, rng: Generator, *, high: float = math.inf, low: float = 0.0, replicates: int = 1000
) -> Interval:
    """Return the value with its 95 % interval, cut to [low, high]; the bounds are nan with fewer than two users.

    Each replicate draws users with replacement and divides its difference from the value by its own standard error
    (Efron & Tibshirani 1993, chapter 12). That follows skewed weights better than percentiles of values. A replicate
    without variation counts as infinitely far away.
    """
    sums = _grouped(terms.by_user(user), rng)
    value, gradient = (one[0] for one in linearised(sums.sum(axis=0)[None]))
    if len(sums) < 2 or not np.isfinite(value):
        return Interval(float(value))
    error = math.sqrt(float(((sums @ gradient) ** 2).sum()))
    if error == 0:
        return Interval(float(value), float(value), float(value))
    sums, times = np.unique(sums, axis=0, return_counts=True)
    first, second = np.triu_indices(sums.shape[1])
    products = np.column_stack([sums, sums[:, first] * sums[:, second]])
    drawn = np.vstack([weights @ products for weights in _weights(times, rng, replicates)])
    values, gradients = linearised(drawn[:, :4])
    squares = (drawn[:, 4:] * gradients[:, first] * gradients[:, second] * np.where(first == second, 1, 2)).sum(axis=1)
    distance, errors = values - value, np.sqrt(np.maximum(squares, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(errors > 1e-9 * error, distance / errors, np.copysign(np.inf, distance))
    studentised = studentised[~np.isnan(values)]
    upper, lower = np.quantile(studentised, [one / 100 for one in PERCENTILES], method="inverted_cdf")
    ends = value - lower * error, value - upper * error
    return Interval(float(value), *(float(np.clip(end, min(low, value), max(high, value))) for end in ends))


def _weights(times: Array, rng: Generator, replicates: int) -> Iterator[Array]:
    """Yield how often each of M distinct users is drawn, of which there are `times`, in chunks (r, M)."""
    if (times == 1).all():
        yield from bootstrap_weights(len(times), rng, replicates)
        return
    n, chunk = int(times.sum()), int(np.clip(2**22 // len(times), 1, replicates))
    for begin in range(0, replicates, chunk):
        yield rng.multinomial(n, times / n, min(chunk, replicates - begin)).astype(np.float64)


def _grouped(sums: Array, rng: Generator) -> Array:
    """Return the sums of users, (U, 4), or of `MAX_UNITS` random groups of about equally many if there are more."""
    if len(sums) <= MAX_UNITS:
        return sums
    unit = rng.permutation(len(sums)) % MAX_UNITS
    return np.column_stack([np.bincount(unit, column, MAX_UNITS) for column in sums.T])
