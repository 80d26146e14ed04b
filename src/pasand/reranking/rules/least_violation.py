"""Least violation: whether rules on a set can hold together, and by how little each must give way, in their order.

Items that are members of the same groups are exchangeable here, so only the sizes of these cells count. The search is
depth-first over the number of items used of each cell, with bounds on every rule and a memory of failed states.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Counts = NDArray[np.int64]

MAX_NODES = 2_000_000
"""Nodes that one search visits at most; none of the tested cases needs a tenth of them."""
EMPTY = np.int64(-1)


@njit(cache=True, nogil=True)
def least_violation(sizes: Counts, cells: Counts, k: int, low: Counts, high: Counts) -> tuple[Counts, Counts, bool]:
    """Return by how much each rule must be violated, (R,), the counts per cell that achieve it, (C,), and a proof flag.

    `sizes` are the items of each cell and `cells` its membership, bit r for rule r; `low` and `high` bound the members
    of each group among the k items. The violation of rule 0 is minimal, that of rule 1 is minimal given that of rule 0,
    and so on. The flag is false if a search was cut off at `MAX_NODES`, and the violations may then not be minimal.
    Requires k <= sum(sizes); without rules the violations are empty.
    """
    n_rules = len(low)
    relaxed_low, relaxed_high = np.zeros(n_rules, np.int64), np.full(n_rules, k, np.int64)
    violation = np.zeros(n_rules, np.int64)
    proven = True
    counts, _ = _feasible(sizes, cells, k, relaxed_low, relaxed_high)
    for r in range(n_rules):
        for more in range(k + 1):
            relaxed_low[r] = max(0, low[r] - more)
            relaxed_high[r] = min(k, high[r] + more)
            found, complete = _feasible(sizes, cells, k, relaxed_low, relaxed_high)
            proven = proven and complete
            if found[0] >= 0:
                violation[r], counts = more, found
                break
    return violation, counts, proven


@njit(cache=True, nogil=True)
def _feasible(sizes: Counts, cells: Counts, k: int, low: Counts, high: Counts) -> tuple[Counts, bool]:
    """Return counts per cell that keep all bounds, [-1, ...] if none were found, and whether the search ended."""
    n_cells, n_rules = len(sizes), len(low)
    left_in_group, left_in_all = np.zeros((n_cells + 1, n_rules), np.int64), np.zeros(n_cells + 1, np.int64)
    for c in range(n_cells - 1, -1, -1):
        left_in_all[c] = left_in_all[c + 1] + sizes[c]
        for r in range(n_rules):
            left_in_group[c, r] = left_in_group[c + 1, r] + (sizes[c] if cells[c] >> r & 1 else 0)
    # the number of a state: cell, items left, and the count of each rule that is not vacuous
    radix, states = np.zeros(n_rules, np.int64), 1.0 * (n_cells + 1) * (k + 1)
    for r in range(n_rules):
        if high[r] < k:
            radix[r] = high[r] + 1
        elif low[r] > 0:
            radix[r] = low[r] + 1
        states *= max(1, radix[r])
    remember = states < 2.0**62
    table, filled = np.full(256, EMPTY), 0
    used, lowest = np.zeros(n_cells + 1, np.int64), np.zeros(n_cells + 1, np.int64)
    keys = np.full(n_cells + 1, EMPTY)
    count = np.zeros(n_rules, np.int64)
    left, c, nodes = k, 0, 0
    failed = np.full(n_cells, np.int64(-1))
    entering = _possible(count, left, left_in_group[0], left_in_all[0], low, high)
    if not entering:
        return failed, True
    while c >= 0:
        if entering:
            if c == n_cells:
                return used[:n_cells], True
            nodes += 1
            if nodes > MAX_NODES:
                return failed, False
            if remember:
                key = np.int64(c) * (k + 1) + left
                for r in range(n_rules):
                    if radix[r]:
                        key = key * radix[r] + min(count[r], radix[r] - 1)
                keys[c] = key
                if _position(table, key) < 0:  # known to fail
                    entering = False
                    c -= 1
                    continue
            used[c] = min(sizes[c], left) + 1
            lowest[c] = max(0, left - left_in_all[c + 1])
            for r in range(n_rules):
                if cells[c] >> r & 1:
                    count[r] += used[c]
            left -= used[c]
        # take one item less of this cell
        used[c] -= 1
        left += 1
        for r in range(n_rules):
            if cells[c] >> r & 1:
                count[r] -= 1
        if used[c] < lowest[c]:
            left += used[c]
            for r in range(n_rules):
                if cells[c] >> r & 1:
                    count[r] -= used[c]
            if remember:
                if 2 * filled >= len(table):
                    table = _grown(table)
                position = _position(table, keys[c])
                if position >= 0:
                    table[position] = keys[c]
                    filled += 1
            entering = False
            c -= 1
            continue
        entering = _possible(count, left, left_in_group[c + 1], left_in_all[c + 1], low, high)
        if entering:
            c += 1
    return failed, True


@njit(cache=True, nogil=True, inline="always")
def _possible(count: Counts, left: int, left_in_group: Counts, left_in_all: int, low: Counts, high: Counts) -> bool:
    """Return whether each rule, for itself, can still be kept with the cells that are left."""
    for r in range(len(low)):
        if count[r] + min(left, left_in_group[r]) < low[r]:
            return False
        if count[r] + max(0, left - (left_in_all - left_in_group[r])) > high[r]:
            return False
    return True


@njit(cache=True, nogil=True)
def _position(table: Counts, key: int) -> int:
    """Return the free position of a key in a hash table whose length is a power of 2, or -1 if the table has it."""
    mask = len(table) - 1
    position = (key * np.int64(-7046029254386353131)) >> 20 & mask
    while table[position] != EMPTY:
        if table[position] == key:
            return -1
        position = (position + 1) & mask
    return int(position)


@njit(cache=True, nogil=True)
def _grown(table: Counts) -> Counts:
    larger = np.full(4 * len(table), EMPTY)
    for key in table:
        if key != EMPTY:
            larger[_position(larger, key)] = key
    return larger
