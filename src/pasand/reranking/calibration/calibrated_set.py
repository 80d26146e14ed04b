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
    scores: Values,
    items: Rows,
    codes: Rows,
    share: Values,
    start: Offsets,
    target: Values,
    strength: float,
    member: Counts,
    low: Counts,
    high: Counts,
    chosen: Counts,
) -> Counts:
    """Return the positions of the chosen candidates in ascending order, (k,).

    `scores` and `items`, (n,), are the candidates, n >= k; an item of row -1 has no categories. `codes`, `share` and
    `start` are those of `Shares`, `target` and `strength` those of `Aim`. Bit r of `member` is set for an item in group
    r; `low[r]` to `high[r]` members of it are allowed. `chosen`, (k,), is a set that keeps these rules; if they cannot
    hold, no rule is violated more than by this set. Swaps begin with it where the greedy set violates a rule.
    """
    aim = Aim(target, strength, len(chosen))
    local = of_candidates(items, Shares(codes, share, start), aim)
    first = greedy_set(scores, local, aim)
    low, high = low.copy(), high.copy()
    count, of_greedy = _counts(member, chosen, len(low)), _counts(member, first, len(low))
    keeps = True
    for r in range(len(low)):
        low[r], high[r] = min(low[r], count[r]), max(high[r], count[r])
        keeps = keeps and low[r] <= of_greedy[r] <= high[r]
    found: Counts = swapped(scores, local, aim, member, low, high, first if keeps else chosen.copy())
    inside, k = np.zeros(len(scores), np.bool_), 0
    for i in found:
        inside[i] = True
    for i in range(len(scores)):
        if inside[i]:
            found[k] = i
            k += 1
    return found


@njit(cache=True, nogil=True)
def of_candidates(items: Rows, shares: Shares, aim: Aim) -> Shares:
    """Return the categories by position of a candidate, (n,), in place of its row; only those with a target above 0."""
    start, size = np.zeros(len(items) + 1, np.int64), 0
    for item in items:
        if item >= 0:
            size += shares.start[item + 1] - shares.start[item]
    codes, share, size = np.empty(size, np.int32), np.empty(size), 0
    for i, item in enumerate(items):
        if item >= 0:
            for t in range(shares.start[item], shares.start[item + 1]):
                if aim.target[shares.codes[t]] > 0:
                    codes[size], share[size] = shares.codes[t], shares.share[t]
                    size += 1
        start[i + 1] = size
    return Shares(codes[:size], share[:size], start)


@njit(cache=True, nogil=True)
def greedy_set(scores: Values, local: Shares, aim: Aim) -> Counts:
    """Return the positions of k candidates, each the one that adds most to those before it, in that order.

    Gains only fall as the set grows, so a candidate whose last gain does not exceed the best one is not looked at, and
    one whose categories have not changed since keeps its gain.
    """
    n, mass, worth, bits = len(scores), np.zeros(len(aim.target)), _worth_of_none(aim), _bits(local)
    upper, stale, chosen = np.empty(n), np.zeros(n, np.bool_), np.empty(aim.k, np.int64)
    gains = np.empty(len(local.codes))
    for i in range(n):
        upper[i] = scores[i] + _adds(i, local, aim, mass, worth, gains)
    for j in range(aim.k):
        first = 0
        for i in range(n):
            if upper[i] > upper[first]:
                first = i
        if stale[first]:
            upper[first], stale[first] = scores[first] + _adds(first, local, aim, mass, worth, gains), False
        best, best_gain = first, upper[first]
        for i in range(n):
            if upper[i] < best_gain:
                continue
            if stale[i]:
                upper[i], stale[i] = scores[i] + _adds(i, local, aim, mass, worth, gains), False
            if upper[i] > best_gain or (upper[i] == best_gain and i < best):
                best, best_gain = i, upper[i]
        chosen[j], upper[best] = best, -np.inf
        _move(best, 1.0, local, aim, mass, worth)
        for i in range(n):
            stale[i] = stale[i] or bits[i] & bits[best] != 0
    return chosen


@njit(cache=True, nogil=True)
def swapped(
    scores: Values, local: Shares, aim: Aim, member: Counts, low: Counts, high: Counts, chosen: Counts
) -> Counts:
    """Return a set that no swap of one item improves, within the bounds on groups, from `chosen`, in place.

    A swap of items without a common category is worth the sum of the two changes; with one it is worth more, but at
    most what the new item adds less the score of the old one. So most pairs need no logarithm.
    """
    n, k, n_rules = len(scores), aim.k, len(low)
    mass, worth, inside, bits = np.zeros(len(aim.target)), _worth_of_none(aim), np.zeros(n, np.bool_), _bits(local)
    for o in chosen:
        inside[o] = True
        _move(o, 1.0, local, aim, mass, worth)
    count = _counts(member, chosen, n_rules)
    gains, losses = np.empty(len(local.codes)), np.empty(len(local.codes))
    adds, removes, changed = scores.copy(), np.empty(k), np.int64(-1)
    least = TOLERANCE * max(abs(scores[0]), abs(scores[n - 1]), aim.strength)
    for _ in range(MAX_SWAPS):
        at_low, at_high, lowest = np.int64(0), np.int64(0), np.inf
        for r in range(n_rules):
            at_low |= np.int64(count[r] <= low[r]) << r
            at_high |= np.int64(count[r] >= high[r]) << r
        for i in range(n):
            if bits[i] & changed and not inside[i]:
                adds[i] = scores[i] + _adds(i, local, aim, mass, worth, gains)
        for j in range(k):
            o = chosen[j]
            removes[j] = -scores[o]
            for t in range(local.start[o], local.start[o + 1]):
                c = local.codes[t]
                losses[t] = worth[c] - _worth(aim, c, mass[c] - local.share[t])
                removes[j] -= losses[t]
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
                    gain += _together(i, o, local, aim, mass, worth, gains, losses)
                if gain > best_gain:
                    best_gain, best_in, best_out = gain, i, j
        if best_in < 0:
            break
        o = chosen[best_out]
        _move(o, -1.0, local, aim, mass, worth)
        _move(best_in, 1.0, local, aim, mass, worth)
        inside[o], inside[best_in], chosen[best_out] = False, True, best_in
        changed = bits[o] | bits[best_in]
        for r in range(n_rules):
            count[r] += (member[best_in] >> r & 1) - (member[o] >> r & 1)
    return chosen


@njit(cache=True, nogil=True)
def _bits(local: Shares) -> Counts:
    """Return the categories of each candidate as bits, (n,); categories that are 64 apart share one."""
    bits = np.zeros(len(local.start) - 1, np.int64)
    for i in range(len(bits)):
        for t in range(local.start[i], local.start[i + 1]):
            bits[i] |= np.int64(1) << (local.codes[t] & 63)
    return bits


@njit(cache=True, nogil=True, inline="always")
def _worth(aim: Aim, c: int, mass: float) -> float:
    """Return the value of some mass of a category, which has a target above 0."""
    p = aim.target[c]
    return float(aim.strength * p * np.log((1 - SMOOTHING) * max(mass, 0.0) / aim.k + SMOOTHING * p))


@njit(cache=True, nogil=True)
def _worth_of_none(aim: Aim) -> Values:
    """Return the value of a mass of 0 of each category, (C,); 0 where the target is 0."""
    worth = np.zeros(len(aim.target))
    for c in range(len(worth)):
        if aim.target[c] > 0:
            worth[c] = _worth(aim, c, 0.0)
    return worth


@njit(cache=True, nogil=True)
def _adds(i: int, local: Shares, aim: Aim, mass: Values, worth: Values, gains: Values) -> float:
    """Return what a candidate adds to the value of the categories; `gains` gets what it adds to each of its own."""
    total = 0.0
    for t in range(local.start[i], local.start[i + 1]):
        c = local.codes[t]
        gains[t] = _worth(aim, c, mass[c] + local.share[t]) - worth[c]
        total += gains[t]
    return total


@njit(cache=True, nogil=True)
def _move(i: int, sign: float, local: Shares, aim: Aim, mass: Values, worth: Values) -> None:
    """Add a candidate to the mass of its categories (sign 1) or remove it (-1), and update their value, in place."""
    for t in range(local.start[i], local.start[i + 1]):
        c = local.codes[t]
        mass[c] += sign * local.share[t]
        worth[c] = _worth(aim, c, mass[c])


@njit(cache=True, nogil=True)
def _together(
    into: int, out: int, local: Shares, aim: Aim, mass: Values, worth: Values, gains: Values, losses: Values
) -> float:
    """Return what a swap is worth above the sum of adding one item and removing the other, by common categories."""
    more, t, u = 0.0, local.start[into], local.start[out]
    while t < local.start[into + 1] and u < local.start[out + 1]:
        c = local.codes[t]
        if c < local.codes[u]:
            t += 1
        elif c > local.codes[u]:
            u += 1
        else:
            more += losses[u] - gains[t]
            if local.share[t] != local.share[u]:
                more += _worth(aim, c, mass[c] + local.share[t] - local.share[u]) - worth[c]
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
