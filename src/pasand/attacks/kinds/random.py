"""Random attack: items drawn uniformly, rated around the overall mean (Lam and Riedl, WWW 2004)."""

from __future__ import annotations

from numpy.random import Generator

from pasand.attacks.ratings import RatingStatistics
from pasand.types import Offsets, Scores


def fill(known: RatingStatistics, n: int, rng: Generator) -> tuple[Offsets, Scores]:
    """Return n items drawn uniformly and their values, (n,) each, around the mean of all ratings."""
    at = rng.choice(len(known.items), n, replace=False)
    return at, known.rated(known.overall_mean, known.overall_deviation, n, rng)
