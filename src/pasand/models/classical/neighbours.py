"""Shared parts of neighbour models: interactions by user or item, distinct histories, a k-best heap, correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.heap import sink
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, within


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Distinct pairs of user and item, grouped by one side: group g has the pairs start[g]:start[g + 1]."""

    start: Offsets
    """(groups + 1,)"""
    row: Rows
    """(pairs,) row of the other side, rising within a group."""
    value: Scores
    """(pairs,) latest rating or strength, nan where none was given."""

    def transposed(self, n: int) -> Pairs:
        """Return the same pairs grouped by the other side, which has n rows."""
        group = np.repeat(np.arange(len(self.start) - 1, dtype=np.int32), np.diff(self.start))
        order = np.argsort(self.row, kind="stable")
        return Pairs(start=offsets(self.row, n), row=group[order], value=self.value[order])


def latest(data: Dataset) -> Pairs:
    """Return every pair of user and item with the value of its latest event, grouped by user."""
    key = data.user.astype(np.int64) * data.n_items + data.item
    order = np.argsort(key, kind="stable")
    last = np.ones(len(key), np.bool_)
    last[:-1] = key[order][1:] != key[order][:-1]
    order = order[last]
    value = np.full(len(order), np.nan, np.float32) if data.value is None else data.value[order]
    return Pairs(start=offsets(data.user[order], data.n_users), row=data.item[order], value=value)


def offsets(group: Rows, n: int) -> Offsets:
    """Return where each of n groups starts once the rows are grouped; (n + 1,).

    >>> offsets(np.array([0, 0, 2], np.int32), 3)
    array([0, 2, 2, 3])
    """
    start = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(group, minlength=n), out=start[1:])
    return start


def group_means(pairs: Pairs, default: float) -> Scores:
    """Return the mean value of each group, `default` for a group without values; (groups,)."""
    group = np.repeat(np.arange(len(pairs.start) - 1), np.diff(pairs.start))
    given = ~np.isnan(pairs.value)
    n = np.bincount(group[given], minlength=len(pairs.start) - 1)
    total = np.bincount(group[given], weights=pairs.value[given].astype(np.float64), minlength=len(n))
    mean: Scores = np.where(n > 0, total / np.maximum(n, 1), default).astype(np.float32)
    return mean


def overall_mean(pairs: Pairs) -> float:
    """Return the mean of all values, 0 if there is none."""
    given = pairs.value[~np.isnan(pairs.value)]
    return float(given.mean(dtype=np.float64)) if len(given) else 0.0


def rating_scale(data: Dataset) -> Scores:
    """Return the lowest and the highest value of the events, (2,); unbounded for data without values."""
    given = np.empty(0, np.float32) if data.value is None else data.value[np.isfinite(data.value)]
    return np.array([given.min(), given.max()] if len(given) else [-np.inf, np.inf], np.float32)


def within_scale(predicted: Scores, learnt: Arrays) -> Scores:
    """Return predicted ratings clipped to "scale" of what was learnt; as they are where it is not there."""
    low, high = learnt.get("scale", np.array([-np.inf, np.inf], np.float32))
    clipped: Scores = np.clip(predicted, low, high)
    return clipped


def distinct_liked(queries: Queries, positive_from: float, n_items: int) -> Rows:
    """Return the liked items of each history, each item once, -1 elsewhere; (B, H)."""
    return distinct(queries.liked(positive_from), n_items)


def distinct(history: Rows, n_items: int) -> Rows:
    """Return the history with only the last event of each item kept, -1 elsewhere; (B, H).

    >>> distinct(np.array([[-1, 2, 0, 2]], np.int32), 3)
    array([[-1, -1,  0,  2]], dtype=int32)
    """
    out: Rows = _distinct(np.ascontiguousarray(history), n_items)
    return out


@njit(cache=True, nogil=True)
def _distinct(history: Rows, n_items: int) -> Rows:
    out = np.full(history.shape, -1, np.int32)
    seen = np.full(n_items, -1, np.int64)
    for b in range(history.shape[0]):
        for t in range(history.shape[1] - 1, -1, -1):
            row = history[b, t]
            if 0 <= row < n_items and seen[row] != b:
                seen[row] = b
                out[b, t] = row
    return out


@njit(cache=True, nogil=True)
def push(weights: Scores, rows: Rows, size: int, weight: float, row: int) -> int:
    """Push (weight, row) onto a heap of the k best; return the new size of the heap.

    `weights` and `rows`, (k,), are a heap with the worst entry first. Of equal weights the lower row is the better one.
    """
    if size < len(weights):
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if not (weight < weights[parent] or (weight == weights[parent] and row > rows[parent])):
                break
            weights[at], rows[at] = weights[parent], rows[parent]
            at = parent
        weights[at], rows[at] = weight, row
        return size + 1
    if size and (weight > weights[0] or (weight == weights[0] and row < rows[0])):
        sink(weights, rows, size, weight, row)
    return size


@njit(cache=True, nogil=True)
def sort_heap(weights: Scores, rows: Rows, size: int) -> None:
    """Sort the heap in place, best entry first."""
    for end in range(size - 1, 0, -1):
        weight, row = weights[end], rows[end]
        weights[end], rows[end] = weights[0], rows[0]
        sink(weights, rows, end, weight, np.int64(row))


@njit(cache=True, nogil=True)
def correlation(sums: NDArray[np.float64], centre: bool, shrinkage: float) -> float:
    """Return the correlation times n / (n + shrinkage), 0 without variance; sums are n, x, y, xy, xx and yy, (6,).

    With `centre` it is Pearson's over the common raters; without, the cosine of values that are centred already.
    """
    n = sums[0]
    both, first, second = sums[3], sums[4], sums[5]
    if centre:
        both -= sums[1] * sums[2] / n
        first -= sums[1] * sums[1] / n
        second -= sums[2] * sums[2] / n
    if first <= 1e-9 or second <= 1e-9:
        return 0.0
    weight: float = both / np.sqrt(first * second) * n / (n + shrinkage)
    return weight


def kernel_items(items: Rows | None, n_items: int) -> Array:
    """Return the items as kernels take them: an empty table for None, and -1 for rows from n_items on."""
    return np.empty((0, 0), np.int32) if items is None else np.ascontiguousarray(within(items, n_items), np.int32)
