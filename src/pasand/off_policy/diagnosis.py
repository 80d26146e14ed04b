"""Whether a log can show what a policy would earn: the weights' mean, effective number, tail and support; a status."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pasand.off_policy.logged import Logged, Terms
from pasand.off_policy.pareto import pareto_k

Status = Literal["ok", "wide", "refused"]
MIN_EFFECTIVE = 30.0
"""Effective sample size below which a log is refused."""
MAX_MISSING = 0.05
"""Share of what the policy shows that the log may lack."""
GOOD_TAIL, GOOD_SHARE = 0.3, 0.2
"""Pareto k below which, or share of effective decisions from which, the usual interval keeps its level."""
MAX_DEVIATION = 3.0
"""Standard errors by which the mean weight may differ from 1."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What the weights of n decisions show before any value is read."""

    n: int
    n_users: int
    random: float
    """Share of decisions with a propensity below 1."""
    mean_weight: float
    """1 in expectation if propensities are right and the policy shows nothing that could not be logged."""
    error: float
    """Standard error of the mean weight, clustered by user."""
    effective: float
    """Effective sample size, sum(w)^2 / sum(w^2) (Kish 1965)."""
    tail: float
    """Pareto k of the weights."""
    max_weight: float
    never_logged: float
    """Share of what the policy shows that the log never shows in that position; nan: unknown."""

    @property
    def deviation(self) -> float:
        """(mean weight - 1) in standard errors; 0 where both are 0."""
        difference = self.mean_weight - 1
        return (
            0.0
            if abs(difference) < 1e-12
            else difference / self.error
            if self.error
            else math.copysign(math.inf, difference)
        )

    @property
    def missing(self) -> float:
        """Share of what the policy shows that the log cannot hold, by what the mean weight lacks beyond chance."""
        return max(0.0, 1 - self.mean_weight - MAX_DEVIATION * self.error)

    @property
    def status(self) -> Status:
        """refused, wide (only the safe interval can be trusted) or ok."""
        return "refused" if self._refusal else "ok" if self._is_good else "wide"

    @property
    def _is_good(self) -> bool:
        tail = self.tail < GOOD_TAIL or self.effective >= GOOD_SHARE * self.n
        return tail and abs(self.deviation) <= MAX_DEVIATION

    @property
    def _refusal(self) -> str:
        if not self.random:
            return (
                "every propensity is 1, so nothing was left to chance and the log shows nothing of other lists. Serve "
                "with exploration, and evaluate on its log."
            )
        if self.missing > MAX_MISSING:
            return (
                f"at least {self.missing:.0%} of what the policy shows could not have been logged. Let exploration "
                "draw from all items that the policy shows, or test it on a part of the traffic."
            )
        if self.never_logged > MAX_MISSING:
            return (
                f"{self.never_logged:.0%} of what the policy shows is never in that position of the log. Collect a "
                "longer log with exploration, or test it on a part of the traffic."
            )
        if not self.effective >= MIN_EFFECTIVE:
            return (
                f"only about {self.effective:.0f} of {self.n:,} decisions count for this policy; at least "
                f"{MIN_EFFECTIVE:.0f} are needed. Collect a longer log with more exploration, or test it on a "
                "part of the traffic."
            )
        return ""

    @property
    def sentence(self) -> str:
        """What the status means, for a reader who knows no statistics."""
        if self._refusal:
            return "This log cannot show what the policy would earn: " + self._refusal
        count = f"about {self.effective:,.0f} of {self.n:,} decisions count for this policy"
        if self._is_good:
            return f"This log can show what the policy would earn: {count}."
        if abs(self.deviation) > MAX_DEVIATION:
            return (
                f"Use the safe interval only: the mean weight is {self.mean_weight:.3f} where 1 is expected "
                f"({self.deviation:+.1f} standard errors), so the logged propensities may be wrong or lack what the "
                "policy shows."
            )
        return (
            f"Use the safe interval only: {count}, and few of them decide the value, so that the usual interval is too "
            "narrow more often than one time in twenty."
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures, the status and the sentence for JSON; figures that are not finite are None."""
        names = ("n", "n_users", "random", "mean_weight", "error", "effective", "tail", "max_weight", "never_logged")
        found = {name: getattr(self, name) for name in names}
        found = {name: value if math.isfinite(value) else None for name, value in found.items()}
        return found | {"missing": self.missing, "status": self.status, "sentence": self.sentence}


def diagnose(log: Logged, *, random: float = 1.0, never_logged: float = math.nan) -> Diagnosis:
    """Return the diagnosis of decisions; `random` is the share of them with a propensity below 1."""
    n = len(log)
    mean = Terms(np.zeros(n), log.weight, np.ones(n)).estimate(log.user)
    total, squares = float(log.weight.sum()), float((log.weight**2).sum())
    return Diagnosis(
        n=n,
        n_users=mean.n_users,
        random=random,
        mean_weight=mean.value,
        error=mean.error if math.isfinite(mean.error) else 0.0,
        effective=total**2 / squares if squares else 0.0,
        tail=pareto_k(log.weight),
        max_weight=float(log.weight.max(initial=0.0)),
        never_logged=never_logged,
    )
