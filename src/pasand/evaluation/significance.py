"""Paired significance tests of two recommenders over users, and Holm's correction for multiple tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]
PERMUTATIONS = 2000


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """The paired tests of two recommenders on one metric, over users with a defined value for both.

    The p values are two-sided: Student's t test, Wilcoxon's signed-rank test, and a permutation test that swaps the two
    values of each user at random. They are 1 if no user differs, and nan with fewer than two users.
    """

    n_users: int
    difference: float
    """Mean over users of first - second."""
    t: float
    wilcoxon: float
    permutation: float


def paired(first: Values, second: Values, *, rng: Generator) -> PairedTest:
    """Return the tests of two recommenders' values for the same users, (n,) each; users with a nan are left out."""
    difference = (first - second)[~np.isnan(first - second)]
    n = len(difference)
    if n < 2:
        mean = float(difference.mean()) if n else np.nan
        return PairedTest(n_users=n, difference=mean, t=np.nan, wilcoxon=np.nan, permutation=np.nan)
    mean = float(difference.mean())
    if not difference.any():
        return PairedTest(n_users=n, difference=0.0, t=1.0, wilcoxon=1.0, permutation=1.0)
    constant = np.ptp(difference) == 0
    return PairedTest(
        n_users=n,
        difference=mean,
        t=0.0 if constant else float(stats.ttest_1samp(difference, 0).pvalue),
        wilcoxon=float(stats.wilcoxon(difference, method="auto" if n > 50 else "approx").pvalue),
        permutation=_permutation(difference, rng),
    )


def _permutation(difference: Values, rng: Generator) -> float:
    """Return the share of random swaps, the observed one included, whose mean is at least as far from 0."""
    observed, n_extreme, chunk = abs(difference.sum()), 0, int(np.clip(2**22 // len(difference), 1, PERMUTATIONS))
    for begin in range(0, PERMUTATIONS, chunk):
        signs = rng.integers(0, 2, (min(chunk, PERMUTATIONS - begin), len(difference)), np.int8) * 2 - 1
        n_extreme += int((np.abs(signs @ difference) >= observed * (1 - 1e-12)).sum())
    return (n_extreme + 1) / (PERMUTATIONS + 1)


def holm(p: Values) -> Values:
    """Return p values corrected by Holm's step-down procedure (1979), (n,); nan stays and does not count as a test.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    out = p.astype(np.float64).copy()
    real = np.flatnonzero(~np.isnan(p))
    order = real[np.argsort(p[real], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return out
