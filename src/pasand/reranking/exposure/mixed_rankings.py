"""The fewest rankings whose mixture has the exposure that groups are due, at the highest expected sum of scores.

The programme of Singh and Joachims has a doubly stochastic matrix of items and positions. For exposure of groups no
matrix is needed: at given multipliers the best matrix is a permutation, the order by score plus multipliers, so the
optimum mixes at most one ranking more than there are bounds. The simplex method keeps these few and finds the next
ranking by sorting (column generation, Dantzig and Wolfe 1960). The probability of an item at a position is the sum of
the probabilities of the rankings that have it there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values

TOLERANCE = 1e-10
"""Gain of a further ranking, relative to the scores, that is none."""
MISSING = 1e4
"""Price of missing a bound by one unit of exposure, in differences between the best and the worst score."""
ROUNDS = 60
"""Rankings that are tried for each bound at most; the mixture keeps the bounds in any case."""


@njit(cache=True, nogil=True)
def mixed_rankings(
    scores: Values, member: Counts, weights: Values, group: Counts, sign: Values, bound: Values
) -> tuple[Values, Counts, float]:
    """Return the probabilities of rankings, (M,), the positions of their items, (M, k), and the exposure missed.

    Of n >= k candidates with these scores and groups as bits, (n,), an item at position j is exposed by `weights[j]`,
    (k,), falling. Bound r is on the expected exposure of group `group[r]`: at least `bound[r]` with sign 1, at most
    -`bound[r]` with sign -1, (R,). M is at most R + 1. Where the candidates cannot have such exposure, the sum of what
    is missed is least.
    """
    n_bounds, k, last = len(bound), len(weights), len(bound)
    scale = scores.max() - scores.min() if scores.max() > scores.min() else 1.0
    missing = MISSING * scale
    rankings = np.empty((n_bounds + 1, k), np.int64)
    is_ranking = np.zeros(n_bounds + 1, np.bool_)
    value, share = np.zeros(n_bounds + 1), np.zeros(n_bounds + 1)
    inverse, column = np.zeros((n_bounds + 1, n_bounds + 1)), np.zeros(n_bounds + 1)
    price = np.zeros(n_bounds)
    ranking = _ranked(scores, member, group, sign, price, k)
    rankings[last], is_ranking[last], share[last] = ranking, True, 1.0
    value[last] = _column(scores, member, weights, group, sign, ranking, column)
    inverse[last, last] = 1.0
    for r in range(n_bounds):
        side = 1.0 if bound[r] > column[r] else -1.0  # what is missed, or what is left over
        inverse[r, r], inverse[r, last] = side, -side * column[r]
        share[r], value[r] = side * (bound[r] - column[r]), -missing if side > 0 else 0.0
    for _ in range(ROUNDS * (n_bounds + 1)):
        dual = value @ inverse
        enters, worth, found = -1, 0.0, False
        for r in range(n_bounds):
            if dual[r] > TOLERANCE * scale:  # a bound that is met with some left over
                column[:] = 0.0
                column[r], worth, enters, found = -1.0, 0.0, r, True
                break
            if dual[r] < -missing * (1 + TOLERANCE):
                column[:] = 0.0
                column[r], worth, enters, found = 1.0, -missing, r, True
                break
        if not found:
            for r in range(n_bounds):
                price[r] = -dual[r]
            ranking = _ranked(scores, member, group, sign, price, k)
            worth = _column(scores, member, weights, group, sign, ranking, column)
            if worth - dual @ column <= TOLERANCE * scale:
                break
        change = inverse @ column
        leaves, ratio = -1, np.inf
        for i in range(n_bounds + 1):
            if change[i] > 1e-11 and share[i] / change[i] < ratio:
                leaves, ratio = i, share[i] / change[i]
        if leaves < 0:
            break
        for i in range(n_bounds + 1):
            share[i] = max(0.0, share[i] - ratio * change[i])
        share[leaves], value[leaves], is_ranking[leaves] = ratio, worth, enters < 0
        if enters < 0:
            rankings[leaves] = ranking
        inverse[leaves] /= change[leaves]
        for i in range(n_bounds + 1):
            if i != leaves:
                inverse[i] -= change[i] * inverse[leaves]
    missed = 0.0
    for i in range(n_bounds + 1):
        if not is_ranking[i] and value[i] < 0.0:
            missed += share[i]
    return share[is_ranking] / share[is_ranking].sum(), rankings[is_ranking], missed


@njit(cache=True, nogil=True)
def _ranked(scores: Values, member: Counts, group: Counts, sign: Values, price: Values, k: int) -> Counts:
    """Return the positions of the k best items by score plus the prices of their groups, (k,)."""
    priced = scores.copy()
    for i in range(len(scores)):
        for r in range(len(price)):
            if member[i] >> group[r] & 1:
                priced[i] += sign[r] * price[r]
    return np.argsort(-priced, kind="mergesort")[:k]


@njit(cache=True, nogil=True)
def _column(
    scores: Values, member: Counts, weights: Values, group: Counts, sign: Values, ranking: Counts, column: Values
) -> float:
    """Return the sum of scores of a ranking, and write its exposures and a 1 to `column`, (R + 1,)."""
    column[:] = 0.0
    column[-1], value = 1.0, 0.0
    for j, i in enumerate(ranking):
        value += scores[i] * weights[j]
        for r in range(len(group)):
            if member[i] >> group[r] & 1:
                column[r] += sign[r] * weights[j]
    return value
