"""Bandwagon attack: the most popular items rated highest, others at random (Mobasher et al., ACM TOIT 7(4), 2007)."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pasand.attacks.ratings import RatingStatistics
from pasand.types import Offsets, Scores

SELECTED = 5
"""Number of most popular items in each profile."""


def fill(known: RatingStatistics, n: int, rng: Generator) -> tuple[Offsets, Scores]:
    """Return the most popular items with the highest value and uniform others around the overall mean, (n,) each."""
    chosen = min(SELECTED, n)
    others = chosen + rng.choice(len(known.items) - chosen, n - chosen, replace=False)
    values = known.rated(known.overall_mean, known.overall_deviation, n, rng)
    values[:chosen] = known.highest
    return np.append(np.arange(chosen), others), values
