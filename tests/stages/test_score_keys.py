"""Keys of scores and rows: sorted, they are the order by falling score, and unpacked, the same numbers."""

from __future__ import annotations

import numpy as np

from pasand.stages.score_keys import keys_of_allowed, keys_of_lists, unpacked

INF = np.inf
SCORES = np.array([[0.0, -0.0, 1e-45, -1e-45, 3.5, -3.5, 3.5, INF, -INF, 1e38, -1e38]], np.float32)


def test_keys_order_by_score_and_row_and_keep_both() -> None:
    n = SCORES.shape[1]
    keys = keys_of_allowed(SCORES.view(np.int32), np.empty((1, 0), np.int32), np.ones((1, n), np.bool_))
    keys.sort(axis=1)
    items, scores = unpacked(keys, n)
    order = np.argsort(-SCORES[0], kind="stable")
    assert items[0].tolist() == [*order[:-1].tolist(), -1]
    np.testing.assert_array_equal(scores[0], SCORES[0, order])
    assert scores.dtype == np.float32


def test_excluded_and_forbidden_items_come_last() -> None:
    allowed = np.array([[True, True, False, True]])
    scores = np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)
    keys = keys_of_allowed(scores.view(np.int32), np.array([[3, -1], [-1, 0]], np.int32), allowed)
    keys.sort(axis=1)
    assert unpacked(keys, 3)[0].tolist() == [[1, 0, -1], [1, 3, -1]]


def test_lists_with_padding() -> None:
    items = np.array([[7, -1, 4, 2**31 - 2]], np.int32)
    keys = keys_of_lists(np.array([[0.5, 9, 0.5, 2]], np.float32).view(np.int32), items)
    keys.sort(axis=1)
    assert unpacked(keys, 4)[0].tolist() == [[2**31 - 2, 4, 7, -1]]
