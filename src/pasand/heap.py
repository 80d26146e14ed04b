"""A heap of the best (score, row) pairs, with the worst pair at the root: lower score, then higher row."""

from __future__ import annotations

from numba import njit

from pasand.types import Rows, Scores


@njit(cache=True, nogil=True)
def sink(scores: Scores, rows: Rows, size: int, score: float, row: int) -> None:
    """Replace the root of the heap in the first `size` elements by (score, row) and restore the heap order."""
    node = 0
    while True:
        child = 2 * node + 1
        if child >= size:
            break
        sibling = child + 1
        if sibling < size and (
            scores[sibling] < scores[child] or (scores[sibling] == scores[child] and rows[sibling] > rows[child])
        ):
            child = sibling
        if scores[child] > score or (scores[child] == score and rows[child] < row):
            break
        scores[node], rows[node] = scores[child], rows[child]
        node = child
    scores[node], rows[node] = score, row
