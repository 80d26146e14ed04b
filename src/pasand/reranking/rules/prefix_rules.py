"""Rules on prefixes: the best order of k candidates such that rules hold on the first j slots, for every bounded j.

Items that are members of the same groups form a cell and are used best first, so a state is the number of items used
of each cell. A depth-first search in the order of scores finds a first solution, or proves that there is none; then a
dynamic programme over the slots keeps the states that can still beat the best one, at most a number of them per slot.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.heap import sink
from pasand.reranking.counted_search import Counts, Values, _longer
from pasand.reranking.rules.set_rules import _cells, _value
from pasand.types import Mask

MAX_NODES = 200_000
"""States that a search for a first solution visits at most."""


@njit(cache=True, nogil=True)
def best_order(
    scores: Values, member: Counts, weights: Values, low: Counts, high: Counts, budget: int
) -> tuple[Counts, Counts, float]:
    """Return the positions of the chosen items by slot, (k,), the violation of each rule, (R,), and the gap.

    As `set_rules.best_set`, but `low` and `high`, (R, k), bound the members of a group among the first 1, 2, ..., k
    slots. The violation of a rule is the largest over the prefixes. `budget` limits the states of the last step.
    """
    k, n_rules = len(weights), len(low)
    violation = np.zeros(n_rules, np.int64)
    top = np.arange(k)
    if _keeps(member, low, high, top):
        return top, violation, 0.0
    cell_of, cells, sizes, ranked = _cells(member)
    need, room = _ahead(low, high)
    chosen, complete = _first(scores, cells, sizes, ranked, need, room)
    proven = complete or len(chosen) > 0
    if not len(chosen):
        free_low, free_high = np.zeros_like(low), np.full_like(high, k)
        for r in range(n_rules):
            for more in range(k + 1):
                for j in range(k):
                    free_low[r, j], free_high[r, j] = max(0, low[r, j] - more), min(k, high[r, j] + more)
                need, room = _ahead(free_low, free_high)
                found, complete = _first(scores, cells, sizes, ranked, need, room)
                if len(found):
                    violation[r], chosen = more, found
                    break
                proven = proven and complete
        need, room = _ahead(free_low, free_high)
    chosen, gap = _improved(scores, weights, cell_of, cells, sizes, ranked, need, room, chosen, budget)
    return chosen, violation, gap if proven else np.inf


@njit(cache=True, nogil=True)
def _keeps(member: Counts, low: Counts, high: Counts, chosen: Counts) -> bool:
    for r in range(len(low)):
        count = 0
        for j in range(len(chosen)):
            count += member[chosen[j]] >> r & 1
            if count < low[r, j] or count > high[r, j]:
                return False
    return True


@njit(cache=True, nogil=True)
def _ahead(low: Counts, high: Counts) -> tuple[Counts, Counts]:
    """Return the bounds on counts that each rule, for itself, can keep in the slots that follow; (R, k) each."""
    need, room = low.copy(), high.copy()
    for r in range(len(low)):
        for j in range(low.shape[1] - 2, -1, -1):
            need[r, j] = max(need[r, j], need[r, j + 1] - 1)
            room[r, j] = min(room[r, j], room[r, j + 1])
    return need, room


@njit(cache=True, nogil=True)
def _fits(counts: Counts, cells: Counts, need: Counts, room: Counts, j: int) -> bool:
    """Return whether the counts per cell keep the bounds of the prefix that ends with slot j."""
    for r in range(len(need)):
        count = 0
        for c in range(len(cells)):
            if cells[c] >> r & 1:
                count += counts[c]
        if count < need[r, j] or count > room[r, j]:
            return False
    return True


@njit(cache=True, nogil=True)
def _first(
    scores: Values, cells: Counts, sizes: Counts, ranked: Counts, need: Counts, room: Counts
) -> tuple[Counts, bool]:
    """Return a solution that takes the best item whenever the rest can follow, or nothing; and if the search ended."""
    n_cells, k = len(cells), need.shape[1]
    chosen, counts = np.empty(k, np.int64), np.zeros(n_cells, np.int64)
    order, tried = np.zeros((k, n_cells), np.int64), np.zeros(k, np.int64)
    failed, n_failed = np.full((256, n_cells), np.int64(-1)), 0
    cell_at = np.full(k, np.int64(-1))
    j, entering, nodes = 0, True, 0
    next_score = np.empty(n_cells)
    while True:
        if entering:
            nodes += 1
            if nodes > MAX_NODES:
                return np.empty(0, np.int64), False
            for c in range(n_cells):
                next_score[c] = scores[ranked[c, counts[c]]] if counts[c] < sizes[c] else -np.inf
            for c in range(n_cells):
                at = c
                while at and next_score[order[j, at - 1]] < next_score[c]:
                    order[j, at] = order[j, at - 1]
                    at -= 1
                order[j, at] = c
            tried[j], entering = 0, False
        if tried[j] == n_cells:
            if 2 * n_failed >= len(failed):
                older, failed = failed, np.full((4 * len(failed), n_cells), np.int64(-1))
                for row in range(len(older)):
                    if older[row, 0] >= 0:
                        _copy(older[row], failed[_bucket(failed, older[row])])
            bucket = _bucket(failed, counts)
            if bucket >= 0:
                _copy(counts, failed[bucket])
                n_failed += 1
            if j == 0:
                return np.empty(0, np.int64), True
            j -= 1
            counts[cell_at[j]] -= 1
            continue
        c = order[j, tried[j]]
        tried[j] += 1
        if counts[c] == sizes[c]:
            continue
        counts[c] += 1
        if not _fits(counts, cells, need, room, j) or (j + 1 < k and _bucket(failed, counts) < 0):
            counts[c] -= 1
            continue
        cell_at[j], chosen[j] = c, ranked[c, counts[c] - 1]
        j += 1
        if j == k:
            return chosen, True
        entering = True


@njit(cache=True, nogil=True)
def _bucket(table: Counts, state: Counts) -> int:
    """Return the free position of a state in a hash table of rows, whose length is a power of 2; -1 if it is there."""
    mask = len(table) - 1
    bucket: int = _hash(state) & mask
    while table[bucket, 0] >= 0:
        same = True
        for c in range(len(state)):
            if table[bucket, c] != state[c]:
                same = False
                break
        if same:
            return -1
        bucket = (bucket + 1) & mask
    return bucket


@njit(cache=True, nogil=True, inline="always")
def _copy(source: Counts, target: Counts) -> None:
    for c in range(len(source)):  # an assignment of slices takes seconds to compile
        target[c] = source[c]


@njit(cache=True, nogil=True)
def _hash(state: Counts) -> int:
    key = np.int64(0)
    for c in range(len(state)):
        key = (key + state[c] + 1) * np.int64(-7046029254386353131)
    return int(key >> 20)


@njit(cache=True, nogil=True)
def _improved(
    scores: Values,
    weights: Values,
    cell_of: Counts,
    cells: Counts,
    sizes: Counts,
    ranked: Counts,
    need: Counts,
    room: Counts,
    chosen: Counts,
    budget: int,
) -> tuple[Counts, float]:
    """Return the optimum and 0, or a solution and its distance from a bound where states were dropped.

    A slot keeps at most `budget` / (k C) states, those of the highest bounds; the highest one that is dropped counts.
    """
    n, k, n_cells = len(scores), len(weights), len(cells)
    rank = np.empty(n, np.int64)
    for c in range(n_cells):
        for q in range(sizes[c]):
            rank[ranked[c, q]] = q
    value = _value(scores, weights, chosen)
    slack = 1e-12 * (abs(value) + abs(scores[0]) + abs(scores[n - 1]))
    capacity = 64
    counts, gain = np.zeros((capacity, n_cells), np.int64), np.zeros(capacity)
    node, size = np.full(capacity, np.int64(-1)), 1
    parent, cell, n_nodes = np.empty(1024, np.int64), np.empty(1024, np.int64), 0
    best_node, dropped = -1, -np.inf
    width = max(32, budget // (k * n_cells))
    state = np.zeros(n_cells, np.int64)
    for j in range(k):
        capacity = size * n_cells
        counts2, node2 = np.empty((capacity, n_cells), np.int64), np.empty(capacity, np.int64)
        gain2, upper2 = np.empty(capacity), np.empty(capacity)
        bits = 6
        while 1 << bits < 2 * capacity:
            bits += 1
        where, size2 = np.full(1 << bits, np.int64(-1)), 0
        for label in range(size):
            for c in range(n_cells):
                _copy(counts[label], state)
                if state[c] == sizes[c]:
                    continue
                new_gain = gain[label] + weights[j] * scores[ranked[c, state[c]]]
                state[c] += 1
                if not _fits(state, cells, need, room, j):
                    continue
                upper = _bound(scores, weights, cell_of, rank, state, new_gain, j + 1)
                if upper <= value + slack:
                    continue
                if n_nodes == len(parent):
                    parent, cell = _longer(parent), _longer(cell)
                if j == k - 1:
                    value, best_node = new_gain, n_nodes
                    parent[n_nodes], cell[n_nodes] = node[label], c
                    n_nodes += 1
                    continue
                bucket = _hash(state) & (len(where) - 1)
                while where[bucket] >= 0 and not _same(counts2[where[bucket]], state):
                    bucket = (bucket + 1) & (len(where) - 1)
                target = int(where[bucket])
                if target < 0:
                    where[bucket], target = size2, size2
                    _copy(state, counts2[target])
                    size2 += 1
                elif gain2[target] >= new_gain:
                    continue
                gain2[target], upper2[target], node2[target] = new_gain, upper, n_nodes
                parent[n_nodes], cell[n_nodes] = node[label], c
                n_nodes += 1
        if size2 > width:
            kept, highest = _highest(upper2, size2, width)
            dropped, size2 = max(dropped, highest), 0
            for label in range(len(kept)):
                if kept[label]:
                    _copy(counts2[label], counts2[size2])
                    gain2[size2], node2[size2] = gain2[label], node2[label]
                    size2 += 1
        counts, gain, node, size = counts2, gain2, node2, size2
        if not size:
            break
    if best_node >= 0:
        cell_in = np.empty(k, np.int64)
        for j in range(k - 1, -1, -1):
            cell_in[j] = cell[best_node]
            best_node = parent[best_node]
        used = np.zeros(n_cells, np.int64)
        chosen = np.empty(k, np.int64)
        for j in range(k):
            chosen[j] = ranked[cell_in[j], used[cell_in[j]]]
            used[cell_in[j]] += 1
    return chosen, max(0.0, dropped - value)


@njit(cache=True, nogil=True)
def _highest(values: Values, size: int, n: int) -> tuple[Mask, float]:
    """Return which of the first `size` values are the n highest, (size,), n < size, and the highest of the others."""
    heap, rows = np.full(n, -np.inf), np.full(n, np.int64(-1))
    kept, highest = np.zeros(size, np.bool_), -np.inf
    for i in range(size):
        if values[i] > heap[0]:
            highest = max(highest, heap[0])
            sink(heap, rows, n, values[i], i)
        else:
            highest = max(highest, values[i])
    for row in rows:
        kept[row] = True
    return kept, highest


@njit(cache=True, nogil=True)
def _bound(
    scores: Values, weights: Values, cell_of: Counts, rank: Counts, state: Counts, gain: float, slot: int
) -> float:
    """Return the gain plus the value of the best items that a state has not used, in the slots that are left."""
    i = 0
    while slot < len(weights) and i < len(scores):
        if rank[i] >= state[cell_of[i]]:
            gain += weights[slot] * scores[i]
            slot += 1
        i += 1
    return gain


@njit(cache=True, nogil=True)
def _same(one: Counts, other: Counts) -> bool:
    same = True
    for c in range(len(one)):
        same = same and one[c] == other[c]
    return same
