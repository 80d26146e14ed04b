"""Coverage of the two intervals of `pasand ope` over random worlds with known truth, beside vw-estimators' interval.

A world has 1 to 5 contexts, 4 to 40 actions, 500 to 10,000 logged decisions, a logging policy with a floor, a policy to
evaluate that is more or less like it, and click rates from frequent to rare. The usual interval is that of the
self-normalised doubly robust estimate with a cross-fitted reward model, as `evaluate` gives it; the safe one has the
weight range of the logging policy's floor, as has the Cressie-Read interval of vw-estimators on the same logs.

`OPE_WORLDS` sets the number of worlds (6,000 in full).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, peer_python, run_peer
from pasand.evaluation.intervals import Interval
from pasand.off_policy import estimators, reward_models
from pasand.off_policy.bootstrap import usual_interval
from pasand.off_policy.diagnosis import diagnose
from pasand.off_policy.empirical_likelihood import safe_interval
from pasand.off_policy.logged import Logged
from pasand.types import Array

MEASURES = (
    "off_policy/logged.py",
    "off_policy/estimators.py",
    "off_policy/bootstrap.py",
    "off_policy/empirical_likelihood.py",
    "off_policy/diagnosis.py",
    "off_policy/pareto.py",
    "off_policy/reward_models.py",
)
WORLDS = int(os.environ.get("OPE_WORLDS", "6000"))


@dataclass(frozen=True)
class World:
    """A log of one world and the truth."""

    log: Logged
    truth: float
    max_weight: float


def world(seed: int) -> World:
    """Return a random world."""
    rng = np.random.default_rng([17, seed])
    contexts, actions = int(rng.integers(1, 6)), int(rng.integers(4, 41))
    n = int(np.exp(rng.uniform(np.log(500), np.log(10_000))))
    floor = float(np.exp(rng.uniform(np.log(0.02), np.log(0.5))))
    sharp, like = np.exp(rng.uniform(np.log(0.1), np.log(3), 2))
    logged = rng.dirichlet(np.full(actions, sharp), contexts) * (1 - floor) + floor / actions
    free = rng.dirichlet(np.full(actions, like), contexts)
    mixed = rng.uniform(0, 1)
    policy = mixed * logged + (1 - mixed) * free
    level = np.exp(rng.uniform(np.log(0.01), np.log(0.3)))
    click = np.clip(level * rng.gamma(2, 0.5, (contexts, actions)), 0, 0.95)
    share = rng.dirichlet(np.full(contexts, 5.0))
    context = rng.choice(contexts, n, p=share)
    cumulative = np.cumsum(logged, axis=1)
    action = (rng.random(n)[:, None] > cumulative[context] / cumulative[context, -1:]).sum(axis=1)
    reward = (rng.random(n) < click[context, action]).astype(np.float64)
    user = np.arange(n)
    model = reward_models.fit(reward, context, action, user, shape=(contexts, actions), max_reward=1.0, seed=seed)
    log = Logged(
        reward=reward,
        weight=policy[context, action] / logged[context, action],
        user=user,
        expected=model.at(context, action),
        policy_expected=(policy[context] * model.table[model.fold, context]).sum(axis=1),
    )
    return World(log, float(share @ (policy * click).sum(axis=1)), float((policy / logged).max()))


def run() -> list[Row]:
    """Return coverage by status, and widths."""
    usual: dict[str, list[bool]] = {"ok": [], "wide": [], "refused": []}
    safe_inside: list[bool] = []
    safe_by: dict[str, list[bool]] = {"ok": [], "wide": [], "refused": []}
    widths: dict[str, list[float]] = {"ours": [], "theirs": []}
    theirs_inside, statuses, ours = [], Counter[str](), {}
    arrays: dict[str, Array] = {}
    found: dict[str, World] = {}
    for seed in range(WORLDS):
        one = world(seed)
        name, log = f"{seed:05}", one.log
        status = diagnose(log).status
        statuses[status] += 1
        interval = usual_interval(estimators.sndr(log), log.user, np.random.default_rng(seed), high=1.0)
        usual[status].append(_holds(interval, one.truth))
        ours[name] = safe_interval(log, one.max_weight, 1.0)
        safe_inside.append(_holds(ours[name], one.truth))
        safe_by[status].append(safe_inside[-1])
        found[name] = one
        arrays |= {f"{name}/weight": log.weight, f"{name}/reward": log.reward}
        arrays[f"{name}/range"] = np.array([0.0, one.max_weight])
        if len(found) == 300 or seed + 1 == WORLDS:
            print(f"{seed + 1} worlds", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "logs.npz"
                np.savez(file, **arrays)  # type: ignore[arg-type]
                theirs = run_peer(peer_python("vw", "vw-estimators==0.2.2", "scipy", "numpy"), "vw_intervals.py", file)
            for key, (low, high) in theirs.items():
                truth = found[key].truth
                theirs_inside.append(low <= truth <= high)
                widths["theirs"].append((high - low) / truth)
                widths["ours"].append((ours[key].high - ours[key].low) / truth)
            arrays, found, ours = {}, {}, {}
    ratio = np.array(widths["ours"]) / np.array(widths["theirs"])
    counts = ", ".join(f"{status} {count}" for status, count in sorted(statuses.items()))
    low_usual = float(np.mean(usual["ok"]))
    detail = f"{WORLDS} worlds: {counts}"
    return [
        Row(
            target="usual interval on ok logs: distance of its coverage from 95 %",
            value=abs(low_usual - 0.95),
            limit=0.02,
            better="lower",
            detail=f"coverage {low_usual:.4f}; on wide logs, not shown, {np.mean(usual['wide']):.4f}; {detail}",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target="safe interval on all logs: coverage",
            value=float(np.mean(safe_inside)),
            limit=0.95,
            better="higher",
            peer="vw-estimators Cressie-Read",
            peer_value=float(np.mean(theirs_inside)),
            detail=f"wide logs {np.mean(safe_by['wide']):.4f}; {detail}",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target="wide logs, which print the safe interval only: share of intervals that miss",
            value=1 - float(np.mean(safe_by["wide"])),
            limit=0.05,
            better="lower",
            detail=f"the usual interval, not printed there, misses {1 - np.mean(usual['wide']):.4f}; {detail}",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target="safe interval: median width / truth",
            value=float(np.median(widths["ours"])),
            limit=float(np.median(widths["theirs"])),
            better="lower",
            peer="vw-estimators Cressie-Read",
            peer_value=float(np.median(widths["theirs"])),
            detail=f"narrower in {np.mean(ratio < 1):.0%} of worlds; median ratio {np.median(ratio):.2f}",
            comparable=True,
            synthetic=True,
        ),
    ]


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high
