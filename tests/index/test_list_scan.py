"""Selection of the best keys in the scan of inverted lists, against sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand.index.list_scan import HALVES, _key, _score_of, _select_top, scan


@given(st.lists(st.integers(-50, 50), max_size=60, unique=True), st.integers(1, 20))
def test_the_largest_keys_come_first_and_the_least_of_them_last(keys: list[int], k: int) -> None:
    array = np.array(keys, np.int64)
    kept = _select_top(array, len(keys), k)
    expected = sorted(keys, reverse=True)[:k]
    assert kept == len(expected)
    assert sorted(array[:kept].tolist(), reverse=True) == expected
    assert len(keys) < k or array[k - 1] == expected[-1]


def test_a_key_holds_its_score_and_rises_with_it_and_falls_with_the_row() -> None:
    scores = np.array([-np.inf, -3.5, -1e-30, 0, 1e-30, 2, 7.25], np.float32)
    keys = [_key(score, 5) for score in scores]
    assert keys == sorted(set(keys))
    assert [_score_of(key) for key in keys] == scores.tolist()
    assert _key(np.float32(-0.0), 5) == _key(np.float32(0), 5) < _key(np.float32(0), 4)


def test_lists_that_hold_just_k_items_hide_no_better_ones() -> None:
    """The first list has k items, the best of them last; the second has better ones than all but that."""
    codes = [np.array(values, np.float16)[:, None] for values in ([1, 2, 9], [5, 4, 3])]
    rows = [np.array(values, np.int64) for values in ([0, 1, 2], [3, 4, 5])]
    lists = np.array([(c.ctypes.data, r.ctypes.data, len(r)) for c, r in zip(codes, rows, strict=True)], np.int64)
    query = np.array([[2.0**112]], np.float32)
    everything, nothing = np.ones((1, 0), np.bool_), np.empty((1, 0), np.int32)
    bounds = np.array([[10, 8]], np.float32)
    items, scores = scan(query, bounds, lists, HALVES, everything, False, nothing, 3)
    assert items.tolist() == [[2, 3, 4]]
    assert scores.tolist() == [[9, 5, 4]]
