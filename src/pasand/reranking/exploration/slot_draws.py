"""Probabilities of items in slots that are drawn one after the other from one pool, within rules on counts.

Items of a pool are in cells: those of one cell are in the same groups of the rules, so rules keep a cell or not.
A distribution prefers items by weights. Plain weights are drawn without replacement, each in proportion to what is
left; of ranked ones the largest that is left is drawn, but with the share `uniform` any that is left.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.types import Mask

MOST = 3
"""Slots up to which `slot_marginals` goes: beyond, there are too many sequences of draws."""


@njit(cache=True, nogil=True)
def kept_cells(cells: Counts, leaving: int, count: Counts, low: Counts, high: Counts) -> Mask:
    """Return which cells, (C,), hold items that break no rule more than it is broken now; all without rules.

    `cells` are bits of rules, as is `leaving`, those of the item that is replaced; `count`, (R,), are the members of
    the list now, of at least `low` and at most `high`.
    """
    kept = np.ones(len(cells), np.bool_)
    for c in range(len(cells)):
        for r in range(len(count)):
            after = count[r] - (leaving >> r & 1) + (cells[c] >> r & 1)
            now = max(0, low[r] - count[r], count[r] - high[r])
            if max(0, low[r] - after, after - high[r]) > now:
                kept[c] = False
    return kept


@njit(cache=True, nogil=True)
def slot_distribution(weights: Values, left: Mask, uniform: float, ranked: bool) -> Values:
    """Return the probability of each item in the next slot, (n,), of which those `left` can be drawn; 0 without any."""
    out, total, n, best = np.zeros(len(weights)), 0.0, 0, -1
    for i in range(len(weights)):
        if left[i]:
            total, n = total + weights[i], n + 1
            if best < 0 or weights[i] > weights[best]:
                best = i
    for i in range(len(weights)):
        if left[i]:
            out[i] = uniform / n if ranked else weights[i] / total
    if ranked and best >= 0:
        out[best] += 1 - uniform
    return out


def slot_marginals(
    weights: Values,
    cell: Counts,
    cells: Counts,
    leaving: Counts,
    count: Counts,
    low: Counts,
    high: Counts,
    targets: Counts,
    uniform: float,
    ranked: bool,
) -> Values:
    """Return the probability of one item in each of up to 3 slots over all draws, (S,), by exact enumeration.

    `cell`, (n,), is the cell of each item; `leaving`, (S,), are the groups of the items in the slots before any draw;
    `targets`, (S,), are the items, -1 for the one that the slot has before any draw and keeps where nothing can be
    drawn, -2 for any other. Takes time n^(S - 1). See `kept_cells` for the other parameters.
    """
    if not len(count) and not ranked and len(weights) >= len(targets):
        return _without_rules(weights, targets)
    found: Values = _enumerated(weights, cell, cells, leaving, count, low, high, targets, uniform, ranked)
    return found


def _without_rules(weights: Values, targets: Counts) -> Values:
    """Return the probability of items in the first slots of a Plackett-Luce ranking, (S,)."""
    out, total = np.zeros(len(targets)), weights.sum()
    first = weights / (total - weights) / total if len(targets) > 1 else weights
    for s, target in enumerate(targets.tolist()):
        if target < 0:
            continue
        if s == 0:
            out[s] = weights[target] / total
        elif s == 1:
            out[s] = weights[target] * (first.sum() - first[target])
        else:
            left = np.subtract.outer(total - weights, weights)  # by first and second item
            left[np.arange(len(weights)), np.arange(len(weights))] = left[target] = left[:, target] = np.inf
            out[s] = weights[target] * (first @ (np.reciprocal(left, out=left) @ weights))
    return out


@njit(cache=True, nogil=True)
def _enumerated(
    weights: Values,
    cell: Counts,
    cells: Counts,
    leaving: Counts,
    count: Counts,
    low: Counts,
    high: Counts,
    targets: Counts,
    uniform: float,
    ranked: bool,
) -> Values:
    n, n_cells, n_slots = len(weights), len(cells), len(targets)
    total, size = np.zeros(n_cells), np.zeros(n_cells, np.int64)
    for i in range(n):
        total[cell[i]] += weights[i]
        size[cell[i]] += 1
    first = _first_of_cells(weights, cell, n_cells)
    out, counted, after = np.zeros(n_slots), count.copy(), count.copy()
    kept0 = kept_cells(cells, leaving[0], count, low, high)
    out[0] = _chance(targets[0], -1, -1, weights, cell, kept0, total, size, first, uniform, ranked)
    none0 = 1.0 if n_slots > 1 else 0.0
    for c in range(n_cells):
        if kept0[c]:
            none0 = 0.0
    for cj in range(-1, n_cells if n_slots > 1 else -1):  # -1: the slot keeps its item
        if (cj < 0 and none0 == 0) or (cj >= 0 and not kept0[cj]):
            continue
        for r in range(len(count)):
            counted[r] = count[r] + ((cells[cj] >> r & 1) - (leaving[0] >> r & 1) if cj >= 0 else 0)
        kept1 = kept_cells(cells, leaving[1], counted, low, high)
        n_left = -1 if cj >= 0 and kept1[cj] else 0
        for c in range(n_cells):
            n_left += size[c] if kept1[c] else 0
        for ck in range(-2, n_cells if n_slots > 2 else -1):  # -2: for the second slot itself
            if ck > -2 and ((ck < 0) != (n_left == 0) or (ck >= 0 and not kept1[ck])):
                continue
            kept2 = kept1
            if ck > -2:
                for r in range(len(count)):
                    after[r] = counted[r] + ((cells[ck] >> r & 1) - (leaving[1] >> r & 1) if ck >= 0 else 0)
                kept2 = kept_cells(cells, leaving[2], after, low, high)
            for j in range(-1 if cj < 0 else 0, 0 if cj < 0 else n):
                if j >= 0 and cell[j] != cj:
                    continue
                p = none0
                if j >= 0:
                    p = _chance(j, -1, -1, weights, cell, kept0, total, size, first, uniform, ranked)
                if ck == -2:
                    out[1] += p * _chance(targets[1], j, -1, weights, cell, kept1, total, size, first, uniform, ranked)
                elif ck == -1:
                    out[2] += p * _chance(targets[2], j, -1, weights, cell, kept2, total, size, first, uniform, ranked)
                else:
                    out[2] += p * _after_second(
                        targets[2], j, ck, weights, cell, kept1, kept2, total, size, first, uniform, ranked
                    )
    return out


@njit(cache=True, nogil=True)
def _first_of_cells(weights: Values, cell: Counts, n_cells: int) -> Counts:
    """Return the `MOST` items of the largest weights in each cell, (C, MOST), padded with -1."""
    first = np.full((n_cells, MOST), -1)
    for i in range(len(weights)):
        own, new = first[cell[i]], i
        for t in range(MOST):
            if own[t] < 0 or weights[new] > weights[own[t]]:
                own[t], new = new, own[t]
            if new < 0:
                break
    return first


@njit(cache=True, nogil=True)
def _chance(
    i: int,
    j: int,
    k: int,
    weights: Values,
    cell: Counts,
    kept: Mask,
    total: Values,
    size: Counts,
    first: Counts,
    uniform: float,
    ranked: bool,
) -> float:
    """Return the probability that item i is drawn after j and k, which are -1 for none.

    For i = -1: that nothing can be drawn; for i = -2, any other item, 0.
    """
    if i < -1 or (i >= 0 and (i in (j, k) or not kept[cell[i]])):
        return 0.0
    weight, n = 0.0, 0
    for c in range(len(kept)):
        if kept[c]:
            weight, n = weight + total[c], n + size[c]
    if j >= 0 and kept[cell[j]]:
        weight, n = weight - weights[j], n - 1
    if k >= 0 and kept[cell[k]]:
        weight, n = weight - weights[k], n - 1
    if i == -1:
        return 1.0 if n == 0 else 0.0
    if not ranked:
        return float(weights[i] / weight)
    for c in range(len(kept)):
        if kept[c]:
            for t in range(MOST):
                other = first[c, t]
                if other >= 0 and other != j and other != k:
                    if weights[other] > weights[i]:
                        return uniform / n
                    break
    return uniform / n + 1 - uniform


@njit(cache=True, nogil=True)
def _after_second(
    i: int,
    j: int,
    ck: int,
    weights: Values,
    cell: Counts,
    kept1: Mask,
    kept2: Mask,
    total: Values,
    size: Counts,
    first: Counts,
    uniform: float,
    ranked: bool,
) -> float:
    """Return the probability of a second item in cell `ck` followed by item i, after the first item j, -1 for none."""
    if i < -1 or (i >= 0 and (i == j or not kept2[cell[i]])):
        return 0.0
    out = 0.0
    if ranked or i < 0:
        for k in range(len(weights)):
            if cell[k] == ck and k != j and k != i:
                second = _chance(k, j, -1, weights, cell, kept1, total, size, first, uniform, ranked)
                out += second * _chance(i, j, k, weights, cell, kept2, total, size, first, uniform, ranked)
        return out
    before, base = 0.0, 0.0
    for c in range(len(kept1)):
        before += total[c] if kept1[c] else 0.0
        base += total[c] if kept2[c] else 0.0
    if j >= 0:
        before -= weights[j] if kept1[cell[j]] else 0.0
        base -= weights[j] if kept2[cell[j]] else 0.0
    removed = 1.0 if kept2[ck] else 0.0
    for k in range(len(weights)):
        if cell[k] == ck and k != i and k != j:
            out += weights[k] / (base - removed * weights[k])
    return float(out * weights[i] / before)
