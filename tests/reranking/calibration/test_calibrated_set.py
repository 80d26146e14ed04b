"""Calibrated sets against brute force: by hand, the guarantee of greedy choice, swaps, and sets within rules."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pasand.reranking.calibration.calibrated_set import Aim, Shares, calibrated_set, greedy_set, of_candidates, swapped
from pasand.reranking.rules.set_rules import best_set
from pasand.types import Array

NONE = np.empty(0, np.int64)
Case = tuple[Array, Array, Shares, Aim]


def shares_of(distributions: NDArray[np.float64]) -> Shares:
    rows, codes = np.nonzero(distributions)
    start = np.append(0, np.cumsum(np.bincount(rows, minlength=len(distributions))))
    return Shares(codes.astype(np.int32), distributions[rows, codes], start.astype(np.int64))


def value(case: Case, distributions: NDArray[np.float64], chosen: Array) -> float:
    """Return the objective, written out once more."""
    scores, _, _, aim = case
    shown = distributions[chosen].sum(axis=0) / aim.k
    p = aim.target
    mixed = 0.99 * shown + 0.01 * p
    return float(scores[chosen].sum() + aim.strength * (p[p > 0] * np.log(mixed[p > 0])).sum())


def drawn(seed: int) -> tuple[Case, NDArray[np.float64]]:
    """Return 7 candidates with 0 to 3 of 4 categories, k of at most 3, and their distributions."""
    rng = np.random.default_rng(seed)
    inside = rng.random((7, 4)) < 0.4
    distributions = inside / np.maximum(1, inside.sum(axis=1, keepdims=True))
    scores = np.sort(rng.random(7).round(int(rng.integers(1, 4))))[::-1].copy()
    target = rng.dirichlet(np.full(4, 0.5)) if rng.random() < 0.9 else np.zeros(4)
    target[rng.random(4) < 0.2] = 0
    aim = Aim(target, float(rng.choice([0.0, 0.1, 1.0, 10.0])), int(rng.integers(1, 4)))
    return (scores, np.arange(7, dtype=np.int32), shares_of(distributions), aim), distributions


def of(case: Case, *rules: Array) -> Array:
    scores, items, shares, aim = case
    member, low, high, begin = rules or (np.zeros(len(scores), np.int64), NONE, NONE, np.arange(aim.k))
    chosen: Array = calibrated_set(scores, items, *shares, aim.target, aim.strength, member, low, high, begin)
    return chosen


def greedy_of(case: Case) -> Array:
    scores, items, shares, aim = case
    chosen: Array = greedy_set(scores, of_candidates(items, shares, aim), aim)
    return chosen


def test_by_hand() -> None:
    """Two of three comedies lose to a war film where war is half of the history, and only if it matters enough.

    One of each is worth log .5 = -.69 per unit of strength; two comedies .5 log .995 + .5 log .005 = -2.65.
    """
    distributions = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    for strength, expected in ((0.0, [0, 1]), (0.1, [0, 1]), (0.5, [0, 3]), (9.0, [0, 3])):
        aim = Aim(np.array([0.5, 0.5]), strength, 2)
        case = (np.array([3.0, 2.9, 2.8, 2.6]), np.arange(4, dtype=np.int32), shares_of(distributions), aim)
        assert of(case).tolist() == expected


def test_swaps_mend_what_a_greedy_choice_regrets() -> None:
    """The mixed item is best first; with the target halves, the two pure items are a better pair than it and one."""
    distributions = np.array([[0.5, 0.5, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    target = np.array([0.5, 0.5, 0])
    case: Case = (
        np.array([0.01, 0, 0, 0]),
        np.arange(4, dtype=np.int32),
        shares_of(distributions),
        Aim(target, 1.0, 2),
    )
    greedy = greedy_of(case)
    assert greedy[0] == 0
    assert of(case).tolist() == [1, 2]
    assert value(case, distributions, np.array([1, 2])) > value(case, distributions, greedy)


@pytest.mark.parametrize("seed", range(300))
def test_greedy_keeps_its_guarantee_and_swaps_never_lose(seed: int) -> None:
    case, distributions = drawn(seed)
    k = case[3].k
    best = max(value(case, distributions, np.array(one)) for one in combinations(range(7), k))
    empty = value(case, distributions, NONE)
    greedy, chosen = greedy_of(case), of(case)
    assert len(set(chosen.tolist())) == len(set(greedy.tolist())) == k
    of_greedy, of_swaps = value(case, distributions, greedy), value(case, distributions, chosen)
    assert of_greedy - empty >= (1 - 1 / np.e) * (best - empty) - 1e-9
    assert of_greedy - 1e-9 <= of_swaps <= best + 1e-9
    for out in range(k):  # no swap improves the result
        for into in set(range(7)) - set(chosen.tolist()):
            other = np.append(np.delete(chosen, out), into)
            assert value(case, distributions, other) <= of_swaps + 1e-6


def test_most_sets_are_optimal() -> None:
    optimal = 0
    for seed in range(300):
        case, distributions = drawn(seed)
        sets = combinations(range(7), case[3].k)
        best = max(value(case, distributions, np.array(one)) for one in sets)
        optimal += value(case, distributions, of(case)) >= best - 1e-9
    assert optimal >= 290


@given(st.integers(0, 10**6))
@settings(max_examples=200)
def test_rules_hold_as_well_as_without_calibration(seed: int) -> None:
    """Violations are those of the optimum of the rules, and the value is at least that of its set."""
    case, distributions = drawn(seed)
    rng, k = np.random.default_rng(seed), case[3].k
    n_rules = int(rng.integers(1, 4))
    member = rng.integers(0, 2**n_rules, 7)
    low = rng.integers(0, k + 1, n_rules)
    high = np.minimum(k, low + rng.integers(0, 2, n_rules))
    begin, violation, _ = best_set(case[0], member, np.ones(k), low, high, 10**6)
    chosen = of(case, member, low, high, begin)
    count = np.array([int((member[chosen] >> r & 1).sum()) for r in range(n_rules)])
    assert (np.maximum(0, np.maximum(low - count, count - high)) <= violation).all()
    assert len(set(chosen.tolist())) == k
    assert value(case, distributions, chosen) >= value(case, distributions, begin) - 1e-9
    sets = [np.array(one) for one in combinations(range(7), k)]
    counts = [np.array([(member[one] >> r & 1).sum() for r in range(n_rules)]) for one in sets]
    kept = [(c >= low - violation).all() and (c <= high + violation).all() for c in counts]
    best = max(value(case, distributions, one) for one, keeps in zip(sets, kept, strict=True) if keeps)
    assert value(case, distributions, chosen) <= best + 1e-9


def test_many_categories_share_bits() -> None:
    """Categories 0 and 64 share a bit of the mask, which must not change the result."""
    distributions = np.zeros((4, 65))
    distributions[[0, 1, 2, 3], [0, 0, 64, 64]] = 1
    target = np.zeros(65)
    target[[0, 64]] = 0.5
    case: Case = (np.zeros(4), np.arange(4, dtype=np.int32), shares_of(distributions), Aim(target, 1.0, 2))
    scores, items, shares, aim = case
    local = of_candidates(items, shares, aim)
    one = swapped(scores, local, aim, np.zeros(4, np.int64), NONE, NONE, np.array([0, 1]))
    assert {int(i) // 2 for i in one} == {0, 1}
