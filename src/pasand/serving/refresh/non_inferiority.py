"""Non-inferiority of a new model: whether it is shown to be worse than the old one by no more than a margin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pasand.evaluation.intervals import ratio_intervals

POWER = (1.959964 + 0.841621) / 1.959964
"""Half-widths of a 95 % interval that the margin must measure for a test that succeeds in 80 % of cases."""


@dataclass(frozen=True)
class Comparison:
    """The relative change of a metric between two models, from paired values of users, and what it shows."""

    change: float
    """(new mean - old mean) / old mean; nan if the old mean is 0."""
    low: float
    """Lower bound of the 95 % bootstrap interval of the change, over users; nan if it is undefined."""
    high: float
    margin: float
    """Share of the old mean by which the new one may be lower."""
    verdict: Literal["no worse", "worse", "inconclusive"]
    """no worse: `low` is above -margin. worse: it is not, and `high` is below 0. inconclusive: anything else."""

    def queries_needed(self, n: int) -> int | None:
        """Return how many test queries show, in 80 % of cases, that an equally good model is no worse.

        The number is extrapolated from the width of the interval on `n` queries. None if no number can be given: the
        interval is undefined, or the margin is 0, which an equally good model never passes reliably.
        """
        if not self.margin or math.isnan(self.low):
            return None
        return max(n + 1, math.ceil(n * (POWER * (self.high - self.low) / (2 * self.margin)) ** 2))

    def __str__(self) -> str:
        """Return the change with its interval, in percent.

        >>> print(Comparison(-0.012, -0.031, 0.008, 0.05, "no worse"))
        -1.2 % [-3.1 %, +0.8 %]
        """
        if math.isnan(self.change):
            return "an undefined share"
        if math.isnan(self.low):
            return f"{self.change:+.1%} [undefined]".replace("%", " %")
        return f"{self.change:+.1%} [{self.low:+.1%}, {self.high:+.1%}]".replace("%", " %")


def compare(new: NDArray[np.float64], old: NDArray[np.float64], margin: float) -> Comparison:
    """Return the comparison of two models by a metric of each user, higher is better: (U,), (U,).

    Users with a nan are left out. A metric of 0 for every user of the old model cannot become worse.
    The interval is the percentile bootstrap of the ratio, over users (1,000 replicates, seed 0).
    """
    defined = np.isfinite(new) & np.isfinite(old)
    new, old = new[defined], old[defined]
    if len(old) and not old.any():
        return Comparison(math.nan, math.nan, math.nan, margin, "no worse")
    bounds = ratio_intervals((new - old)[:, None], old[:, None], np.random.default_rng(0))
    change, low, high = (float(bound[0]) for bound in bounds)
    if low > -margin:
        return Comparison(change, low, high, margin, "no worse")
    return Comparison(change, low, high, margin, "worse" if high < 0 else "inconclusive")
