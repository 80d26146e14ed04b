"""A heap of the best found so far, the worst of them at the root: worse is a lower score, then a higher row."""

from __future__ import annotations

from numba import njit

from pasand.types import Rows, Scores


@njit(cache=True, nogil=True)
def sink(scores: Scores, rows: Rows, size: int, score: float, row: int) -> None:
    """Put (score, row) in place of the root of the heap that the first `size` places hold, and order it again."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            scores[other] < scores[child] or (scores[other] == scores[child] and rows[other] > rows[child])
        ):
            child = other
        if scores[child] > score or (scores[child] == score and rows[child] < row):
            break
        scores[place], rows[place] = scores[child], rows[child]
        place = child
    scores[place], rows[place] = score, row
