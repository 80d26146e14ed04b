"""Average attack: items drawn uniformly, each rated around its own mean (Lam and Riedl, WWW 2004)."""

from __future__ import annotations

from numpy.random import Generator

from pasand.attacks.ratings import RatingStatistics
from pasand.types import Offsets, Scores


def fill(known: RatingStatistics, n: int, rng: Generator) -> tuple[Offsets, Scores]:
    """Return n items drawn uniformly and their values, (n,) each, around the mean of each item."""
    at = rng.choice(len(known.items), n, replace=False)
    return at, known.rated(known.mean[at], known.deviation[at], n, rng)
