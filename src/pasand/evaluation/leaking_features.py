"""Finds item features that follow the hidden popularity of items, such as tags that were written by their users."""

from __future__ import annotations

import numpy as np

from pasand.data.features import Feature, Features
from pasand.types import Array

SUSPICIOUS = 0.5
"""Rank correlation with the number of hidden events from which a feature is suspicious."""
FEWEST = 20
"""Fewest items from which a correlation is computed."""


def followed_popularity(features: Features, count: Array) -> dict[str, float]:
    """Return the rank correlation of each suspicious feature with the number of hidden events of an item.

    `count` (n,) are the events of n items that a model must not know. A number is compared by its value, a bag by its
    number of members, and any other feature by whether it is known. Suspicious is a correlation of at least
    `SUSPICIOUS`; of fewer than `FEWEST` items, and of features equal for all, nothing is known. Tags written by test
    users are the known case (of MovieLens in MARec, Monteil et al., 2024; of CiteULike).
    """
    if len(count) < FEWEST:
        return {}
    found = {name: _rank_correlation(_size(feature), count) for name, feature in features.items()}
    return {name: value for name, value in found.items() if value >= SUSPICIOUS}


def _size(feature: Feature) -> Array:
    """Return how much of a feature each item has; (n,)."""
    if feature.kind == "bag":
        return np.diff(feature.bags.start)
    if feature.kind == "number":
        return np.nan_to_num(feature.values, nan=-np.inf)
    return (~feature.is_missing()).astype(np.float64)


def _rank_correlation(first: Array, second: Array) -> float:
    """Return Spearman's correlation, with mean ranks of equal values; 0 where one side is constant.

    >>> _rank_correlation(np.array([1, 2, 2, 9]), np.array([0, 1, 1, 5]))
    1.0
    """
    ranks = [_ranks(values) for values in (first, second)]
    spread = float(np.std(ranks[0]) * np.std(ranks[1]))
    return float(round(np.mean(ranks[0] * ranks[1]) / spread, 12)) if spread > 0 else 0.0


def _ranks(values: Array) -> Array:
    """Return mean ranks less their mean; (n,)."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    rank: Array = (np.cumsum(count) - (count + 1) / 2)[inverse]
    centred: Array = rank - rank.mean()
    return centred
