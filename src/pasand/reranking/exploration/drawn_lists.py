"""Lists of a batch whose random slots are drawn in one compiled call, as `RandomList` draws those of one list."""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.exploration.slot_draws import _enumerated, kept_cells, slot_distribution
from pasand.types import Rows, Scores


@njit(cache=True, nogil=True)
def pools(items: Rows, found: Rows, scores: Scores, size: int) -> tuple[Rows, Scores, Counts]:
    """Return the first items found that are not in the list, at most `size`, (B, P), their scores and number, (B,).

    `items`, (B, K), are the lists, `found` and `scores`, (B, K'), other items, best first; all are padded with -1.
    """
    pool, score = np.full((len(items), size), -1, np.int32), np.full((len(items), size), -np.inf, scores.dtype)
    count = np.zeros(len(items), np.int64)
    for b in range(len(items)):
        n = 0
        for i in range(found.shape[1]):
            if n == size or found[b, i] < 0:
                break
            new = True
            for j in range(items.shape[1]):
                if items[b, j] == found[b, i]:
                    new = False
                    break
            if new:
                pool[b, n], score[b, n] = found[b, i], scores[b, i]
                n += 1
        count[b] = n
    return pool, score, count


@njit(cache=True, nogil=True)
def draw_lists(
    which: Counts,
    length: int,
    items: Rows,
    shown: Counts,
    pool: Rows,
    groups: Counts,
    size: Counts,
    weights: Values,
    low: Counts,
    high: Counts,
    void: Counts,
    slots: Counts,
    numbers: Values,
    uniform: float,
    ranked: bool,
    propensity: Values,
    alone: Values,
) -> None:
    """Draw the items of the random slots of the lists `which`, of `length` items, in place, with their probabilities.

    `pool`, (B, P), are the `size[b]` items that list b draws from, with their weights; `groups`, (B, P), and `shown`,
    (B, K), are the groups of pool and lists as bits, of which a list keeps `low[r]` to `high[r]` members, unless bit r
    of `void`, (B,), is set. `slots`, at most `slot_draws.MOST`, rise from 0, and `numbers`, (B, S) in [0, 1), draw
    their items. `propensity` and `alone`, (B, K), are changed in the random slots: to the probability of the item given
    the slots above, and whatever they show.
    """
    n_rules, n_slots = len(low), 0
    for slot in slots:
        n_slots += slot < length
    least, most, first, count = low.copy(), high.copy(), np.zeros(n_rules, np.int64), np.zeros(n_rules, np.int64)
    leaving, targets = np.zeros(n_slots, np.int64), np.full(n_slots, np.int64(-1))
    for b in which:
        n = size[b]
        if not n or not n_slots:
            continue
        weight, left, cell = weights[b, :n], np.ones(n, np.bool_), np.zeros(n, np.int64)
        for r in range(n_rules):
            is_void, first[r] = void[b] >> r & 1, 0
            least[r], most[r] = 0 if is_void else low[r], length if is_void else high[r]
            for j in range(length):
                first[r] += shown[b, j] >> r & 1
            count[r] = first[r]
        cells = np.unique(groups[b, :n]) if n_rules else np.zeros(1, np.int64)
        for i in range(n):
            while cells[cell[i]] != groups[b, i] and n_rules:
                cell[i] += 1
        for s in range(n_slots):
            slot, possible, some = slots[s], left.copy(), False
            leaving[s], targets[s] = shown[b, slot], -1
            kept = kept_cells(cells, leaving[s], count, least, most)
            for i in range(n):
                possible[i] = left[i] and kept[cell[i]]
                some = some or possible[i]
            if not some:
                continue
            chance = slot_distribution(weight, possible, uniform, ranked)
            total, rising, drawn = 0.0, 0.0, -1
            for i in range(n):
                total += chance[i]
            for i in range(n):
                rising += chance[i]
                if chance[i] > 0:
                    drawn = i
                if rising > numbers[b, s] * total:
                    break
            items[b, slot], propensity[b, slot] = pool[b, drawn], chance[drawn]
            left[drawn], targets[s] = False, drawn
            for r in range(n_rules):
                count[r] += (cells[cell[drawn]] >> r & 1) - (leaving[s] >> r & 1)
        found = _enumerated(weight, cell, cells, leaving, first, least, most, targets, uniform, ranked)
        for s in range(n_slots):
            alone[b, slots[s]] = propensity[b, slots[s]] if s == 0 and targets[0] >= 0 else found[s]
