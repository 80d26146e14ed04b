"""Rules on prefixes against brute force over all orders."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pasand.reranking.rules.bounds import bounds_by_prefix
from pasand.reranking.rules.prefix_rules import best_order

Array = NDArray[Any]
BUDGET = 10**6


def violations(member: Array, chosen: Array, low: Array, high: Array) -> tuple[int, ...]:
    """Return the largest violation of each rule over the prefixes."""
    count = np.cumsum([member[chosen] >> r & 1 for r in range(len(low))], axis=1)
    return tuple(np.maximum(0, np.maximum(low - count, count - high)).max(axis=1).tolist())


@st.composite
def problems(draw: st.DrawFn) -> tuple[Array, Array, Array, Array, Array]:
    """Up to 6 items in up to 5 slots, up to 3 rules with any bounds on any prefix."""
    n, n_rules = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    k = draw(st.integers(1, min(n, 5)))
    scores = sorted(draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n)), reverse=True)
    member = draw(st.lists(st.integers(0, 2**n_rules - 1), min_size=n, max_size=n))
    shape = st.lists(st.lists(st.integers(0, k), min_size=k, max_size=k), min_size=n_rules, max_size=n_rules)
    slots = np.arange(1, k + 1)
    low, high = np.minimum(np.array(draw(shape)) - k // 2, slots).clip(0), np.array(draw(shape)) + k // 2
    weights = 1 / np.log2(np.arange(k) + 2.0) if draw(st.booleans()) else np.ones(k)
    return np.array(scores) / 4.0, np.array(member), weights, low, np.minimum(np.maximum(high, low), k)


@given(problems())
@settings(max_examples=200)
def test_the_best_order_is_that_of_brute_force(problem: tuple[Array, Array, Array, Array, Array]) -> None:
    scores, member, weights, low, high = problem
    chosen, violation, gap = best_order(scores, member, weights, low, high, BUDGET)
    expected, negative = min(
        (violations(member, np.array(one), low, high), -float(weights @ scores[list(one)]))
        for one in permutations(range(len(scores)), len(weights))
    )
    assert len(set(chosen.tolist())) == len(weights)
    assert violations(member, chosen, low, high) == expected == tuple(violation.tolist())
    assert weights @ scores[chosen] == pytest.approx(-negative, abs=1e-9)
    assert gap == 0


def test_rules_hold_with_a_small_budget_and_the_gap_covers_the_loss() -> None:
    rng = np.random.default_rng(1)
    weights = 1 / np.log2(np.arange(20) + 2.0)
    for _ in range(50):
        share = rng.uniform(0.2, 0.5, 3)
        scores = np.sort(rng.normal(size=150))[::-1].copy()
        member = (rng.random((150, 3)) < share).astype(np.int64) @ np.array([1, 2, 4])
        bounds = [bounds_by_prefix((20, int(18 * one), int(22 * one) + 1), True) for one in share]
        low, high = np.array([one for one, _ in bounds]), np.array([one for _, one in bounds])
        best, violation, _ = best_order(scores, member, weights, low, high, 10**6)
        quick, also, gap = best_order(scores, member, weights, low, high, 200)
        assert not violation.any()
        assert not also.any()
        assert not any(violations(member, quick, low, high))
        assert 0 <= weights @ scores[best] - weights @ scores[quick] <= gap + 1e-9
