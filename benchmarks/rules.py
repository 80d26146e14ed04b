"""Rules on lists hold and lists are optimal: 100,000 random cases, brute force, and a mixed integer programme.

Cases are random: 1 to 5 rules on overlapping groups of any size, empty and full ones included, with a minimum, a
maximum or both, and ties among scores. In the first row the bounds are those that a random list keeps, up to 2 items,
so that the rules can hold together. In the others many cases cannot hold, and the least violation in the order of the
rules counts as well. HiGHS solves each case in two phases: the violations one after the other, then the sum of scores.
"""

from __future__ import annotations

from itertools import combinations
from time import thread_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from benchmarks.rows import Row
from pasand.reranking.rules.set_rules import best_set

Array = NDArray[Any]
MEASURES = ("reranking/counted_search.py", "reranking/rules/least_violation.py", "reranking/rules/set_rules.py")
BUDGET = 10**7
HELD, SMALL, LARGE = 100_000, 3_000, 300
"""Cases of each row."""


def case(rng: np.random.Generator, n: int, k: int) -> tuple[Array, Array, Array, Array]:
    """Return scores, membership bits and bounds of 1 to 5 rules."""
    n_rules = int(rng.integers(1, 6))
    scores = np.sort(rng.normal(size=n).round(int(rng.integers(0, 6))))[::-1].copy()
    member = (rng.random((n, n_rules)) < rng.random(n_rules) ** 2).astype(np.int64) @ (1 << np.arange(n_rules))
    low = rng.integers(0, max(1, k // 2), n_rules)
    high = np.minimum(k, low + rng.integers(0, max(1, k // 2), n_rules))
    low[rng.random(n_rules) < 0.3], high[rng.random(n_rules) < 0.5] = 0, k
    return scores, member, low, high


def counts(member: Array, n_rules: int) -> Array:
    """Return how many items are in each group, (..., k) -> (..., R)."""
    inside: Array = member[..., None] >> np.arange(n_rules) & 1
    return np.asarray(inside.sum(axis=-2))


def brute_force(scores: Array, member: Array, weights: Array, low: Array, high: Array) -> tuple[list[int], float]:
    """Return the least violations in order and the best value with them, over all sets."""
    sets = np.array(list(combinations(range(len(scores)), len(weights))))
    count = counts(member[sets], len(low))
    violation = np.maximum(0, np.maximum(low - count, count - high))
    value = scores[sets] @ weights
    best = np.lexsort((-value, *violation.T[::-1]))[0]
    return violation[best].tolist(), float(value[best])


def programme(scores: Array, member: Array, k: int, low: Array, high: Array) -> tuple[list[int], float]:
    """Return the least violation of each rule in order, and the best sum of scores with them, by HiGHS."""
    n, n_rules = len(scores), len(low)
    inside = np.array([member >> r & 1 for r in range(n_rules)])
    total = np.concatenate([np.ones((1, n)), np.zeros((1, n_rules))], axis=1)
    above, below = np.hstack([inside, np.eye(n_rules)]), np.hstack([inside, -np.eye(n_rules)])
    free = np.full(n_rules, np.inf)
    bounded = LinearConstraint(np.vstack([total, above, below]), np.r_[k, low, -free], np.r_[k, free, high])
    largest, whole = np.r_[np.ones(n), np.full(n_rules, 2.0 * k)], np.r_[np.ones(n), np.zeros(n_rules)]
    for r in range(n_rules + 1):
        cost = np.r_[-scores, np.zeros(n_rules)] if r == n_rules else np.eye(1, n + n_rules, n + r)[0]
        settings = {"integrality": whole, "bounds": Bounds(0, largest), "options": {"mip_rel_gap": 0}}
        found: Any = milp(cost, constraints=bounded, **settings)
        if r < n_rules:
            largest[n + r] = round(found.fun)
    # without the programme's tolerance: the value of its rounded set
    return largest[n:].astype(int).tolist(), float(scores[found.x[:n] > 0.5].sum())


def run() -> list[Row]:
    """Return the shares of cases in which rules hold and results are equal, and the largest difference of values."""
    rng = np.random.default_rng(0)
    held, began = 0, thread_time()
    for _ in range(HELD):
        n = int(rng.integers(5, 200))
        k = int(rng.integers(1, min(n, 20) + 1))
        scores, member, low, high = case(rng, n, k)
        example = counts(member[rng.permutation(n)[:k]], len(low))
        low = np.maximum(0, example - rng.integers(0, 3, len(low)))
        high = example + rng.integers(0, 3, len(low))
        chosen, violation, _ = best_set(scores, member, 1 / np.log2(np.arange(k) + 2.0), low, high, BUDGET)
        count = counts(member[chosen], len(low))
        held += len(set(chosen.tolist())) == k and bool(
            ((count >= low) & (count <= high)).all() and not violation.any()
        )
    seconds = thread_time() - began
    small, small_difference, small_violated = 0, 0.0, 0
    for _ in range(SMALL):
        n = int(rng.integers(1, 11))
        k = int(rng.integers(1, n + 1))
        scores, member, low, high = case(rng, n, k)
        weights = 1 / np.log2(np.arange(k) + 2.0)
        chosen, violation, _ = best_set(scores, member, weights, low, high, BUDGET)
        expected, value = brute_force(scores, member, weights, low, high)
        small += violation.tolist() == expected
        small_difference = max(small_difference, float(abs(weights @ scores[chosen] - value)))
        small_violated += any(expected)
    large, difference, violated = 0, 0.0, 0
    for _ in range(LARGE):
        scores, member, low, high = case(rng, 200, 20)
        chosen, violation, _ = best_set(scores, member, np.ones(20), low, high, BUDGET)
        expected, value = programme(scores, member, 20, low, high)
        large += violation.tolist() == expected
        difference = max(difference, float(abs(scores[chosen].sum() - value)))
        violated += any(expected)
    reason = "a property of the method, not a comparison of accuracy or speed"

    def row(target: str, value: float, limit: float, better: Any, detail: str) -> Row:
        return Row(target=target, value=value, limit=limit, better=better, detail=detail, reason=reason, synthetic=True)

    few = f"{SMALL:,} cases of up to 10 items, DCG weights, {small_violated:,} cannot hold"
    many = f"{LARGE:,} cases, 200 -> 20, sum of scores, {violated:,} cannot hold"
    return [
        row(
            "rules hold, share of cases", held / HELD, 1, "higher", f"{HELD:,} cases, {seconds:.0f} s with their making"
        ),
        row("brute force: equal violations, share of cases", small / SMALL, 1, "higher", few),
        row("brute force: largest difference of value", small_difference, 1e-9, "lower", few),
        row("HiGHS: equal violations, share of cases", large / LARGE, 1, "higher", many),
        row("HiGHS: largest difference of value", difference, 1e-9, "lower", many),
    ]
