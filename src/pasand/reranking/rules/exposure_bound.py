"""The bound of `exposure_rules`: multipliers of exposures add to the scores of members, and the rest is a sort."""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values

ROUNDS = 40
"""Steps of the subgradient method."""


@njit(cache=True, nogil=True)
def cell_bonus(cells: Counts, multipliers: Values) -> Values:
    """Return what the multipliers add to the scores of each cell, (C,)."""
    bonus = np.zeros(len(cells))
    for c in range(len(cells)):
        for r in range(len(multipliers)):
            if cells[c] >> r & 1:
                bonus[c] += multipliers[r]
    return bonus


@njit(cache=True, nogil=True)
def bound_of_rest(
    scores: Values, weights: Values, sizes: Counts, ranked: Counts, used: Counts, bonus: Values, slot: int
) -> float:
    """Return the largest value of the slots that follow, with a bonus of each cell, from unused items.

    `used`, (C,), is changed.
    """
    value, head = 0.0, np.empty(len(sizes))
    for c in range(len(sizes)):
        head[c] = scores[ranked[c, used[c]]] + bonus[c] if used[c] < sizes[c] else -np.inf
    for j in range(slot, len(weights)):
        c = int(np.argmax(head))
        value += weights[j] * head[c]
        used[c] += 1
        head[c] = scores[ranked[c, used[c]]] + bonus[c] if used[c] < sizes[c] else -np.inf
    return value


@njit(cache=True, nogil=True)
def best_multipliers(
    scores: Values,
    weights: Values,
    cells: Counts,
    sizes: Counts,
    ranked: Counts,
    least: Values,
    most: Values,
    until: Counts,
) -> Values:
    """Return the multipliers of the best bound found, (R,); 0 of rules on a part of the slots."""
    n_rules, k = len(least), len(weights)
    now, best, best_bound = np.zeros(n_rules), np.zeros(n_rules), np.inf
    slope, used = np.zeros(n_rules), np.zeros(len(cells), np.int64)
    scale = scores[0] - scores[min(len(scores) - 1, 2 * k)]
    for round_ in range(ROUNDS):
        bonus, bound, norm = cell_bonus(cells, now), 0.0, 0.0
        used[:] = 0
        slope[:] = 0
        for j in range(k):
            chosen, chosen_score = -1, -np.inf
            for c in range(len(cells)):
                if used[c] < sizes[c] and scores[ranked[c, used[c]]] + bonus[c] > chosen_score:
                    chosen, chosen_score = c, scores[ranked[c, used[c]]] + bonus[c]
            used[chosen] += 1
            bound += weights[j] * chosen_score
            for r in range(n_rules):
                if cells[chosen] >> r & 1:
                    slope[r] += weights[j]
        for r in range(n_rules):
            exposure = slope[r]
            slope[r] = 0.0
            if now[r] != 0:
                bound -= now[r] * (least[r] if now[r] > 0 else most[r])
            if until[r] == k and (now[r] > 0 or exposure < least[r]) and least[r] > -np.inf:
                slope[r] = least[r] - exposure
            elif until[r] == k and (now[r] < 0 or exposure > most[r]) and most[r] < np.inf:
                slope[r] = most[r] - exposure
            norm += slope[r] ** 2
        if bound < best_bound:
            best_bound = bound
            best[:] = now
        if norm == 0:
            break
        length = max(scale, 1e-300) / np.sqrt(norm) / (1 + 0.5 * round_)
        for r in range(n_rules):
            before = now[r]
            now[r] += length * slope[r]
            if before * now[r] < 0:
                now[r] = 0.0
    return best
