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
from pasand.types import Mask, Offsets, Rows

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
    """Return what `calibrated_sets` returns of one list of n candidates, (n,), given `chosen`, (k,); (k,)."""
    n, void = np.array([len(scores)]), np.zeros(1, np.int64)
    lists, groups, begin = (scores[None, :], items[None, :], n), (member[None, :], void, low, high), chosen[None, :]
    found, _ = calibrated_sets(*lists, codes, share, start, target[None, :], strength, *groups, begin, True)
    return np.asarray(found[0])


@njit(cache=True, nogil=True)
def calibrated_sets(
    scores: Values,
    items: Rows,
    available: Counts,
    codes: Rows,
    share: Values,
    start: Offsets,
    target: Values,
    strength: float,
    member: Counts,
    void: Counts,
    low: Counts,
    high: Counts,
    chosen: Counts,
    is_known: bool,
) -> tuple[Counts, Mask]:
    """Return the positions of the chosen candidates in ascending order, (B, k), and which lists lack `chosen`, (B,).

    Of list b the first `available[b]` candidates count, of `scores` and `items`, (B, K); all of at most k are chosen.
    An item of row -1 has no categories. `codes`, `share` and `start` are those of `Shares`, `target`, (B, C), and
    `strength` those of `Aim`. Bit r of `member`, (B, K), is set for an item in group r; `low[r]` to `high[r]` members
    of it are allowed, unless bit r of `void`, (B,), is set. `chosen`, (B, k), are sets that keep these rules; if they
    cannot hold, no rule is violated more than by this set. Swaps begin with it where the greedy set violates a rule.
    Without `is_known` it is not looked at, and lists that need it have no positions.
    """
    k, n_rules = chosen.shape[1], len(low)
    positions, lacks = np.empty(chosen.shape, np.int64), np.zeros(len(scores), np.bool_)
    least, most = low.copy(), high.copy()
    for b in range(len(scores)):
        n = available[b]
        for j in range(k):
            positions[b, j] = j
        if n <= k:
            continue
        aim, values, bits = Aim(target[b], strength, k), scores[b, :n], member[b, :n]
        local = of_candidates(items[b, :n], Shares(codes, share, start), aim)
        found, keeps = greedy_set(values, local, aim), True
        for r in range(n_rules):
            count = of_chosen = 0
            least[r], most[r] = low[r], high[r]
            if void[b] >> r & 1:
                least[r], most[r] = 0, k
            for j in range(k):
                count += bits[found[j]] >> r & 1
                if is_known:
                    of_chosen += bits[chosen[b, j]] >> r & 1
            if is_known:
                least[r], most[r] = min(least[r], of_chosen), max(most[r], of_chosen)
            keeps = keeps and least[r] <= count <= most[r]
        if not keeps:
            if not is_known:
                lacks[b] = True
                continue
            for j in range(k):
                found[j] = chosen[b, j]
        found = swapped(values, local, aim, bits, least, most, found)
        inside, j = np.zeros(n, np.bool_), 0
        for i in found:
            inside[i] = True
        for i in range(n):
            if inside[i]:
                positions[b, j] = i
                j += 1
    return positions, lacks


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

    A candidate whose categories have not changed keeps its gain.
    """
    n, mass, worth, bits = len(scores), np.zeros(len(aim.target)), _worth_of_none(aim), _bits(local)
    value, chosen, changed = scores.copy(), np.empty(aim.k, np.int64), np.int64(-1)
    gains, last, gain = np.empty(len(local.codes)), np.full(len(mass), -1.0), np.empty(len(mass))
    for j in range(aim.k):
        best, best_value = np.int64(-1), -np.inf
        for i in range(n):
            if bits[i] & changed:
                value[i] = scores[i] + _adds(i, local, aim, mass, worth, gains, last, gain)
            if value[i] > best_value:
                best, best_value = np.int64(i), value[i]
        _move(best, 1.0, local, aim, mass, worth, last)
        chosen[j], changed = best, bits[best]
        bits[best], value[best] = 0, -np.inf
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
    gains, last, gain = np.empty(len(local.codes)), np.full(len(mass), -1.0), np.empty(len(mass))
    adds, removes, changed, losses = scores.copy(), np.empty(k), np.int64(-1), np.empty(len(local.codes))
    count = np.zeros(n_rules, np.int64)
    for j in range(k):
        inside[chosen[j]], removes[j] = True, -scores[chosen[j]]
        _move(chosen[j], 1.0, local, aim, mass, worth, last)
        for r in range(n_rules):
            count[r] += member[chosen[j]] >> r & 1
    least = TOLERANCE * max(abs(scores[0]), abs(scores[n - 1]), aim.strength)
    for _ in range(MAX_SWAPS):
        at_low, at_high, lowest = np.int64(0), np.int64(0), np.inf
        for r in range(n_rules):
            at_low |= np.int64(count[r] <= low[r]) << r
            at_high |= np.int64(count[r] >= high[r]) << r
        for j in range(k):
            o = chosen[j]
            lowest = min(lowest, scores[o])
            if bits[o] & changed:
                removes[j] = -scores[o]
                for t in range(local.start[o], local.start[o + 1]):
                    c = local.codes[t]
                    losses[t] = worth[c] - _worth(aim, c, mass[c] - local.share[t])
                    removes[j] -= losses[t]
        best_gain, best_in, best_out = least, -1, -1
        for i in range(n):
            if inside[i]:
                continue
            if bits[i] & changed:
                adds[i] = scores[i] + _adds(i, local, aim, mass, worth, gains, last, gain)
            if adds[i] - lowest <= best_gain:
                continue
            for j in range(k):
                o = chosen[j]
                if adds[i] - scores[o] <= best_gain:
                    continue
                if member[o] & ~member[i] & at_low or member[i] & ~member[o] & at_high:
                    continue
                more = adds[i] + removes[j]
                if bits[i] & bits[o]:
                    more += _together(i, o, local, aim, mass, worth, gains, losses)
                if more > best_gain:
                    best_gain, best_in, best_out = more, i, j
        if best_in < 0:
            break
        o = chosen[best_out]
        _move(o, -1.0, local, aim, mass, worth, last)
        _move(best_in, 1.0, local, aim, mass, worth, last)
        inside[o], inside[best_in], chosen[best_out], removes[best_out] = False, True, best_in, -scores[best_in]
        adds[o], changed = scores[o], bits[o] | bits[best_in]
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
def _adds(
    i: int, local: Shares, aim: Aim, mass: Values, worth: Values, gains: Values, last: Values, gain: Values
) -> float:
    """Return what a candidate adds to the value of the categories; `gains` gets what it adds to each of its own.

    `last` and `gain`, (C,), are the share of each category that was last added, and what it adds.
    """
    total = 0.0
    for t in range(local.start[i], local.start[i + 1]):
        c = local.codes[t]
        if last[c] != local.share[t]:
            last[c], gain[c] = local.share[t], _worth(aim, c, mass[c] + local.share[t]) - worth[c]
        gains[t] = gain[c]
        total += gains[t]
    return total


@njit(cache=True, nogil=True)
def _move(i: int, sign: float, local: Shares, aim: Aim, mass: Values, worth: Values, last: Values) -> None:
    """Add a candidate to the mass of its categories (sign 1) or remove it (-1), and update their value, in place."""
    for t in range(local.start[i], local.start[i + 1]):
        c = local.codes[t]
        mass[c] += sign * local.share[t]
        worth[c], last[c] = _worth(aim, c, mass[c]), -1.0


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
