"""What an attacker knows of a log: the popularity of items, and the distribution of their ratings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.types import Array, Rows, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingStatistics:
    """Popularity and ratings of the items with events, and the scale on which attackers rate."""

    items: Rows
    """(M,) items with events, most popular first, equal ones by row."""
    mean: Array
    """(M,) mean value of each item, the overall mean where none is known."""
    deviation: Array
    """(M,) standard deviation of each item's values, the overall one for items with fewer than two."""
    overall_mean: float
    overall_deviation: float
    scale: Scores
    """(V,) values in use, rising; empty for data without ratings, whose profiles have no values."""

    @property
    def lowest(self) -> float:
        """Lowest value in use; nan without ratings."""
        return float(self.scale[0]) if len(self.scale) else np.nan

    @property
    def highest(self) -> float:
        """Highest value in use; nan without ratings."""
        return float(self.scale[-1]) if len(self.scale) else np.nan

    def rated(self, mean: Array | float, deviation: Array | float, n: int, rng: Generator) -> Scores:
        """Return n values of the scale, each the one nearest to a normal draw; nan without ratings."""
        if not len(self.scale):
            return np.full(n, np.nan, np.float32)
        drawn = rng.normal(mean, deviation, n)
        middle = (self.scale[1:] + self.scale[:-1]) / 2
        values: Scores = self.scale[np.searchsorted(middle, drawn)]
        return values


def rating_statistics(data: Dataset) -> RatingStatistics:
    """Return what an attacker knows of a log; strengths, which have no highest value, count as no ratings."""
    count = np.bincount(data.item, minlength=data.n_items)
    items = np.argsort(-count, kind="stable")[: int(np.count_nonzero(count))].astype(np.int32)
    if data.values != "rating" or data.value is None or not np.isfinite(data.value).any():
        nothing = np.full(len(items), np.nan)
        empty = np.empty(0, np.float32)
        return RatingStatistics(
            items=items, mean=nothing, deviation=nothing, overall_mean=np.nan, overall_deviation=np.nan, scale=empty
        )
    known = np.isfinite(data.value)
    item, value = data.item[known], data.value[known].astype(np.float64)
    n = np.bincount(item, minlength=data.n_items)
    overall = float(value.mean())
    mean = np.where(n > 0, np.bincount(item, value, minlength=data.n_items) / np.maximum(n, 1), overall)
    squares = np.bincount(item, (value - mean[item]) ** 2, minlength=data.n_items)
    deviation = np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), float(value.std()))
    return RatingStatistics(
        items=items,
        mean=mean[items],
        deviation=deviation[items],
        overall_mean=overall,
        overall_deviation=float(value.std()),
        scale=np.unique(data.value[known]),
    )
