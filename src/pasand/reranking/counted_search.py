"""The last step of `set_rules`: a dynamic programme with a counter per rule, over states that can beat a solution."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


@njit(cache=True, nogil=True)
def relaxed_values(scores: Values, weights: Values, bonus: Values, cell_of: Counts, table: Values) -> None:
    """Fill (n + 1, k + 1) with the best value of items i.. for slots j.., where an item adds the bonus of its cell."""
    n, k = len(scores), len(weights)
    for j in range(k):
        table[n, j] = -np.inf
    table[n, k] = 0.0
    for i in range(n - 1, -1, -1):
        score, more = scores[i], bonus[cell_of[i]]
        row, below = table[i], table[i + 1]
        for j in range(k):
            take = below[j + 1] + score * weights[j] + more
            skip = below[j]
            row[j] = take if take > skip else skip
        row[k] = 0.0


@njit(cache=True, nogil=True)
def searched(
    scores: Values,
    member: Counts,
    weights: Values,
    low: Counts,
    high: Counts,
    multipliers: Values,
    chosen: Counts,
    value: float,
    slack: float,
    budget: int,
) -> tuple[Counts, bool]:
    """Return the optimum, or the best known solution, `chosen`, if nothing beats it; and whether that is proven.

    A state is an item, the slots filled, and a counter per rule; its value is the score so far with the multiplier of
    every member that a lower bound still lacks subtracted, and of every member that an upper bound still admits added,
    which together with the relaxed value of the rest bounds the value of its completions.
    """
    n, k, n_rules = len(scores), len(weights), len(low)
    bonus, top = np.empty(n), np.zeros(n_rules, np.int64)
    for i in range(n):
        bonus[i] = 0.0
        for r in range(n_rules):
            if member[i] >> r & 1:
                bonus[i] += multipliers[r]
    identity = np.arange(n)
    backward = np.full((n + 1, k + 1), -np.inf)
    relaxed_values(scores, weights, bonus, identity, backward)
    states = 1.0 * (k + 1)
    for r in range(n_rules):
        top[r] = high[r] if high[r] < k else low[r]
        states *= top[r] + 1
    if states >= 2.0**62:
        return chosen, False
    rest = np.zeros((n + 1, n_rules), np.int64)  # members among the items from i on
    for i in range(n - 1, -1, -1):
        for r in range(n_rules):
            rest[i, r] = rest[i + 1, r] + (member[i] >> r & 1)
    first = 0.0
    for r in range(n_rules):
        first += -multipliers[r] * (low[r] if multipliers[r] > 0 else high[r])
    capacity = 1024
    slot, gain, counter = np.zeros(capacity, np.int64), np.empty(capacity), np.zeros((capacity, n_rules), np.int64)
    node = np.empty(capacity, np.int64)
    slot2, gain2, counter2 = slot.copy(), gain.copy(), counter.copy()
    node2 = node.copy()
    gain[0], node[0], size = first, -1, 1
    table, where = np.empty(4 * capacity, np.int64), np.zeros(4 * capacity, np.int64)
    stamp = np.full(4 * capacity, np.int64(-1))  # the item for which an entry of the table was made
    parent, item, n_nodes = np.empty(4 * capacity, np.int64), np.empty(4 * capacity, np.int64), 0
    best_node, best_value, visited = np.int64(-1), value, 0
    now = np.zeros(n_rules, np.int64)
    for i in range(n):
        size2 = 0
        visited += size
        if visited > budget:
            return chosen if best_node < 0 else _path(parent, item, best_node, k), False
        for label in range(size):
            j = slot[label]
            for take in range(2):
                filled = j + take
                new_gain = gain[label]
                if take:
                    new_gain += scores[i] * weights[j]
                    for r in range(n_rules):
                        now[r] = counter[label, r]
                        if member[i] >> r & 1:
                            if multipliers[r] < 0 or now[r] < low[r]:
                                new_gain += multipliers[r]
                            now[r] += 1
                else:
                    for r in range(n_rules):
                        now[r] = counter[label, r]
                if new_gain + backward[i + 1, filled] <= best_value + slack:
                    continue
                left, open_, complete = k - filled, n - i - 1, True
                for r in range(n_rules):
                    most = now[r] + min(left, rest[i + 1, r])
                    least = now[r] + max(0, left - (open_ - rest[i + 1, r]))
                    if most < low[r] or least > high[r]:
                        complete = False
                        break
                if not complete:
                    continue
                if take and filled == k:
                    true = new_gain
                    for r in range(n_rules):
                        if multipliers[r] < 0:
                            true += multipliers[r] * (high[r] - now[r])
                    if true > best_value + slack:
                        if n_nodes == len(parent):
                            parent, item = _longer(parent), _longer(item)
                        parent[n_nodes], item[n_nodes] = node[label], i
                        best_node, best_value = np.int64(n_nodes), true
                        n_nodes += 1
                    continue
                key = np.int64(filled)
                for r in range(n_rules):
                    now[r] = min(now[r], top[r])
                    key = key * (top[r] + 1) + now[r]
                mask = len(table) - 1
                bucket = (key * np.int64(-7046029254386353131)) >> 20 & mask
                while stamp[bucket] == i and table[bucket] != key:
                    bucket = (bucket + 1) & mask
                if stamp[bucket] != i:
                    stamp[bucket], table[bucket], where[bucket], target = i, key, size2, size2
                    size2 += 1
                else:
                    target = where[bucket]
                    if gain2[target] >= new_gain:
                        continue
                if take:
                    if n_nodes == len(parent):
                        parent, item = _longer(parent), _longer(item)
                    parent[n_nodes], item[n_nodes] = node[label], i
                    node2[target] = n_nodes
                    n_nodes += 1
                else:
                    node2[target] = node[label]
                slot2[target], gain2[target] = filled, new_gain
                for r in range(n_rules):
                    counter2[target, r] = now[r]
                if size2 == len(slot2):
                    slot2, node2 = _longer(slot2), _longer(node2)
                    gain2 = np.concatenate((gain2, np.empty(len(gain2))))
                    counter2 = np.concatenate((counter2, np.zeros_like(counter2)))
                    table, where = np.empty(4 * len(slot2), np.int64), np.zeros(4 * len(slot2), np.int64)
                    stamp = np.full(4 * len(slot2), np.int64(-1))
                    mask = len(table) - 1
                    for label2 in range(size2):
                        key = slot2[label2]
                        for r in range(n_rules):
                            key = key * (top[r] + 1) + counter2[label2, r]
                        bucket = (key * np.int64(-7046029254386353131)) >> 20 & mask
                        while stamp[bucket] == i:
                            bucket = (bucket + 1) & mask
                        stamp[bucket], table[bucket], where[bucket] = i, key, label2
        if not size2:
            break
        slot, slot2, gain, gain2 = slot2, slot, gain2, gain
        counter, counter2, node, node2 = counter2, counter, node2, node
        if len(slot2) < len(slot):
            slot2, node2 = np.empty_like(slot), np.empty_like(node)
            gain2, counter2 = np.empty_like(gain), np.empty_like(counter)
        size = size2
    return chosen if best_node < 0 else _path(parent, item, best_node, k), True


@njit(cache=True, nogil=True)
def _path(parent: Counts, item: Counts, node: int, k: int) -> Counts:
    chosen = np.empty(k, np.int64)
    for j in range(k - 1, -1, -1):
        chosen[j] = item[node]
        node = parent[node]
    return chosen


@njit(cache=True, nogil=True)
def _longer(array: Counts) -> Counts:
    return np.concatenate((array, np.empty_like(array)))
