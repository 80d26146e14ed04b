"""Calibration: k candidates of high total score whose categories are spread as a target, by greedy choice and swaps.

The value of a set is the sum of its scores plus, over the categories c with target p(c) and mass m(c), the sum of

    strength x p(c) x log(.99 m(c) / k + .01 p(c)).

With a strength of lambda this is the sum of scores less lambda times the Kullback-Leibler divergence of Steck
(Calibrated recommendations, RecSys 2018), up to a constant. But m is divided by k, not by the number of items chosen so
far. The value is then monotone and submodular, so the greedy set has at least 1 - 1/e of the optimum (above the value
of the empty set, for scores of at least 0), and its first slots do not pay for a spread that later slots would bring.
Swaps that improve most follow until none improves. All this is inside the rules of a policy, where there are any.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.types import Offsets, Rows

SMOOTHING = 0.01
"""Share of the target in the distribution of the list that it is compared with, so that logarithms are finite."""
MAX_SWAPS = 200
"""Swaps of one list at most."""
TOLERANCE = 1e-9
"""Gain, relative to the largest score or strength, below which a swap does not count."""


class Shares(NamedTuple):
    """The categories of items: row i has `share[t]` of category `codes[t]` for t in start[i]:start[i + 1]."""

    codes: Rows
    """(T,), rising within an item."""
    share: Values
    start: Offsets


class Aim(NamedTuple):
    """What is wanted: a distribution over the categories, (C,), how strongly, and the number of items of the list."""

    target: Values
    strength: float
    k: int


@njit(cache=True, nogil=True)
def calibrated_set(
    scores: Values, items: Rows, shares: Shares, aim: Aim, member: Counts, low: Counts, high: Counts, chosen: Counts
) -> Counts:
    """Return the positions of the chosen candidates in ascending order, (k,).

    `scores` and `items`, (n,), are the candidates, n >= k; an item of row -1 has no categories. Bit r of `member` is
    set for an item in group r; `low[r]` to `high[r]` members of it are allowed. `chosen`, (k,), is a set to begin with,
    whose violations of the rules no swap makes worse; without rules it may be empty.
    """
    none = np.empty(0, np.int64)
    free = swapped(scores, items, shares, aim, member, none, none, greedy_set(scores, items, shares, aim))
    if len(low):
        low, high = low.copy(), high.copy()
        count, free_count = _counts(member, chosen, len(low)), _counts(member, free, len(low))
        keeps = True
        for r in range(len(low)):
            low[r], high[r] = min(low[r], count[r]), max(high[r], count[r])
            keeps = keeps and low[r] <= free_count[r] <= high[r]
        if not keeps:
            free = swapped(scores, items, shares, aim, member, low, high, chosen.copy())
    return np.sort(free)


@njit(cache=True, nogil=True)
def greedy_set(scores: Values, items: Rows, shares: Shares, aim: Aim) -> Counts:
    """Return the positions of k candidates, each the one that adds most to those before it, in that order.

    Gains only fall as the set grows, so a candidate whose last gain does not exceed the best one is not looked at.
    """
    n, mass, worth = len(scores), np.zeros(len(aim.target)), _worth_of_none(aim)
    upper, chosen = np.full(n, np.inf), np.empty(aim.k, np.int64)
    for j in range(aim.k):
        best, best_gain = -1, -np.inf
        for i in range(n):
            if upper[i] <= best_gain:
                continue
            upper[i] = scores[i] + _added(items[i], 1.0, shares, aim, mass, worth)
            if upper[i] > best_gain:
                best, best_gain = i, upper[i]
        chosen[j], upper[best] = best, -np.inf
        _move(items[best], 1.0, shares, aim, mass, worth)
    return chosen


@njit(cache=True, nogil=True)
def swapped(
    scores: Values, items: Rows, shares: Shares, aim: Aim, member: Counts, low: Counts, high: Counts, chosen: Counts
) -> Counts:
    """Return a set that no swap of one item improves, within the bounds on groups, from `chosen`, in place.

    A swap of items without a common category is worth the sum of the two changes; with one it is worth more, but at
    most what the new item adds less the score of the old one. So most pairs need no logarithm.
    """
    n, k, n_rules = len(scores), aim.k, len(low)
    mass, worth, inside = np.zeros(len(aim.target)), _worth_of_none(aim), np.zeros(n, np.bool_)
    bits = np.zeros(n, np.int64)  # categories of an item; those that are 64 apart share a bit
    for i in range(n):
        if items[i] >= 0:
            for t in range(shares.start[items[i]], shares.start[items[i] + 1]):
                bits[i] |= np.int64(1) << (shares.codes[t] & 63)
    for o in chosen:
        inside[o] = True
        _move(items[o], 1.0, shares, aim, mass, worth)
    count = _counts(member, chosen, n_rules)
    adds, removes, changed = scores.copy(), np.empty(k), np.int64(-1)
    least = TOLERANCE * max(abs(scores[0]), abs(scores[n - 1]), aim.strength)
    for _ in range(MAX_SWAPS):
        at_low, at_high, lowest = np.int64(0), np.int64(0), np.inf
        for r in range(n_rules):
            at_low |= np.int64(count[r] <= low[r]) << r
            at_high |= np.int64(count[r] >= high[r]) << r
        for i in range(n):
            if bits[i] & changed and not inside[i]:
                adds[i] = scores[i] + _added(items[i], 1.0, shares, aim, mass, worth)
        for j in range(k):
            o = chosen[j]
            removes[j] = _added(items[o], -1.0, shares, aim, mass, worth) - scores[o]
            lowest = min(lowest, scores[o])
        best_gain, best_in, best_out = least, -1, -1
        for i in range(n):
            if inside[i] or adds[i] - lowest <= best_gain:
                continue
            for j in range(k):
                o = chosen[j]
                if adds[i] - scores[o] <= best_gain:
                    continue
                if member[o] & ~member[i] & at_low or member[i] & ~member[o] & at_high:
                    continue
                gain = adds[i] + removes[j]
                if bits[i] & bits[o]:
                    gain += _together(items[i], items[o], shares, aim, mass, worth)
                if gain > best_gain:
                    best_gain, best_in, best_out = gain, i, j
        if best_in < 0:
            break
        o = chosen[best_out]
        _move(items[o], -1.0, shares, aim, mass, worth)
        _move(items[best_in], 1.0, shares, aim, mass, worth)
        inside[o], inside[best_in], chosen[best_out] = False, True, best_in
        changed = bits[o] | bits[best_in]
        for r in range(n_rules):
            count[r] += (member[best_in] >> r & 1) - (member[o] >> r & 1)
    return chosen


@njit(cache=True, nogil=True, inline="always")
def _worth(aim: Aim, c: int, mass: float) -> float:
    """Return the value of some mass of a category, which has a target above 0."""
    p = aim.target[c]
    return aim.strength * p * np.log((1 - SMOOTHING) * max(mass, 0.0) / aim.k + SMOOTHING * p)


@njit(cache=True, nogil=True)
def _worth_of_none(aim: Aim) -> Values:
    """Return the value of a mass of 0 of each category, (C,); 0 where the target is 0."""
    worth = np.zeros(len(aim.target))
    for c in range(len(worth)):
        if aim.target[c] > 0:
            worth[c] = _worth(aim, c, 0.0)
    return worth


@njit(cache=True, nogil=True)
def _added(item: int, sign: float, shares: Shares, aim: Aim, mass: Values, worth: Values) -> float:
    """Return by how much the value of the categories changes if an item is added (sign 1) or removed (-1)."""
    change = 0.0
    if item >= 0:
        for t in range(shares.start[item], shares.start[item + 1]):
            c = shares.codes[t]
            if aim.target[c] > 0:
                change += _worth(aim, c, mass[c] + sign * shares.share[t]) - worth[c]
    return change


@njit(cache=True, nogil=True)
def _move(item: int, sign: float, shares: Shares, aim: Aim, mass: Values, worth: Values) -> None:
    """Add an item to the mass of its categories (sign 1) or remove it (-1), and update their value, in place."""
    if item >= 0:
        for t in range(shares.start[item], shares.start[item + 1]):
            c = shares.codes[t]
            mass[c] += sign * shares.share[t]
            if aim.target[c] > 0:
                worth[c] = _worth(aim, c, mass[c])


@njit(cache=True, nogil=True)
def _together(into: int, out: int, shares: Shares, aim: Aim, mass: Values, worth: Values) -> float:
    """Return what a swap is worth above the sum of adding one item and removing the other, by common categories."""
    more, t, u = 0.0, shares.start[into], shares.start[out]
    while t < shares.start[into + 1] and u < shares.start[out + 1]:
        c = shares.codes[t]
        if c < shares.codes[u]:
            t += 1
        elif c > shares.codes[u]:
            u += 1
        else:
            if aim.target[c] > 0:
                both = _worth(aim, c, mass[c] + shares.share[t] - shares.share[u]) + worth[c]
                more += both - _worth(aim, c, mass[c] + shares.share[t]) - _worth(aim, c, mass[c] - shares.share[u])
            t += 1
            u += 1
    return more


@njit(cache=True, nogil=True)
def _counts(member: Counts, chosen: Counts, n_rules: int) -> Counts:
    """Return how many of the chosen items are in each group, (R,)."""
    count = np.zeros(n_rules, np.int64)
    for i in chosen:
        for r in range(n_rules):
            count[r] += member[i] >> r & 1
    return count
