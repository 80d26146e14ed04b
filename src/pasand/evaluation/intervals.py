"""Means over users with bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Values = NDArray[np.float64]
REPLICATES = 1000
PERCENTILES = (2.5, 97.5)
"""Percentiles of the bootstrap replicates that bound the 95 % intervals."""


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its 95 % confidence interval.

    All are nan where the metric is undefined; the bounds alone are nan where fewer than two users define it.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan

    @property
    def span(self) -> tuple[float, float, float]:
        """Mean, low and high end."""
        return self.mean, self.low, self.high

    def as_json(self) -> dict[str, float | None]:
        """Return the three numbers by name; None for nan."""
        return {name: number_or_none(number) for name, number in zip(("mean", "low", "high"), self.span, strict=True)}

    def __str__(self) -> str:
        """Return the mean and the bounds; "" for an undefined mean, and [undefined] for undefined bounds.

        >>> print(Interval(0.25, 0.2, 0.3), "or", Interval(0.25))
        0.2500 [0.2000, 0.3000] or 0.2500 [undefined]
        """
        if math.isnan(self.mean):
            return ""
        bounds = "undefined" if math.isnan(self.low) else f"{self.low:.4f}, {self.high:.4f}"
        return f"{self.mean:.4f} [{bounds}]"


def number_or_none(value: float) -> float | None:
    """Return a number for JSON; None for nan."""
    return None if np.isnan(value) else float(value)


def bootstrap_weights(n: int, rng: Generator, replicates: int = REPLICATES) -> Iterator[Values]:
    """Yield how often each of n users is drawn in each replicate, in chunks (r, n) whose rows sum to n."""
    chunk = int(np.clip(2**22 // max(n, 1), 1, replicates))
    for begin in range(0, replicates, chunk):
        r = min(chunk, replicates - begin)
        drawn = rng.integers(0, n, (r, n)) + np.arange(r)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n).astype(np.float64)


def ratio_intervals(numerator: Values, denominator: Values, rng: Generator) -> tuple[Values, Values, Values]:
    """Return sum(numerator) / sum(denominator) over users, (n, M) -> (M,), and its lower and upper bootstrap bounds.

    The bootstrap resamples users. With a denominator of 1 for users with a defined value, and 0 for others, the ratio
    is a mean over users. With losses and numbers of ratings, it is the mean loss over ratings. nan where the
    denominator sums to 0; the bounds are nan where fewer than two users have a denominator, as one user does not show
    how users differ. All three lie between the smallest and the largest ratio of a user, whatever the rounding; a
    numerator without a denominator is an infinite ratio.
    """
    n, m = numerator.shape
    if not n:
        return np.full(m, np.nan), np.full(m, np.nan), np.full(m, np.nan)
    drawn = np.vstack([_divided(w @ numerator, w @ denominator) for w in bootstrap_weights(n, rng)])
    empty = np.isnan(drawn).all(axis=0) | (np.count_nonzero(denominator, axis=0) < 2)
    bounds = np.full((2, m), np.nan)
    bounds[:, ~empty] = np.nanpercentile(drawn[:, ~empty], PERCENTILES, axis=0)
    without = np.where(numerator == 0, np.nan, np.copysign(np.inf, numerator))
    of_users = np.where(denominator > 0, _divided(numerator, denominator), without)
    least, most = np.nanmin(of_users, axis=0, initial=np.inf), np.nanmax(of_users, axis=0, initial=-np.inf)
    ends = (_divided(numerator.sum(axis=0), denominator.sum(axis=0)), bounds[0], bounds[1])
    mean, low, high = (np.clip(end, least, most) for end in ends)
    return mean, low, high


def _divided(numerator: Values, denominator: Values) -> Values:
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)
