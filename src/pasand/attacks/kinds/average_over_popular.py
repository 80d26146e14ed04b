"""Average over popular: popular items, each rated around its mean (Hurley, Cheng and Zhang, RecSys 2009)."""

from __future__ import annotations

from numpy.random import Generator

from pasand.attacks.ratings import RatingStatistics
from pasand.types import Offsets, Scores

POPULAR = 0.2
"""Share of the items, most popular first, from which the filler is drawn."""


def fill(known: RatingStatistics, n: int, rng: Generator) -> tuple[Offsets, Scores]:
    """Return n items drawn from the most popular ones and their values, (n,) each, around the mean of each item."""
    at = rng.choice(max(n, round(POPULAR * len(known.items))), n, replace=False)
    return at, known.rated(known.mean[at], known.deviation[at], n, rng)
