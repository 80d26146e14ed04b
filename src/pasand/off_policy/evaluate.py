"""`evaluate`: the value of a policy on a log, with diagnosis, two intervals, all estimators and groups; `compare`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pasand.audit.estimates import Estimate
from pasand.errors import InputError
from pasand.evaluation.intervals import Interval, number_or_none
from pasand.off_policy import estimators, reward_models, slates, tuning
from pasand.off_policy.bootstrap import usual_interval
from pasand.off_policy.diagnosis import Diagnosis, Status, diagnose
from pasand.off_policy.empirical_likelihood import safe_interval
from pasand.off_policy.logged import Logged, Terms
from pasand.off_policy.policies import Policy
from pasand.off_policy.slates import Slates
from pasand.sources.decision_tables import Decisions
from pasand.types import Mask

DEFAULT = "switch_dr"
"""Estimator of the value that is reported first, where there is a reward model."""
UNBIASED, WITHOUT_MODEL = "sndr", "snips"
"""Estimators of the usual interval, with a reward model and without one."""
SHRUNK: Mapping[str, str] = {
    "dm": "the reward model is right",
    "clipped_ips": "rewards of clipped weights matter little",
    "dros": "the reward model is right where weights are shrunk",
    "switch_dr": "the reward model is right where weights are above the threshold",
}
"""Estimators that give up being unbiased for less variance, with what makes them right; they have no interval."""


@dataclass(frozen=True, kw_only=True)
class Valuation:
    """The value of a policy by one estimator."""

    estimator: str
    value: Interval
    """With the usual interval; none for the estimators of `SHRUNK`."""
    error: float
    """Standard error, clustered by user."""
    parameter: float | None = None
    """What SLOPE++ chose; None: the estimator has no parameter."""
    assumption: str = ""
    """What must hold for the estimate to be right, beside the propensities; "" for nothing."""

    def as_json(self) -> dict[str, Any]:
        """Return the valuation for JSON; numbers that are not finite are None."""
        parameter = self.parameter if self.parameter is not None and math.isfinite(self.parameter) else None
        return {
            "estimator": self.estimator,
            "value": self.value.as_json(),
            "error": number_or_none(self.error),
            "parameter": parameter,
            "assumption": self.assumption,
        }


@dataclass(frozen=True, kw_only=True)
class GroupValue:
    """The value of a policy in a group: per list of its users, or the part of each list's reward from its items."""

    attribute: str
    group: str
    of: str
    """users or items"""
    n: int
    """Lists of the users; shown items of the group."""
    status: Status
    logged: float
    value: Interval

    def as_json(self) -> dict[str, Any]:
        """Return the group for JSON; without a value unless its status is ok."""
        return vars(self) | {"value": self.value.as_json() if self.status == "ok" else None}


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a policy would have earned per list, as far as a log shows it."""

    policy: str
    log: str
    diagnosis: Diagnosis
    logged: Interval
    """What the lists of the log earned."""
    estimator: str
    """Estimator of the value in `usual`."""
    usual: Interval
    """The value, and the usual interval; the value of a shrunk estimator with the interval of an unbiased one, to which
    it is cut."""
    safe: Interval
    """The value of largest empirical likelihood, and the safe interval."""
    valuations: Sequence[Valuation]
    """All estimators."""
    groups: Sequence[GroupValue]
    max_weight: float
    """Largest weight that the floor of the logged propensities admits."""
    max_reward: float
    notes: Sequence[str]
    estimate: Estimate = field(repr=False)
    """The unbiased value with the influence of each user."""

    @property
    def status(self) -> Status:
        """Whether the value can be used: ok, wide (the safe interval alone) or refused."""
        return self.diagnosis.status

    def as_json(self) -> dict[str, Any]:
        """Return the value for JSON; a refused log has no intervals."""
        refused, shown = self.status == "refused", self.valuations
        if self.status == "wide":
            shown = [replace(one, value=Interval(one.value.mean)) for one in shown]
        return {
            "policy": self.policy,
            "log": self.log,
            "status": self.status,
            "sentence": self.diagnosis.sentence,
            "diagnosis": self.diagnosis.as_json(),
            "logged": self.logged.as_json(),
            "estimator": self.estimator,
            "usual": self.usual.as_json() if self.status == "ok" else None,
            "safe": None if refused else self.safe.as_json(),
            "estimators": [] if refused else [one.as_json() for one in shown],
            "groups": [one.as_json() for one in self.groups],
            "max_weight": self.max_weight,
            "max_reward": self.max_reward,
            "notes": list(self.notes),
        }


def evaluate(
    log: Decisions,
    policy: Policy,
    *,
    estimator: str | None = None,
    floor: float | None = None,
    max_reward: float | None = None,
    by: Mapping[str, tuple[str, Mapping[str, Mask]]] | None = None,
    seed: int = 0,
) -> Value:
    """Return the value of a policy per list of a log.

    `estimator` is the one of the value: by default Switch-DR with a threshold chosen by SLOPE++ where the policy's
    items are known, else self-normalised IPS. The error of a reward model and the bias of a threshold are in no
    interval, so the usual interval of such a value is that of the self-normalised doubly robust estimate. `floor` is
    the least joint propensity that the logging policy gives to a list, `max_reward` the largest reward of a list; by
    default those of the log. `by` are groups by name: "users" or "items", and the rows of each group, (n,), one or more
    of them; groups may overlap. Raises InputError for an unknown estimator, and for a floor or a largest reward that
    the log contradicts.
    """
    whole = _slates(log, policy)
    joint = with_model(log, policy, whole.joint(), seed)
    propensity = log.padded(log.propensity, 1.0).prod(axis=1)
    least, most = float(propensity.min()), float(joint.reward.max())
    if floor is not None and not 0 < floor <= least * (1 + 1e-9):
        raise InputError(
            "--floor", value=floor, cause=f"the log has a list of propensity {least:g}", cure=f"give at most {least:g}"
        )
    if max_reward is not None and max_reward < most:
        cause = f"the log has a list with reward {most:g}"
        raise InputError("--max-reward", value=max_reward, cause=cause, cure=f"give at least {most:g}")
    largest = max(most, 1.0) if max_reward is None else max_reward
    n_slots = whole.reward.shape[1]
    chance = policy.max_probability**n_slots if n_slots == 1 else 1.0
    max_weight = max(1.0, float(joint.weight.max()), chance / (least if floor is None else floor))
    diagnosis = diagnose(joint, random=float((propensity < 1).mean()), never_logged=_never_logged(log, policy))
    terms = _terms(joint, whole)
    main = estimator or (DEFAULT if joint.expected is not None else WITHOUT_MODEL)
    if main not in terms:
        raise InputError(
            "--estimator", value=main, cause="there is no such estimator here", cure="use " + ", ".join(terms)
        )
    found = {name: _valued(name, one, parameter, joint, seed, largest) for name, (one, parameter) in terms.items()}
    unbiased = (UNBIASED if joint.expected is not None else WITHOUT_MODEL) if main in SHRUNK else main
    interval = found[unbiased].value
    value = found[main].value.mean
    if main in SHRUNK and not math.isnan(interval.low):
        value = float(np.clip(value, interval.low, interval.high))
    logged = estimators.ips(_as_logged(joint))
    return Value(
        policy=policy.name,
        log=log.name,
        diagnosis=diagnosis,
        logged=usual_interval(logged, joint.user, np.random.default_rng(seed), high=largest),
        estimator=main,
        usual=Interval(value, interval.low, interval.high),
        safe=safe_interval(joint, max_weight, largest),
        valuations=list(found.values()),
        groups=[] if diagnosis.status == "refused" else _by_group(log, policy, whole, by or {}, seed, largest),
        max_weight=max_weight,
        max_reward=largest,
        notes=(*log.notes, *policy.notes),
        estimate=terms[unbiased][0].estimate(joint.user),
    )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two policies on one log, paired by user."""

    first: Value
    second: Value
    difference: Interval
    """first - second, with its 95 % interval."""

    @property
    def verdict(self) -> str:
        """better, worse or not shown for the first one; refused if the log cannot show one of them."""
        if "refused" in (self.first.status, self.second.status):
            return "refused"
        low, high = self.difference.low, self.difference.high
        if "wide" in (self.first.status, self.second.status):
            low, high = self.first.safe.low - self.second.safe.high, self.first.safe.high - self.second.safe.low
        return "better" if low > 0 else "worse" if high < 0 else "not shown"


def compare(first: Value, second: Value) -> Comparison:
    """Return the comparison of two values from one log; where one is wide, the safe intervals decide.

    The difference of the estimates has the difference of their influences, so what both share by user cancels.
    """
    return Comparison(first=first, second=second, difference=(first.estimate - second.estimate).interval)


def with_model(log: Decisions, policy: Policy, joint: Logged, seed: int = 0) -> Logged:
    """Return the lists with expected rewards, sums over slots, by a model cross-fitted over users.

    Without expected rewards if the policy's items are unknown.
    """
    if policy.mean is None:
        return joint
    largest = max(float(log.reward.max(initial=0.0)), 1e-12)
    shape = (len(log.positions), len(log.items))
    model = reward_models.fit(log.reward, log.position, log.item, log.user, shape=shape, max_reward=largest, seed=seed)
    shown = model.at(log.position, log.item)
    expected = policy.mean(model.extended, model.fold)
    return Logged(
        reward=joint.reward,
        weight=joint.weight,
        user=joint.user,
        expected=np.bincount(log.list, shown),
        policy_expected=np.bincount(log.list, expected),
    )


def _slates(log: Decisions, policy: Policy) -> Slates:
    weight, marginal = log.padded(policy.probability / log.propensity, 1.0), None
    if policy.slot_probability is not None and log.slot_propensity is not None:
        alone = policy.slot_probability / log.slot_propensity
        if not np.isnan(alone).any():
            marginal = log.padded(alone, 1.0)
    return Slates(reward=log.padded(log.reward, 0.0), weight=weight, user=log.user[log.first], marginal=marginal)


def _never_logged(log: Decisions, policy: Policy) -> float:
    """Return the share of what the policy shows that the log never has in that position; nan if unknown."""
    if policy.mean is None:
        return math.nan
    never = np.ones((1, len(log.positions), len(log.items) + 2))
    never[0, log.position, log.item] = 0
    return float(policy.mean(never, np.zeros(len(log), np.int64)).mean())


def _terms(joint: Logged, whole: Slates) -> dict[str, tuple[Terms, float | None]]:
    """Return the terms of all estimators that the log permits, with the parameters that were chosen."""
    bounds = tuning.candidates(joint.weight)

    def tuned(family: Callable[[Logged, float], Terms], parameters: list[float]) -> tuple[Terms, float]:
        chosen = tuning.slope(lambda parameter: family(joint, parameter), parameters, joint.user)
        return family(joint, chosen), chosen

    found: dict[str, tuple[Terms, float | None]] = {
        "ips": (estimators.ips(joint), None),
        "clipped_ips": tuned(estimators.ips, bounds),
        "snips": (estimators.snips(joint), None),
    }
    if joint.expected is not None:
        found |= {
            "dm": (estimators.dm(joint), None),
            "dr": (estimators.dr(joint), None),
            "sndr": (estimators.sndr(joint), None),
            "dros": tuned(estimators.dros, [bound**2 for bound in bounds]),
            "switch_dr": tuned(estimators.switch_dr, bounds),
        }
    if whole.reward.shape[1] > 1:
        of_slots = ("iips", "rips", "pseudo_inverse")
        found |= {name: (slates.ESTIMATORS[name](whole), None) for name in of_slots}
    return found


def _valued(name: str, terms: Terms, parameter: float | None, joint: Logged, seed: int, largest: float) -> Valuation:
    estimate = terms.estimate(joint.user)
    value = Interval(estimate.value)
    if name not in SHRUNK:
        value = usual_interval(terms, joint.user, np.random.default_rng(seed), high=largest)
    assumption = SHRUNK.get(name, slates.ASSUMPTIONS.get(name, ""))
    return Valuation(estimator=name, value=value, error=estimate.error, parameter=parameter, assumption=assumption)


def _as_logged(joint: Logged) -> Logged:
    return Logged(reward=joint.reward, weight=np.ones(len(joint)), user=joint.user)


def _by_group(
    log: Decisions,
    policy: Policy,
    whole: Slates,
    by: Mapping[str, tuple[str, Mapping[str, Mask]]],
    seed: int,
    largest: float,
) -> list[GroupValue]:
    """Return self-normalised values by group."""
    joint, found = whole.joint(), []
    for attribute, (of, groups) in by.items():
        for group, inside in groups.items():
            if of == "users":
                part = joint.select(inside[log.first])
                count = len(part)
            else:
                reward = np.bincount(log.list, log.reward * inside)
                part = Logged(reward=reward, weight=joint.weight, user=joint.user)
                count = int(inside.sum())
            rng = np.random.default_rng(seed)
            found.append(
                GroupValue(
                    attribute=attribute,
                    group=group,
                    of=of,
                    n=count,
                    status=diagnose(part).status,
                    logged=float(part.reward.mean()),
                    value=usual_interval(estimators.snips(part), part.user, rng, high=largest),
                )
            )
    return found
