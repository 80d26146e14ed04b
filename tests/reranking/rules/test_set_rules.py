"""Rules on a set against brute force and against a mixed integer programme."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from pasand.reranking.rules.least_violation import least_violation
from pasand.reranking.rules.set_rules import best_set

Array = NDArray[Any]
BUDGET = 10**7
N_PROGRAMMES = 25


def weights_of(k: int, discount: bool) -> Array:
    return 1 / np.log2(np.arange(k) + 2.0) if discount else np.ones(k)


def violations(member: Array, chosen: Array, low: Array, high: Array) -> tuple[int, ...]:
    count = np.array([(member[chosen] >> r & 1).sum() for r in range(len(low))])
    return tuple(np.maximum(0, np.maximum(low - count, count - high)).tolist())


def brute_force(scores: Array, member: Array, weights: Array, low: Array, high: Array) -> tuple[tuple[int, ...], float]:
    """Return the least violations in order, and the best value with them."""
    sets = np.array(list(combinations(range(len(scores)), len(weights))))
    count = (member[sets][:, :, None] >> np.arange(len(low)) & 1).sum(axis=1)
    violation = np.maximum(0, np.maximum(low - count, count - high))
    value = scores[sets] @ weights
    best = np.lexsort((-value, *violation.T[::-1]))[0]
    return tuple(violation[best].tolist()), float(value[best])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Array, Array, Array, Array, Array]:
    """Up to 10 items, up to 5 rules on overlapping groups, some empty or full; ties; bounds that may exclude others."""
    n, n_rules = draw(st.integers(1, 10)), draw(st.integers(1, 5))
    k = draw(st.integers(1, n))
    scores = sorted(draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n)), reverse=True)
    member = draw(st.lists(st.integers(0, 2**n_rules - 1), min_size=n, max_size=n))
    bounds = draw(st.lists(st.tuples(st.integers(0, k), st.integers(0, k)), min_size=n_rules, max_size=n_rules))
    low, high = np.array(bounds).T.copy()
    none = np.array(draw(st.lists(st.booleans(), min_size=2 * n_rules, max_size=2 * n_rules)))
    low[none[:n_rules]], high[none[n_rules:]] = 0, k
    low, high = np.minimum(low, high), np.maximum(low, high)
    return np.array(scores) / 4.0, np.array(member), weights_of(k, draw(st.booleans())), low, high


@given(problems())
@settings(max_examples=500)
def test_the_best_set_is_that_of_brute_force(problem: tuple[Array, Array, Array, Array, Array]) -> None:
    scores, member, weights, low, high = problem
    chosen, violation, gap = best_set(scores, member, weights, low, high, BUDGET)
    expected, value = brute_force(*problem)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < len(scores)
    assert violations(member, chosen, low, high) == expected == tuple(violation.tolist())
    assert weights @ scores[chosen] == pytest.approx(value, abs=1e-9)
    assert gap == 0


def random_problem(rng: np.random.Generator, n: int, k: int) -> tuple[Array, Array, Array, Array]:
    """A problem with 1 to 5 rules, about a third of which cannot be kept together."""
    n_rules = int(rng.integers(1, 6))
    scores = np.sort(rng.normal(size=n).round(int(rng.integers(1, 6))))[::-1].copy()
    member = (rng.random((n, n_rules)) < rng.random(n_rules) ** 2).astype(np.int64) @ (1 << np.arange(n_rules))
    low = rng.integers(0, k // 2, n_rules)
    high = np.minimum(k, low + rng.integers(0, k // 2, n_rules))
    low[rng.random(n_rules) < 0.3], high[rng.random(n_rules) < 0.5] = 0, k
    return scores, member, low, high


def solved_by_milp(scores: Array, member: Array, k: int, low: Array, high: Array) -> tuple[list[int], float]:
    """Return the least violation of each rule in order, and then the best sum of scores, by HiGHS."""
    n, n_rules = len(scores), len(low)
    inside = np.array([member >> r & 1 for r in range(n_rules)])
    total = np.concatenate([np.ones((1, n)), np.zeros((1, n_rules))], axis=1)
    above, below = np.hstack([inside, np.eye(n_rules)]), np.hstack([inside, -np.eye(n_rules)])
    free = np.full(n_rules, np.inf)
    bounded = LinearConstraint(np.vstack([total, above, below]), np.r_[k, low, -free], np.r_[k, free, high])
    largest = np.r_[np.ones(n), np.full(n_rules, 2.0 * k)]
    whole = np.r_[np.ones(n), np.zeros(n_rules)]
    options: Any = {"mip_rel_gap": 0}
    for r in range(n_rules):
        cost = np.zeros(n + n_rules)
        cost[n + r] = 1
        found: Any = milp(cost, constraints=bounded, integrality=whole, bounds=Bounds(0, largest), options=options)
        largest[n + r] = round(found.fun)
    cost = np.r_[-scores, np.zeros(n_rules)]
    found = milp(cost, constraints=bounded, integrality=whole, bounds=Bounds(0, largest), options=options)
    return largest[n:].astype(int).tolist(), float(scores[found.x[:n] > 0.5].sum())


def test_the_best_20_of_200_are_those_of_a_mixed_integer_programme() -> None:
    rng, n_violated = np.random.default_rng(5), 0
    for _ in range(N_PROGRAMMES):
        scores, member, low, high = random_problem(rng, 200, 20)
        chosen, violation, gap = best_set(scores, member, np.ones(20), low, high, BUDGET)
        expected, value = solved_by_milp(scores, member, 20, low, high)
        assert violation.tolist() == expected == list(violations(member, chosen, low, high))
        assert scores[chosen].sum() == pytest.approx(value, abs=1e-9)
        assert gap == 0
        n_violated += any(expected)
    assert 4 < n_violated < N_PROGRAMMES - 4


def test_rules_hold_in_many_random_lists() -> None:
    """Where a list that keeps the rules exists by construction, the rules hold, and a budget of 1 changes no count."""
    rng = np.random.default_rng(6)
    for _ in range(2000):
        n, k = int(rng.integers(10, 120)), int(rng.integers(2, 11))
        scores, member, low, high = random_problem(rng, n, 2 * k)
        k = min(n, 2 * k)
        example = rng.permutation(n)[:k]
        count = np.array([(member[example] >> r & 1).sum() for r in range(len(low))])
        low, high = np.maximum(0, count - rng.integers(0, 3, len(low))), count + rng.integers(0, 3, len(low))
        for budget in (BUDGET, 1):
            chosen, violation, gap = best_set(scores, member, weights_of(k, True), low, high, budget)
            assert not violation.any()
            assert not any(violations(member, chosen, low, high))
            assert len(set(chosen.tolist())) == k
            assert gap >= 0
            if budget == BUDGET:
                best = weights_of(k, True) @ scores[chosen]
        assert gap >= best - weights_of(k, True) @ scores[chosen] - 1e-9


def test_the_first_rules_take_precedence() -> None:
    """Three disjoint groups that each want two of four slots: the third gets none; in another order, another one."""
    sizes, cells = np.array([5, 5, 5]), np.array([1, 2, 4])
    low, high = np.array([2, 2, 2]), np.array([4, 4, 4])
    violation, counts, proven = least_violation(sizes, cells, 4, low, high)
    assert (violation.tolist(), counts.tolist(), proven) == ([0, 0, 2], [2, 2, 0], True)
    violation, counts, _ = least_violation(sizes, cells, 3, low, high)
    assert (violation.tolist(), counts.tolist()) == ([0, 1, 2], [2, 1, 0])
    violation, counts, _ = least_violation(np.array([1, 9]), np.array([1, 0]), 4, np.array([3]), np.array([4]))
    assert (violation.tolist(), counts.tolist()) == ([2], [1, 3])
