"""Love/hate attack: random items rated lowest, the target highest (Mobasher et al., ACM TOIT 7(4), 2007)."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from pasand.attacks.ratings import RatingStatistics
from pasand.types import Offsets, Scores


def fill(known: RatingStatistics, n: int, rng: Generator) -> tuple[Offsets, Scores]:
    """Return n items drawn uniformly and the lowest value, (n,) each."""
    at = rng.choice(len(known.items), n, replace=False)
    return at, np.full(n, known.lowest, np.float32)
