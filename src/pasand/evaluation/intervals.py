"""Means over users and how sure they are: bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Values = NDArray[np.float64]
REPLICATES = 1000
SURE = (2.5, 97.5)
"""Percentiles of the replicates that bound the intervals: 95 %."""


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its 95 % interval; all nan where nothing was defined."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    @property
    def span(self) -> tuple[float, float, float]:
        """Mean, low and high end."""
        return self.mean, self.low, self.high

    def as_json(self) -> dict[str, float | None]:
        """Return the three numbers, None for nan."""
        numbers = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: None if np.isnan(number) else float(number) for name, number in numbers.items()}


def weights(n: int, rng: Generator, replicates: int = REPLICATES) -> Iterator[Values]:
    """Yield in chunks how often each of n users is drawn in each replicate; (r, n), rows sum to n."""
    chunk = int(np.clip(2**22 // max(n, 1), 1, replicates))
    for begin in range(0, replicates, chunk):
        r = min(chunk, replicates - begin)
        drawn = rng.integers(0, n, (r, n)) + np.arange(r)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n).astype(np.float64)


def of_ratios(above: Values, below: Values, rng: Generator) -> tuple[Values, Values, Values]:
    """Return sum(above) / sum(below) over users, (n, M) each -> (M,), and the bounds from drawing users anew.

    With below = 1 where a user's value is defined and 0 elsewhere it is a mean over users; with losses above and
    numbers of ratings below it is the mean loss over ratings, users being drawn whole. nan where `below` sums to 0.
    """
    n, m = above.shape
    if not n:
        return np.full(m, np.nan), np.full(m, np.nan), np.full(m, np.nan)
    drawn = np.vstack([_divided(w @ above, w @ below) for w in weights(n, rng)])
    empty = np.isnan(drawn).all(axis=0)
    bounds = np.full((2, m), np.nan)
    bounds[:, ~empty] = np.nanpercentile(drawn[:, ~empty], SURE, axis=0)
    return _divided(above.sum(axis=0), below.sum(axis=0)), bounds[0], bounds[1]


def _divided(above: Values, below: Values) -> Values:
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
