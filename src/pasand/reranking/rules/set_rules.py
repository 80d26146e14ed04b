"""Rules on a set: the best k items of a list of candidates such that rules on overlapping groups hold, to the optimum.

Three steps, each for what the one before leaves open. A Lagrangian relaxation moves the rules into the scores; its
dynamic programme over (item, slot) bounds the optimum, and swaps repair its solutions. If the bound is not reached, a
dynamic programme with a counter per rule visits only states that can still beat the best solution found. It has a
budget; beyond it the best solution is returned with the gap to the bound.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values, relaxed_values, searched
from pasand.reranking.rules.least_violation import least_violation

ROUNDS = 30
"""Steps of the subgradient method at most."""
PATIENCE = 6
"""Steps without a better bound after which they end."""
TOLERANCE = 1e-12
"""Relative difference of values that counts as equal."""


def best_set(
    scores: Values, member: Counts, weights: Values, low: Counts, high: Counts, budget: int
) -> tuple[Counts, Counts, float]:
    """Return what `best_sets` returns of one list of n candidates, (n,) each: (k,), (R,) and a number."""
    n, void = np.array([len(scores)]), np.zeros(1, np.int64)
    chosen, violation, gap = best_sets(scores[None, :], member[None, :], n, void, weights, low, high, budget)
    return chosen[0], violation[0], float(gap[0])


@njit(cache=True, nogil=True)
def best_sets(
    scores: Values,
    member: Counts,
    available: Counts,
    void: Counts,
    weights: Values,
    low: Counts,
    high: Counts,
    budget: int,
) -> tuple[Counts, Counts, Values]:
    """Return the positions of the chosen items in ascending order, (B, k), the violation of each rule, and the gap.

    Of list b the first `available[b]` >= k candidates count: `scores`, (B, K), are non-increasing; bit r of `member`,
    (B, K), is set for an item in group r. Bit r of `void`, (B,), is set where rule r does not count. `weights`, (k,)
    positive and non-increasing, are those of the slots. The set maximises the sum over slots of weight x score, with
    the items in the order of their scores, among the sets with `low[r]` to `high[r]` members of group r. If there are
    none, violations, (B, R), are least in the order of the rules. The gap, (B,), is the difference between an upper
    bound of the optimum and the value; 0 means proven optimal. `budget` limits the states of the last step, inf is
    returned as the gap where the least violation was not proven.
    """
    k, n_rules = len(weights), len(low)
    positions, violations = np.empty((len(scores), k), np.int64), np.zeros((len(scores), n_rules), np.int64)
    gaps, count = np.zeros(len(scores)), np.zeros(n_rules, np.int64)
    least, most = low.copy(), high.copy()
    for b in range(len(scores)):
        values, bits = scores[b, : available[b]], member[b, : available[b]]
        for r in range(n_rules):
            is_void = void[b] >> r & 1
            least[r], most[r], count[r] = 0 if is_void else low[r], k if is_void else high[r], 0
        for j in range(k):
            positions[b, j] = j
            for r in range(n_rules):
                count[r] += bits[j] >> r & 1
        if _keeps(count, least, most):
            continue
        cell_of, cells, sizes, ranked = _cells(bits)
        start, proven = np.empty(0, np.int64), True
        while True:
            chosen, value, bound, multipliers = _relaxed(
                values, weights, least, most, cell_of, cells, sizes, ranked, start
            )
            if len(chosen):
                break
            capped = sizes.copy()
            for c in range(len(capped)):
                capped[c] = min(capped[c], k)
            violation, start, proven = least_violation(capped, cells, k, least, most)
            for r in range(n_rules):
                violations[b, r] = violation[r]
                least[r], most[r] = max(0, least[r] - violation[r]), min(k, most[r] + violation[r])
        slack = TOLERANCE * (abs(bound) + abs(values[0]) + abs(values[-1]))
        if bound > value + slack:
            chosen, complete = searched(values, bits, weights, least, most, multipliers, chosen, value, slack, budget)
            if not complete:
                gaps[b] = max(0.0, bound - _value(values, weights, chosen))
        if not proven:
            gaps[b] = np.inf
        for j in range(k):
            positions[b, j] = chosen[j]
    return positions, violations, gaps


@njit(cache=True, nogil=True)
def _keeps(count: Counts, low: Counts, high: Counts) -> bool:
    keeps = True
    for r in range(len(low)):
        keeps = keeps and low[r] <= count[r] <= high[r]
    return keeps


@njit(cache=True, nogil=True)
def _value(scores: Values, weights: Values, chosen: Counts) -> float:
    value = 0.0
    for j in range(len(chosen)):
        value += weights[j] * scores[chosen[j]]
    return value


@njit(cache=True, nogil=True)
def _cells(member: Counts) -> tuple[Counts, Counts, Counts, Counts]:
    """Return the cell of each item, (n,), and of each cell the membership, the size and the items, (C,), (C,), (C, n).

    Items of a cell are members of the same groups; they are listed best first.
    """
    n = len(member)
    cell_of, cells, sizes = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(n, np.int64)
    n_cells = 0
    for i in range(n):
        c = 0
        while c < n_cells and cells[c] != member[i]:
            c += 1
        if c == n_cells:
            cells[c] = member[i]
            n_cells += 1
        cell_of[i] = c
        sizes[c] += 1
    largest = 0
    for c in range(n_cells):
        largest = max(largest, sizes[c])
    ranked = np.empty((n_cells, largest), np.int64)
    filled = np.zeros(n_cells, np.int64)
    for i in range(n):
        ranked[cell_of[i], filled[cell_of[i]]] = i
        filled[cell_of[i]] += 1
    return cell_of, cells[:n_cells].copy(), sizes[:n_cells].copy(), ranked


@njit(cache=True, nogil=True)
def _relaxed(
    scores: Values,
    weights: Values,
    low: Counts,
    high: Counts,
    cell_of: Counts,
    cells: Counts,
    sizes: Counts,
    ranked: Counts,
    start: Counts,
) -> tuple[Counts, float, float, Values]:
    """Return the best solution found, its value, an upper bound of the optimum, and the multipliers of that bound.

    `start` are counts per cell of a solution that keeps the rules, or empty if none is known. The solution is empty if
    none was found. A multiplier above 0 rewards the members of a group, for its lower bound; below 0 it charges them.
    """
    n, k, n_rules, n_cells = len(scores), len(weights), len(low), len(cells)
    best, best_value = np.empty(0, np.int64), -np.inf
    multipliers, best_multipliers, bound, upper = np.zeros(n_rules), np.zeros(n_rules), np.inf, np.inf
    backward = np.full((n + 1, k + 1), -np.inf)
    step, without, norm, slope = 1.0, 0, 0.0, np.zeros(n_rules)
    scale = abs(scores[0] - scores[min(n - 1, 2 * k)]) + 1e-300
    bonus, counts = np.empty(n_cells), np.zeros(n_cells, np.int64)
    for c in range(len(start)):
        counts[c] = start[c]
    for round_ in range(0 if len(start) else 1, ROUNDS + 1):  # 0: the solution that is known
        if round_:
            constant = 0.0
            for r in range(n_rules):
                constant += multipliers[r] * (low[r] if multipliers[r] > 0 else high[r])
            for c in range(n_cells):
                bonus[c] = 0.0
                for r in range(n_rules):
                    if cells[c] >> r & 1:
                        bonus[c] += multipliers[r]
            relaxed_values(scores, weights, bonus, cell_of, backward)
            upper = backward[0, 0] - constant
            without = 0 if upper < bound - 1e-9 * scale else without + 1
            if upper < bound:
                bound = upper
                for r in range(n_rules):
                    best_multipliers[r] = multipliers[r]
            _trace(scores, weights, bonus, cell_of, backward, counts)
            norm = 0.0
            for r in range(n_rules):
                count = 0
                for c in range(n_cells):
                    count += (cells[c] >> r & 1) * counts[c]
                slope[r] = 0.0
                if multipliers[r] > 0 or (multipliers[r] == 0 and count < low[r]):
                    slope[r] = low[r] - count
                elif multipliers[r] < 0 or count > high[r]:
                    slope[r] = high[r] - count
                norm += slope[r] * slope[r]
        if _improve(scores, weights, low, high, cells, sizes, ranked, counts) or not round_:
            items = _items(counts, ranked, n)
            value = _value(scores, weights, items)
            if value > best_value:
                best, best_value = items, value
        if not round_:
            continue
        if norm == 0.0 or bound - best_value <= TOLERANCE * (abs(bound) + scale) or without >= PATIENCE:
            break
        if without and without % 2 == 0:
            step *= 0.6
        target = best_value if best_value > -np.inf else upper - scale
        length = step * max(upper - target, 1e-9 * scale) / norm
        for r in range(n_rules):
            before = multipliers[r]
            multipliers[r] += length * slope[r]
            if before * multipliers[r] < 0 and low[r] < high[r]:
                multipliers[r] = 0.0
    return best, best_value, bound, best_multipliers


@njit(cache=True, nogil=True)
def _trace(scores: Values, weights: Values, bonus: Values, cell_of: Counts, backward: Values, counts: Counts) -> None:
    """Write how many items of each cell an optimum of the relaxed problem takes to `counts`, (C,)."""
    counts[:] = 0
    j, i = 0, 0
    while j < len(weights):
        take = backward[i + 1, j + 1] + scores[i] * weights[j] + bonus[cell_of[i]]
        if take >= backward[i + 1, j]:
            counts[cell_of[i]] += 1
            j += 1
        i += 1


@njit(cache=True, nogil=True)
def _improve(
    scores: Values,
    weights: Values,
    low: Counts,
    high: Counts,
    cells: Counts,
    sizes: Counts,
    ranked: Counts,
    counts: Counts,
) -> bool:
    """Swap items between cells, in place: first towards the rules, then towards higher scores; return if rules hold."""
    n_cells, n_rules = len(cells), len(low)
    count = np.zeros(n_rules, np.int64)
    for c in range(n_cells):
        for r in range(n_rules):
            if cells[c] >> r & 1:
                count[r] += counts[c]
    while True:
        violated = 0
        for r in range(n_rules):
            violated += max(0, low[r] - count[r], count[r] - high[r])
        best_less, best_gain, best_out, best_in = 0, 1e-300, -1, -1
        for out in range(n_cells):
            if not counts[out]:
                continue
            for into in range(n_cells):
                if into == out or counts[into] == sizes[into]:
                    continue
                gain = scores[ranked[into, counts[into]]] - scores[ranked[out, counts[out] - 1]]
                if not violated and gain <= best_gain:
                    continue
                less = violated
                for r in range(n_rules):
                    now = count[r] + (cells[into] >> r & 1) - (cells[out] >> r & 1)
                    less -= max(0, low[r] - now, now - high[r])
                if less < best_less:
                    continue
                if (violated and less == 0) or (less == best_less and gain <= best_gain and best_out >= 0):
                    continue
                best_less, best_gain, best_out, best_in = less, gain, out, into
        if best_out < 0:
            return violated == 0
        counts[best_out] -= 1
        counts[best_in] += 1
        for r in range(n_rules):
            count[r] += (cells[best_in] >> r & 1) - (cells[best_out] >> r & 1)


@njit(cache=True, nogil=True)
def _items(counts: Counts, ranked: Counts, n: int) -> Counts:
    """Return the best items of each cell, as many as its count, in ascending order."""
    used, k = np.zeros(n, np.bool_), 0
    for c in range(len(counts)):
        k += counts[c]
        for q in range(counts[c]):
            used[ranked[c, q]] = True
    chosen, j = np.empty(k, np.int64), 0
    for i in range(n):
        if used[i]:
            chosen[j] = i
            j += 1
    return chosen
