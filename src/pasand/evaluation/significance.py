"""Paired comparisons of two recommenders over users: difference, tests, Holm's correction, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats

from pasand.evaluation.intervals import Interval, number_or_none, ratio_intervals

Values = NDArray[np.float64]
Verdict = Literal["better", "not shown", "worse"]
PERMUTATIONS = 2000
LEVEL = 0.05
"""Corrected p value below which a difference counts as shown."""


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


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """A recommender compared with a reference on one metric where higher is better, paired by user."""

    reference: str
    """Name of the recommender that it is compared with."""
    difference: Interval
    """Mean over users of recommender - reference, with its bootstrap interval."""
    test: PairedTest
    p_holm: float
    """The permutation p value with Holm's correction for all comparisons of the same kind; nan without a test."""

    @property
    def verdict(self) -> Verdict:
        """better or worse if the corrected p value is below LEVEL, else not shown."""
        if not self.p_holm < LEVEL:
            return "not shown"
        return "better" if self.test.difference > 0 else "worse"

    @property
    def p_text(self) -> str:
        """The corrected p value as text, "p = 0.012" or "p < 0.001"; "no test" without one."""
        if np.isnan(self.p_holm):
            return "no test"
        return "p < 0.001" if self.p_holm < 0.001 else f"p = {self.p_holm:.2g}"

    @property
    def difference_text(self) -> str:
        """The difference with its interval as text, with signs; "" where it is undefined."""
        return "" if np.isnan(self.difference.mean) else f"{self.difference.mean:+.4f} {self.interval_text}"

    @property
    def interval_text(self) -> str:
        """The interval of the difference as text, with signs."""
        low, high = self.difference.low, self.difference.high
        return "[undefined]" if np.isnan(low) else f"[{low:+.4f}, {high:+.4f}]"

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for JSON; nan is None."""
        return {
            "reference": self.reference,
            "verdict": self.verdict,
            "users": self.test.n_users,
            "difference": self.difference.as_json(),
            "p_t": number_or_none(self.test.t),
            "p_wilcoxon": number_or_none(self.test.wilcoxon),
            "p_permutation": number_or_none(self.test.permutation),
            "p_holm": number_or_none(self.p_holm),
        }


def verdict_rule(metric: str, reference: str) -> str:
    """Return what the verdicts compare and when a difference counts as shown, in words."""
    return (
        f"difference of {metric} from {reference}; the best is chosen on these test queries, which favours it; better "
        f"or worse if p < {LEVEL:g} (paired permutation test over users, Holm's correction for the number of tests), "
        "else not shown"
    )


def paired_comparisons(
    values: Mapping[str, Values],
    references: Mapping[str, str],
    *,
    seed: int,
    known: dict[tuple[str, str], tuple[Interval, PairedTest]] | None = None,
) -> dict[str, PairedComparison]:
    """Return the comparison of each recommender in `references` with its reference, by name.

    `values` are those of the metric by recommender, (n,) for the same users, nan where undefined. Holm's correction is
    for the number of comparisons. Each starts from the same seed, so another one changes only the correction.
    `known` keeps the differences and tests of pairs, so that a later call with the same values need not repeat them.
    """
    known = {} if known is None else known
    for name, reference in references.items():
        if (name, reference) not in known:
            first, second = values[name], values[reference]
            both = (first - second)[~np.isnan(first - second), None]
            bounds = ratio_intervals(both, np.ones_like(both), np.random.default_rng(seed))
            test = paired(first, second, rng=np.random.default_rng(seed))
            known[name, reference] = Interval(*(float(bound[0]) for bound in bounds)), test
    found = [known[pair] for pair in references.items()]
    p_holm = holm(np.array([test.permutation for _, test in found]))
    return {
        name: PairedComparison(reference=reference, difference=difference, test=test, p_holm=float(p))
        for (name, reference), (difference, test), p in zip(references.items(), found, p_holm, strict=True)
    }


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
