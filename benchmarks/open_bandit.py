"""Values on the small logs of the Open Bandit data, by the policy's empirical distribution, against the other log.

The policy to evaluate is the distribution of items by position in the other log of the campaign, and the "truth" is
the mean click rate of that log. It rests on 46 to 69 clicks, so that it is itself known to 12 to 15 % only. The error
is the mean over 30 resamples of the log of |value - truth| / truth. The limits are the best figures that estimators
of the Open Bandit Pipeline reach by log, each another one; the pipeline draws the policy's distribution from its
parameters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand.off_policy import estimators
from pasand.off_policy.bootstrap import usual_interval
from pasand.off_policy.evaluate import DEFAULT, _slates, _terms, evaluate, with_model
from pasand.off_policy.policies import of_log
from pasand.sources.decision_tables import Decisions, decisions

MEASURES = (
    "off_policy/estimators.py",
    "off_policy/evaluate.py",
    "off_policy/policies.py",
    "off_policy/reward_models.py",
    "off_policy/tuning.py",
    "sources/decision_tables.py",
)
LIMITS = {("men", "random", "bts"): 0.31, ("men", "bts", "random"): 0.21, ("women", "random", "bts"): 0.15}
RESAMPLES = 30


def run() -> list[Row]:
    """Return the errors, whether the truth is in the interval, and whether the hopeless log is refused."""
    folder, rows = data_folder("obd"), []
    reason = "obp draws the policy's distribution from its parameters, which are not in the data"
    for campaign in ("men", "women"):
        logs = {name: decisions(str(folder / name / campaign / f"{campaign}.csv.gz")) for name in ("random", "bts")}
        for logged, other in (("random", "bts"), ("bts", "random")):
            log, limit = logs[logged], LIMITS.get((campaign, logged, other))
            truth = float(logs[other].reward.mean())
            value = evaluate(log, of_log(log, logs[other]))
            name, detail = f"{campaign}, {logged} -> {other}", value.diagnosis.sentence
            if limit is None:
                refused = float(value.status == "refused")
                target = f"{name}: refused (effective sample {value.diagnosis.effective:.1f})"
                rows.append(Row(target=target, value=refused, limit=1, better="higher", detail=detail, comparable=True))
                continue
            interval = value.usual if value.status == "ok" else value.safe
            inside = float(interval.low <= truth <= interval.high)
            target = f"{name}: {value.status}; click rate of the other log in the interval"
            text = f"{interval}, other log {truth:.4f}"
            rows.append(Row(target=target, value=inside, limit=1, better="higher", detail=text, comparable=True))
            errors, apart = (
                float(
                    np.mean([abs(_resampled(log, logs[other], seed, one) - truth) / truth for seed in range(RESAMPLES)])
                )
                for one in (False, True)
            )
            clicks = int(logs[other].reward.sum())
            text = (
                f"{clicks} clicks of the other log: +-{1 / np.sqrt(clicks):.0%}; {apart:.3f} with repeats in one fold"
            )
            target = f"{name}: mean relative error of the default"
            rows.append(
                Row(
                    target=target,
                    value=errors,
                    limit=limit,
                    better="lower",
                    peer="best estimator of obp 0.5.5",
                    detail=text,
                    reason=reason,
                )
            )
    return rows


def _resampled(log: Decisions, other: Decisions, seed: int, one_fold: bool) -> float:
    """Return the default value on rows that are drawn with replacement.

    With `one_fold` a row that is drawn twice is one user; else, as in obp, the reward model may learn a row that it is
    applied to.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(log), len(log))
    names = ("position", "item", "reward", "propensity")
    rows = np.arange(len(log))
    user = (drawn if one_fold else rows).astype(np.int32)
    part = replace(log, list=rows, user=user, **{name: getattr(log, name)[drawn] for name in names})
    policy = of_log(part, other)
    whole = _slates(part, policy)
    joint = with_model(part, policy, whole.joint(), seed)
    value = _terms(joint, whole)[DEFAULT][0].estimate(joint.user).value
    bounds = usual_interval(estimators.sndr(joint), joint.user, rng, high=1.0, replicates=300)
    return float(np.clip(value, bounds.low, bounds.high))
