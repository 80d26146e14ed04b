"""Rules on exposure: the best order of k candidates such that groups have shares of the exposure, beside other rules.

The exposure of a group is the sum of the weights of its slots, 1 / log2(slot + 1). The same weights discount the
scores, so a multiplier of an exposure adds to the scores of the members, and the relaxed problem is a sort: its best
multipliers bound the optimum. A depth-first search over slots, in the order of these scores, follows: an item is placed
if each rule, for itself, can still be kept, and if the bound with what is left exceeds the best solution. Items that
are members of the same groups are used best first. The problem is NP-hard (a knapsack), so the search has a budget;
where it ends the search, swaps improve the best solution.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.rules.exposure_bound import best_multipliers, bound_of_rest, cell_bonus
from pasand.reranking.rules.prefix_rules import _ahead
from pasand.reranking.rules.set_rules import _cells, _value

COST = 60
"""States of other searches in whose time one slot is filled here."""
STEPS = 100
"""A violation of a share of the exposure is rounded up to a multiple of 1 / STEPS."""


@njit(cache=True, nogil=True)
def best_exposure(
    scores: Values,
    member: Counts,
    weights: Values,
    low: Counts,
    high: Counts,
    least: Values,
    most: Values,
    until: Counts,
    budget: int,
) -> tuple[Counts, Counts, float]:
    """Return the positions of the chosen items by slot, (k,), the violation of each rule, (R,), and the gap.

    As `prefix_rules.best_order`; besides, the members of group r in the first `until[r]` slots have the sum of weights
    `least[r]` to `most[r]`, which may be infinite. Violations of these are in hundredths of the sum of the weights,
    rounded up. The gap is inf where a violation was not proven to be least. `budget` is that of `set_rules.best_set`.
    """
    k, n_rules, limit = len(weights), len(low), max(64, budget // COST)
    violation = np.zeros(n_rules, np.int64)
    _, cells, sizes, ranked = _cells(member)
    need, room = _ahead(low, high)
    multipliers = best_multipliers(scores, weights, cells, sizes, ranked, least, most, until)
    found, complete = _search(
        scores, weights, cells, sizes, ranked, need, room, least, most, until, multipliers, limit, False
    )
    proven = True
    if not len(found):
        proven = complete
        free_low, free_high = np.zeros_like(low), np.full_like(high, k)
        free_least, free_most = np.full(n_rules, -np.inf), np.full(n_rules, np.inf)
        for r in range(n_rules):
            exposed = least[r] > -np.inf or most[r] < np.inf
            total = weights[: until[r]].sum()
            below, above = -1, STEPS if exposed else k  # the least violation is above the first, and at most the second
            while above - below > 1:
                middle = 0 if below < 0 else (below + above) // 2
                free_low[r], free_high[r] = np.maximum(0, low[r] - middle), np.minimum(k, high[r] + middle)
                free_least[r], free_most[r] = least[r] - total * middle / STEPS, most[r] + total * middle / STEPS
                need, room = _ahead(free_low, free_high)
                trial, complete = _search(
                    scores, weights, cells, sizes, ranked, need, room, free_least, free_most, until,
                    np.zeros(n_rules), limit, True,
                )  # fmt: skip
                if len(trial):
                    above = middle
                else:
                    below = middle
                    proven = proven and complete
            violation[r] = above
            free_low[r], free_high[r] = np.maximum(0, low[r] - above), np.minimum(k, high[r] + above)
            free_least[r], free_most[r] = least[r] - total * above / STEPS, most[r] + total * above / STEPS
        need, room = _ahead(free_low, free_high)
        least, most = free_least, free_most
        multipliers = best_multipliers(scores, weights, cells, sizes, ranked, least, most, until)
        found, complete = _search(
            scores, weights, cells, sizes, ranked, need, room, least, most, until, multipliers, limit, False
        )
    gap = 0.0
    if not complete:
        _swapped(found, scores, member, weights, cells, sizes, ranked, need, room, least, most, until)
        bonus, used = cell_bonus(cells, multipliers), np.zeros_like(sizes)
        bound = bound_of_rest(scores, weights, sizes, ranked, used, bonus, 0)
        for r in range(n_rules):
            if multipliers[r] != 0:
                bound -= multipliers[r] * (least[r] if multipliers[r] > 0 else most[r])
        gap = max(0.0, bound - _value(scores, weights, found))
    return found, violation, gap if proven else np.inf


@njit(cache=True, nogil=True)
def _swapped(
    chosen: Counts,
    scores: Values,
    member: Counts,
    weights: Values,
    cells: Counts,
    sizes: Counts,
    ranked: Counts,
    need: Counts,
    room: Counts,
    least: Values,
    most: Values,
    until: Counts,
) -> None:
    """Exchange slots, or an item for an unused one, in place, wherever it adds to the value and keeps the rules."""
    k, changed = len(chosen), True
    inside = np.zeros(len(scores), np.bool_)
    inside[chosen] = True
    while changed:
        changed = False
        for i in range(k):
            for j in range(i + 1, k):
                if scores[chosen[j]] > scores[chosen[i]]:
                    chosen[i], chosen[j] = chosen[j], chosen[i]
                    if _keeps(chosen, member, weights, need, room, least, most, until):
                        changed = True
                    else:
                        chosen[i], chosen[j] = chosen[j], chosen[i]
            for c in range(len(cells)):
                q = 0
                while q < sizes[c] and inside[ranked[c, q]]:
                    q += 1
                out = chosen[i]
                if q < sizes[c] and scores[ranked[c, q]] > scores[out]:
                    chosen[i] = ranked[c, q]
                    if _keeps(chosen, member, weights, need, room, least, most, until):
                        inside[out], inside[chosen[i]], changed = False, True, True
                    else:
                        chosen[i] = out


@njit(cache=True, nogil=True)
def _keeps(
    chosen: Counts,
    member: Counts,
    weights: Values,
    need: Counts,
    room: Counts,
    least: Values,
    most: Values,
    until: Counts,
) -> bool:
    """Return whether a list keeps all rules."""
    for r in range(len(need)):
        count, exposure = 0, 0.0
        for j in range(len(chosen)):
            if member[chosen[j]] >> r & 1:
                count += 1
                if j < until[r]:
                    exposure += weights[j]
            if count < need[r, j] or count > room[r, j]:
                return False
        if exposure < least[r] or exposure > most[r]:
            return False
    return True


@njit(cache=True, nogil=True)
def _possible(
    inside: Counts,
    total: int,
    count: Counts,
    have: Values,
    filled: int,
    before: Values,
    need: Counts,
    room: Counts,
    first: Counts,
    least: Values,
    most: Values,
    until: Counts,
) -> bool:
    """Return whether each rule, for itself, can still be kept.

    `inside`, (R,), are the unused members of each group and `total` all unused items; `before`, (k + 1,), sums the
    weights before a slot, and `first`, (R,), is the first slot with a bound on the count.
    """
    k = len(before) - 1
    for r in range(len(need)):
        outside = total - inside[r]
        for j in range(max(first[r], filled - 1), k):
            left = j + 1 - filled
            if count[r] + min(left, inside[r]) < need[r, j] or count[r] + max(0, left - outside) > room[r, j]:
                return False
        left = max(0, until[r] - filled)
        at_most = have[r] + before[filled + min(inside[r], left)] - before[filled]
        forced = max(0, left - outside)
        if at_most < least[r] or have[r] + before[filled + left] - before[filled + left - forced] > most[r]:
            return False
    return True


@njit(cache=True, nogil=True)
def _search(
    scores: Values,
    weights: Values,
    cells: Counts,
    sizes: Counts,
    ranked: Counts,
    need: Counts,
    room: Counts,
    least: Values,
    most: Values,
    until: Counts,
    multipliers: Values,
    limit: int,
    any_will_do: bool,
) -> tuple[Counts, bool]:
    """Return the best solution, or the first one, by slot, and if the search ended; nothing if none was found.

    At most `limit` states are visited, and as many again until there is a solution.
    """
    k, n_cells, n_rules = len(weights), len(cells), len(need)
    before = np.zeros(k + 1)
    for j in range(k):
        before[j + 1] = before[j] + weights[j]
    bonus, slack = cell_bonus(cells, multipliers), 1e-12 * (abs(scores[0]) + abs(scores[-1])) * before[k]
    counts, count, used = np.zeros(n_cells, np.int64), np.zeros(n_rules, np.int64), np.zeros(n_cells, np.int64)
    inside, first, total = np.zeros(n_rules, np.int64), np.full(n_rules, k), sizes.sum()
    for r in range(n_rules):
        for c in range(n_cells):
            inside[r] += sizes[c] * (cells[c] >> r & 1)
        for j in range(k - 1, -1, -1):
            if need[r, j] > 0 or room[r, j] < j + 1:
                first[r] = j
    have, gain = np.zeros((k + 1, n_rules)), np.zeros(k + 1)
    order, tried = np.zeros((k, n_cells), np.int64), np.zeros(k, np.int64)
    cell_at, chosen, key = np.zeros(k, np.int64), np.zeros(k, np.int64), np.zeros(n_cells)
    best, best_value = np.empty(0, np.int64), -np.inf
    if not _possible(inside, total, count, have[0], 0, before, need, room, first, least, most, until):
        return best, True
    j, entering, nodes = 0, True, 0
    while True:
        if entering:
            nodes += 1
            if nodes > limit and (len(best) or nodes > 2 * limit):
                return best, False
            for c in range(n_cells):
                key[c] = -scores[ranked[c, counts[c]]] - bonus[c] if counts[c] < sizes[c] else np.inf
            order[j], tried[j], entering = np.argsort(key, kind="mergesort"), 0, False
        leave = tried[j] == n_cells
        if not leave:
            c = order[j, tried[j]]
            tried[j] += 1
            if counts[c] == sizes[c]:
                continue
            chosen[j], cell_at[j] = ranked[c, counts[c]], c
            gain[j + 1] = gain[j] + weights[j] * scores[chosen[j]]
            counts[c] += 1
            for r in range(n_rules):
                have[j + 1, r] = have[j, r]
                if cells[c] >> r & 1:
                    count[r] += 1
                    inside[r] -= 1
                    if j < until[r]:
                        have[j + 1, r] += weights[j]
            j += 1
            fits = _possible(inside, total - j, count, have[j], j, before, need, room, first, least, most, until)
            if fits and len(best):
                used[:] = counts
                upper = gain[j] + bound_of_rest(scores, weights, sizes, ranked, used, bonus, j)
                for r in range(n_rules):
                    if multipliers[r] != 0:
                        upper -= multipliers[r] * ((least[r] if multipliers[r] > 0 else most[r]) - have[j, r])
                fits = upper > best_value + slack
            if fits and j < k:
                entering = True
                continue
            if fits and gain[k] > best_value:
                best, best_value = chosen.copy(), gain[k]
                if any_will_do:
                    return best, True
        if leave and not j:
            return best, True
        j -= 1
        c = cell_at[j]
        counts[c] -= 1
        for r in range(n_rules):
            count[r] -= cells[c] >> r & 1
            inside[r] += cells[c] >> r & 1
