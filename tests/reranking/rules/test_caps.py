"""Maxima of each value of a feature: optimal with other rules against brute force, and few values among thousands."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pasand.data.bags import Bags
from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.rules.caps import MAX_VALUES, Caps, best_capped, over
from pasand.reranking.rules.set_rules import best_set


def solve(weights: Values, scores: Values, member: Counts, low: Counts, high: Counts, _: list[int]) -> tuple[
    Counts, Counts, float
]:  # fmt: skip
    found: tuple[Counts, Counts, float]
    found = best_set(scores, member, weights, low[:, -1].copy(), high[:, -1].copy(), 100_000)
    return found


def capped(
    scores: Values, member: Counts, k: int, low: list[int], high: list[int], values: dict[int, Bags]
) -> tuple[Counts, float]:
    weights = 1 / np.log2(np.arange(k) + 2.0)
    rows = [np.repeat(np.array(one, np.int64)[:, None], k, axis=1) for one in (low, high)]
    rows[0][:, :-1], rows[1][:, :-1] = 0, k
    caps = Caps(member, rows[0], rows[1], values)
    return best_capped(lambda *case: solve(weights, *case), scores, caps, weights)


def excess(values: Bags, chosen: tuple[int, ...], most: int) -> int:
    """Return by how much the most frequent value of the chosen rows exceeds a maximum."""
    codes = np.concatenate([values[i] for i in chosen])
    return max(0, int(np.bincount(codes).max(initial=0)) - most)


@pytest.mark.parametrize("seed", range(150))
def test_the_optimum_and_the_least_violation_of_brute_force(seed: int) -> None:
    """Two rules on groups, and between them in their order one maximum of each value of a feature of one or more."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 10))
    k, most = int(rng.integers(1, min(n, 6) + 1)), int(rng.integers(1, 3))
    scores, member = -np.sort(-np.round(rng.normal(size=n), 1)), rng.integers(0, 4, n)
    member = (member & 1) | 2 | (member >> 1) << 2
    codes = rng.integers(-1, int(rng.integers(2, 6)), (n, 1 + seed % 2))
    values = Bags.of(np.where(codes == codes[:, :1], np.concatenate([codes[:, :1], codes[:, 1:] * 0 - 1], 1), codes))
    low, high = [int(rng.integers(0, k + 1)), 0, 0], [k, most, int(rng.integers(0, k + 1))]
    weights = 1 / np.log2(np.arange(k) + 2.0)

    def violation(chosen: tuple[int, ...]) -> tuple[int, int, int]:
        count = [(member[list(chosen)] >> r & 1).sum() for r in (0, 2)]
        return max(0, low[0] - int(count[0])), excess(values, chosen, most), max(0, int(count[1]) - high[2])

    sets = list(combinations(range(n), k))
    least = min(map(violation, sets))
    best = max((weights * scores[list(one)]).sum() for one in sets if violation(one) == least)
    chosen, gap = capped(scores, member, k, low, high, {1: values})
    assert gap == 0
    assert violation(tuple(chosen.tolist())) == least
    assert (weights * scores[chosen]).sum() == pytest.approx(best, abs=1e-9)


def test_one_of_each_of_many_values() -> None:
    """More values have too many items than may become rules; the maximum and the rule hold all the same."""
    rng = np.random.default_rng(0)
    n, k = 400, 60
    scores, values = -np.sort(-rng.normal(size=n)), Bags.of((np.arange(n) % 70)[:, None])
    member = (np.arange(n) >= 300).astype(np.int64) | 2
    chosen, gap = capped(scores, member, k, [4, 0], [k, 1], {1: values})
    assert k > 2 * MAX_VALUES
    assert len(set((chosen % 70).tolist())) == k
    assert (chosen >= 300).sum() >= 4
    assert np.isfinite(gap)


def test_lists_without_enough_values_exceed_the_maximum_evenly() -> None:
    """Of 2 values for 5 slots one has 3 items and the other 2."""
    chosen, _ = capped(
        np.arange(9, 0, -1.0), np.ones(9, np.int64), 5, [0], [1], {0: Bags.of(np.repeat([[0], [1]], [7, 2], 0))}
    )
    assert sorted(chosen.tolist()) == [0, 1, 2, 7, 8]


def test_values_over_a_limit_on_prefixes() -> None:
    values, slots = Bags.of(np.array([[5, 7], [5, -1], [7, -1], [5, -1], [-1, -1]])), np.array([4, 0, 1, 2, 3])
    for limit, found in (([9, 9, 9, 9, 2], [5]), ([9, 9, 9, 1, 9], [5, 7]), ([9, 9, 1, 9, 9], [5]), ([9] * 5, [])):
        assert over(values.codes, values.start, slots, np.array(limit)).tolist() == found
