"""Time to keep rules on a list, 200 -> 20, one thread: 1 to 5 rules on the set, 1 to 4 on every prefix, beside HiGHS.

Groups are random and overlap: 5 to 50 % of the items, each with a minimum of up to twice its share or a maximum of at
least .3 times its share of the slots, scores normal, DCG weights. Rules on every prefix bound the count to 90 to 110 %
of the group's share, rounded outwards. Times are of the thread, in milliseconds, of the compiled search with its budget
of `Rules` (100,000 states); the detail has the largest gap to the optimum that the budget left. HiGHS (scipy's `milp`)
solves the same cases for the sum of scores, which is simpler than DCG, in one phase.
"""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from benchmarks.rows import Row
from pasand.reranking.rules.prefix_rules import best_order
from pasand.reranking.rules.set_rules import best_set

Array = NDArray[Any]
MEASURES = (
    "reranking/counted_search.py",
    "reranking/rules/least_violation.py",
    "reranking/rules/prefix_rules.py",
    "reranking/rules/set_rules.py",
)
N, K, CASES, BUDGET = 200, 20, 1000, 100_000
WEIGHTS = 1 / np.log2(np.arange(K) + 2.0)
SET_LIMITS = {3: (0.1, 0.5), 5: (0.25, 2.0)}
"""Limits of median and 99th percentile in ms, by number of rules."""
PREFIX_LIMITS = {2: (0.2, None)}


def set_case(rng: np.random.Generator, n_rules: int) -> tuple[Array, Array, Array, Array]:
    """Return scores, membership bits, and bounds on the set, (R,)."""
    scores = np.sort(rng.normal(size=N))[::-1].copy()
    inside = rng.random((N, n_rules)) < rng.uniform(0.05, 0.5, n_rules)
    share, minimum = inside.mean(axis=0), rng.random(n_rules) < 0.5
    low = np.where(minimum, np.minimum(K, np.ceil(K * share * rng.uniform(1, 2, n_rules))), 0).astype(np.int64)
    high = np.where(minimum, K, np.floor(K * share * rng.uniform(0.3, 1, n_rules))).astype(np.int64)
    return scores, inside.astype(np.int64) @ (1 << np.arange(n_rules)), low, high


def prefix_case(rng: np.random.Generator, n_rules: int) -> tuple[Array, Array, Array, Array]:
    """Return scores, membership bits, and bounds on every prefix, (R, K)."""
    scores = np.sort(rng.normal(size=N))[::-1].copy()
    share, slots = rng.uniform(0.1, 0.5, n_rules)[:, None], np.arange(1, K + 1)
    inside = rng.random((N, n_rules)) < share[:, 0]
    low, high = np.floor(0.9 * share * slots).astype(np.int64), np.ceil(1.1 * share * slots).astype(np.int64)
    return scores, inside.astype(np.int64) @ (1 << np.arange(n_rules)), low, high


def timed(solve: Callable[..., Any], cases: list[tuple[Array, Array, Array, Array]]) -> tuple[Array, float, int]:
    """Return the milliseconds of each case, the largest gap relative to the value, and the cases with a gap."""
    times, gaps = np.empty(len(cases)), np.zeros(len(cases))
    solve(cases[0][0], cases[0][1], WEIGHTS, *cases[0][2:], BUDGET)
    for i, (scores, member, low, high) in enumerate(cases):
        began = thread_time()
        chosen, _, gap = solve(scores, member, WEIGHTS, low, high, BUDGET)
        times[i] = 1000 * (thread_time() - began)
        gaps[i] = gap / max(1e-12, abs(WEIGHTS @ scores[chosen]))
    return times, float(gaps.max()), int(np.count_nonzero(gaps))


def highs(cases: list[tuple[Array, Array, Array, Array]]) -> float:
    """Return the median milliseconds of scipy's `milp` for the sum of scores."""
    times = []
    for scores, member, low, high in cases[:30]:
        inside = np.array([member >> r & 1 for r in range(len(low))])
        bounded = LinearConstraint(np.vstack([np.ones(N), inside]), np.r_[K, low], np.r_[K, high])
        began = thread_time()
        milp(-scores, constraints=bounded, integrality=np.ones(N, np.int64), bounds=Bounds(0, 1))
        times.append(1000 * (thread_time() - began))
    return float(np.median(times))


def run() -> list[Row]:
    """Return medians and 99th percentiles of the times."""
    rows: list[Row] = []
    kinds = (
        ("the set", best_set, set_case, range(1, 6), SET_LIMITS),
        ("every prefix", best_order, prefix_case, range(1, 5), PREFIX_LIMITS),
    )
    for name, solve, make, numbers, limits in kinds:
        for n_rules in numbers:
            rng = np.random.default_rng(n_rules)
            cases = [make(rng, n_rules) for _ in range(CASES if n_rules < 4 or solve is best_set else CASES // 10)]
            times, gap, n_gaps = timed(solve, cases)
            median_limit, p99_limit = limits.get(n_rules, (None, None))
            peer = highs(cases) if solve is best_set and n_rules in SET_LIMITS else None
            what = f"{n_rules} {'rule' if n_rules == 1 else 'rules'} on {name}, ms"
            detail = f"{len(cases):,} cases, {n_gaps} not proven optimal, largest gap {100 * gap:.2g} %"
            compared = peer is not None or median_limit is not None
            reason = (
                "HiGHS solves an easier objective, the sum of scores; the limit is an absolute one" if compared else ""
            )
            rows.append(
                Row(
                    target=f"median, {what}",
                    value=float(np.median(times)),
                    limit=median_limit,
                    better="lower",
                    peer="" if peer is None else "HiGHS, scipy",
                    peer_value=peer,
                    detail=detail,
                    reason=reason,
                    synthetic=True,
                )
            )
            rows.append(
                Row(
                    target=f"99th percentile, {what}",
                    value=float(np.percentile(times, 99)),
                    limit=p99_limit,
                    better="lower",
                    reason="an absolute limit, on random groups" if p99_limit is not None else "",
                    synthetic=True,
                )
            )
    return rows
