"""Estimates over users with standard errors by the infinitesimal jackknife, and the findings that compare two of them.

Every estimate is a smooth function of sums over users. Its influence is the change by the weight of each user, and
the sum of squared influences is its variance: the first-order limit of a bootstrap that resamples users (Jaeckel 1972;
Efron 1982, chapter 6), without random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from pasand.evaluation.intervals import Interval, number_or_none
from pasand.evaluation.significance import LEVEL, holm
from pasand.types import Array

POWER = 0.8
"""Probability with which a difference of the minimum detectable size is found."""


@dataclass(frozen=True)
class Estimate:
    """A figure, the influence of each user on it, and the number of users that it is estimated from."""

    value: float
    influence: Array
    """(n,) derivative of the figure by the weight of each user; the sum is 0."""
    n_users: int

    @property
    def error(self) -> float:
        """The standard error; nan with fewer than two users."""
        n = self.n_users
        return math.sqrt(float(self.influence @ self.influence) * n / (n - 1)) if n > 1 else math.nan

    @property
    def interval(self) -> Interval:
        """The figure with its 95 % interval, by Student's t with one degree of freedom less than users."""
        half = self.error * float(stats.t.ppf(0.975, self.n_users - 1)) if self.n_users > 1 else math.nan
        return Interval(self.value, self.value - half, self.value + half)

    def __sub__(self, other: Estimate) -> Estimate:
        n = min(self.n_users, other.n_users)
        return Estimate(self.value - other.value, self.influence - other.influence, n)

    def log(self) -> Estimate:
        """Return the estimate of the logarithm; nan where the figure is not above 0."""
        if not self.value > 0:
            return Estimate(math.nan, np.full_like(self.influence, np.nan), self.n_users)
        return Estimate(math.log(self.value), self.influence / self.value, self.n_users)


def ratio_of_sums(numerator: Array, denominator: Array) -> Estimate:
    """Return sum(numerator) / sum(denominator) over users, (n,) each; nan where the denominators sum to 0.

    With a denominator of 1 for some users and 0 for others it is the mean over these users.

    >>> ratio_of_sums(np.array([1.0, 3.0, 9.0]), np.array([1, 1, 0])).value
    2.0
    """
    numerator = np.where(denominator > 0, numerator, 0.0)
    total = float(denominator.sum())
    if not total:
        return constant(math.nan, len(numerator))
    value = float(numerator.sum()) / total
    return Estimate(value, (numerator - value * denominator) / total, int(np.count_nonzero(denominator)))


def mean_of(values: Array, which: Array | None = None) -> Estimate:
    """Return the mean over users, (n,), with a defined value, and in `which` if that is given."""
    defined = ~np.isnan(values) if which is None else ~np.isnan(values) & which
    return ratio_of_sums(np.where(defined, values, 0.0), defined.astype(np.float64))


def constant(value: float, n: int) -> Estimate:
    """Return a known figure, which no user influences."""
    return Estimate(value, np.zeros(n), n)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure of an audit, with the reference that it is compared with."""

    measure: str
    attribute: str = ""
    """The feature that defines the group; "" for all users or items."""
    group: str = ""
    value: Interval
    reference_name: str
    reference: Interval
    difference: Interval
    ratio: Interval
    """value / reference; its interval is symmetric on the log scale, and nan where one of them is not above 0."""
    n_users: int
    """Users with a defined value."""
    error: float = math.nan
    """Standard error that the test uses."""
    p: float = math.nan
    """Two-sided p value of no difference; nan: described, and not tested."""
    p_holm: float = math.nan
    """With Holm's correction for all tests of the audit."""
    detectable: float = math.nan
    """Difference that is found with probability `POWER` at the strictest step of the correction."""
    context: Mapping[str, Interval] = field(default_factory=dict)
    """Further figures beside the value, by name."""

    @property
    def verdict(self) -> str:
        """higher, lower or "not shown" for what is tested, "" otherwise."""
        if math.isnan(self.p_holm):
            return ""
        return "not shown" if self.p_holm >= LEVEL else "higher" if self.difference.mean > 0 else "lower"

    @property
    def name(self) -> str:
        """The group with its feature, as "city_tier: tier 1"; the measure where there is no group."""
        return ": ".join(filter(None, [self.attribute, self.group])) or self.measure

    def as_json(self) -> dict[str, Any]:
        """Return the finding for JSON; nan is None."""
        return {
            "measure": self.measure,
            "attribute": self.attribute,
            "group": self.group,
            "users": self.n_users,
            "value": self.value.as_json(),
            "compared_with": self.reference_name,
            "reference": self.reference.as_json(),
            "difference": self.difference.as_json(),
            "ratio": self.ratio.as_json(),
            "p": number_or_none(self.p),
            "p_holm": number_or_none(self.p_holm),
            "minimum_detectable_difference": number_or_none(self.detectable),
            "verdict": self.verdict,
            "context": {name: interval.as_json() for name, interval in self.context.items()},
        }


def compared(
    value: Estimate,
    reference: Estimate,
    *,
    measure: str,
    reference_name: str,
    attribute: str = "",
    group: str = "",
    n_users: int | None = None,
    tested: bool = True,
    least_error: float = 0.0,
    context: Mapping[str, Estimate] | None = None,
) -> Finding:
    """Return the finding of a figure and its reference over the same users.

    `least_error` bounds the standard error of the test from below: the pooled one, for groups whose own values do not
    vary. An error of 0 is not tested, unless both figures are equal, which has the p value 1.
    """
    difference, logs = value - reference, value.log() - reference.log()
    error = max(difference.error, least_error) if difference.n_users > 1 else math.nan
    p = math.nan
    if tested and math.isfinite(difference.value):
        p = 1.0 if difference.value == 0 else math.nan
        if error > 0 and difference.value:
            p = float(2 * stats.t.sf(abs(difference.value) / error, difference.n_users - 1))
    return Finding(
        measure=measure,
        attribute=attribute,
        group=group,
        value=value.interval,
        reference_name=reference_name,
        reference=reference.interval,
        difference=difference.interval,
        ratio=Interval(*np.exp(logs.interval.span).tolist()),
        n_users=value.n_users if n_users is None else n_users,
        error=error,
        p=p,
        context={name: one.interval for name, one in (context or {}).items()},
    )


def corrected(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings with Holm's correction for all their tests, and with minimum detectable differences.

    The detectable difference of a test at level a is (t(1 - a / 2) + t(power)) standard errors, with a = 0.05 over the
    number of tests.
    """
    p_holm = holm(np.array([finding.p for finding in findings]))
    n_tests = max(1, sum(not math.isnan(finding.p) for finding in findings))
    out = []
    for finding, p in zip(findings, p_holm.tolist(), strict=True):
        detectable = math.nan
        if not math.isnan(p) and finding.n_users > 1:
            quantiles = (stats.t.ppf(q, finding.n_users - 1) for q in (1 - LEVEL / n_tests / 2, POWER))
            detectable = float(sum(quantiles)) * finding.error
        out.append(replace(finding, p_holm=p, detectable=detectable))
    return out
