"""Rules on shares of the exposure: holds and is optimal against brute force, and gives way in order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.rules.bounds import slot_weights
from pasand.reranking.rules.exposure_rules import STEPS, best_exposure

Case = tuple[Values, Counts, Values, Counts, Counts, Values, Values, Counts]


def drawn(seed: int) -> Case:
    """Return a small problem of 1 to 3 rules, with ties, some of them on counts, prefixes or the first slots."""
    rng = np.random.default_rng(seed)
    n, n_rules = int(rng.integers(3, 8)), int(rng.integers(1, 4))
    k = int(rng.integers(1, min(n, 4) + 1))
    scores, weights = -np.sort(-np.round(rng.normal(size=n), 1 + seed % 3)), slot_weights(k)
    member = rng.integers(0, 2**n_rules, n)
    low, high = np.zeros((n_rules, k), np.int64), np.full((n_rules, k), k)
    least, most = np.full(n_rules, -np.inf), np.full(n_rules, np.inf)
    until = np.where(rng.random(n_rules) < 0.3, rng.integers(1, k + 1, n_rules), k)
    for r in range(n_rules):
        total = weights[: until[r]].sum()
        match int(rng.integers(4)):
            case 0:
                least[r] = 0.7 * rng.random() * total
            case 1:
                most[r] = (0.2 + 0.8 * rng.random()) * total
            case 2:
                low[r, -1] = rng.integers(0, k + 1)
            case _:
                high[r, rng.integers(0, k)] = rng.integers(0, k + 1)
    return scores, member, weights, low, high, least, most, until


def violation(case: Case, chosen: Counts) -> tuple[int, ...]:
    """Return the violation of each rule by a list: items, or hundredths of the exposure, rounded up."""
    _, member, weights, low, high, least, most, until = case
    found = []
    for r in range(len(low)):
        inside = member[chosen] >> r & 1
        count, exposure = np.cumsum(inside), (weights * inside)[: until[r]].sum()
        missed = max((low[r] - count).max(), (count - high[r]).max(), 0)
        share = max(least[r] - exposure, exposure - most[r], 0) / weights[: until[r]].sum()
        found.append(max(int(missed), int(np.ceil(share * STEPS - 1e-9))))
    return tuple(found)


@pytest.mark.parametrize("seed", range(120))
def test_the_optimum_and_the_least_violation_of_brute_force(seed: int) -> None:
    case = drawn(seed)
    scores, _, weights, *_ = case
    lists = [np.array(one) for one in permutations(range(len(scores)), len(weights))]
    violations = [violation(case, one) for one in lists]
    least = min(violations)
    best = max((weights * scores[one]).sum() for one, by in zip(lists, violations, strict=True) if by == least)
    chosen, by, gap = best_exposure(*case, 100_000)
    assert (tuple(by.tolist()), gap) == (least, 0.0)
    assert violation(case, chosen) == least
    assert len(set(chosen.tolist())) == len(weights)
    assert (weights * scores[chosen]).sum() == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("budget", [1, 100_000])
def test_shares_hold_in_long_lists_whatever_the_budget(budget: int) -> None:
    """200 candidates, 20 slots; the gap bounds the distance from what a larger budget finds."""
    rng = np.random.default_rng(1)
    weights = slot_weights(20)
    for _ in range(10):
        scores, member = -np.sort(-rng.normal(size=200)), rng.integers(0, 4, 200)
        low, high = np.zeros((2, 20), np.int64), np.full((2, 20), 20)
        least, most = np.array([0.6, -np.inf]) * weights.sum(), np.array([np.inf, 0.3]) * weights.sum()
        rules = low, high, least, most, np.array([20, 20])
        chosen, by, gap = best_exposure(scores, member, weights, *rules, budget)
        shares = [(weights * (member[chosen] >> r & 1)).sum() / weights.sum() for r in (0, 1)]
        assert shares[0] >= 0.6
        assert shares[1] <= 0.3
        assert not by.any()
        other, _, _ = best_exposure(scores, member, weights, *rules, 400_000)
        assert (weights * scores[other]).sum() <= (weights * scores[chosen]).sum() + gap + 1e-9
