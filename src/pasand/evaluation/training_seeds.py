"""Training seeds: what differs between fits of one model with different seeds, and what the intervals are over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def over_seeds(means: Sequence[float]) -> tuple[float, float]:
    """Return the mean of a metric over training seeds, (S,), and its standard deviation; nan with one seed.

    >>> over_seeds([0.25, 0.75])
    (0.5, 0.3535533905932738)
    """
    return float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def spread_text(means: Sequence[float]) -> str:
    """Return the standard deviation over training seeds as text; "" with one seed.

    >>> spread_text([0.25, 0.75]), spread_text([0.25])
    ('± 0.3536', '')
    """
    deviation = over_seeds(means)[1]
    return "" if np.isnan(deviation) else f"± {deviation:.4f}"


def seeds_rule(seed: int, n_seeds: int) -> str:
    """Return what the intervals are over, in words."""
    if n_seeds == 1:
        return f"95 %, over test users only; each model is trained with one seed ({seed}), so not over training seeds"
    last = seed + n_seeds - 1
    return (
        f"95 %, over test users; models whose training is random are trained with {n_seeds} seeds ({seed} to {last}) "
        "and show the mean over seeds ± the standard deviation over seeds; the others are trained once"
    )
