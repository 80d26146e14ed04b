"""Pairs of users and items, correlation, and the heap of the k best."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand.models.classical.neighbours import correlation, group_means, latest, push, sort_heap
from tests.models.test_contract import dataset


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(1, 8))
def test_the_heap_keeps_the_best_and_lower_rows_of_ties(candidates: list[int], capacity: int) -> None:
    order = np.random.default_rng(len(candidates)).permutation(len(candidates))
    weights, rows, size = np.zeros(capacity, np.float32), np.zeros(capacity, np.int32), 0
    for row in order:
        size = push(weights, rows, size, np.float32(candidates[row]), int(row))
    sort_heap(weights, rows, size)
    expected = sorted((-weight, row) for row, weight in enumerate(candidates))[:capacity]
    assert [(-w, r) for w, r in zip(weights[:size].tolist(), rows[:size].tolist(), strict=True)] == expected


def test_the_latest_event_of_a_pair_counts() -> None:
    pairs = latest(dataset([0, 1, 0, 0], [2, 0, 1, 2], np.array([1, 2, 3, 4], np.float32)))
    assert pairs.start.tolist() == [0, 2, 3]
    assert pairs.row.tolist() == [1, 2, 0]
    assert pairs.value.tolist() == [3, 4, 2]
    transposed = pairs.transposed(3)
    assert (transposed.start.tolist(), transposed.row.tolist(), transposed.value.tolist()) == (
        [0, 1, 2, 3],
        [1, 0, 0],
        [2, 3, 4],
    )
    assert group_means(pairs, 0).tolist() == [3.5, 2]


def test_correlation_is_pearsons() -> None:
    x, y = np.array([1.0, 2, 4, 5]), np.array([2.0, 1, 5, 4])
    sums = np.array([4, x.sum(), y.sum(), x @ y, x @ x, y @ y])
    assert np.isclose(correlation(sums, True, 6.0), np.corrcoef(x, y)[0, 1] * 0.4)
    assert np.isclose(correlation(sums, False, 0.0), x @ y / np.sqrt(x @ x * (y @ y)))
