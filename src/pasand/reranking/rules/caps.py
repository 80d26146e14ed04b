"""Caps: rules with `each`, at most a number of items of each value of a feature, beside other rules.

A feature may have thousands of values, but few of them are broken by the best list. So the list is found without the
caps, each value of which it has too many becomes a rule on the group of its items, and this is repeated until no cap is
broken. The list is then the best of those that keep all caps, as it is the best of those that keep some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numba import njit

from pasand.data.bags import Bags
from pasand.reranking.counted_search import Counts, Values
from pasand.types import Array, Mask, Offsets, Rows

MAX_VALUES = 24
"""Values that become rules at most; of further ones, all but as many candidates as the cap allows are dropped."""

Solve = Callable[[Values, Counts, Counts, Counts, list[int]], tuple[Counts, Counts, float]]
"""Takes scores, (n,), groups as bits, bounds, (R', m) each, and their rules; returns positions, violations and gap."""


class Caps:
    """The rules of one list whose caps become rules on single values, of n candidates and m slots."""

    def __init__(self, member: Counts, low: Counts, high: Counts, values: Mapping[int, Bags]) -> None:
        """Begin without any value: `values` are those of the n candidates by rule, none where one is not counted."""
        self._member, self._low, self._high, self._values = member, low, high, values
        self.limits = {r: high[r].copy() for r in values}
        """(m,) largest count of one value among the first 1, 2, ..., m slots, by rule."""
        self.ruled: dict[int, list[int]] = {r: [] for r in values}
        """Values that are rules, by rule."""

    def rows(self) -> tuple[Counts, Counts, Counts, list[int]]:
        """Return groups, (n,), bounds, (R', m) each, and the rule behind each of these R' rows, in order."""
        if not self._values:
            return self._member, self._low, self._high, list(range(len(self._low)))
        member, low, high = np.zeros_like(self._member), [], []
        owner: list[int] = []
        for r in range(len(self._low)):
            inside = [self._member >> r & 1]
            if r in self._values:
                inside = [_with(self._values[r], value) for value in self.ruled[r]]
            for one in inside:
                member |= one << len(owner)
                low.append(self._low[r])
                high.append(self.limits.get(r, self._high[r]))
                owner.append(r)
        shape = (len(owner), self._low.shape[1])
        return member, np.array(low, np.int64).reshape(shape), np.array(high, np.int64).reshape(shape), owner

    def broken(self, chosen: Counts) -> list[tuple[int, int]]:
        """Return the rule and the value of each cap that a list breaks, by slot; `chosen` are positions by slot."""
        return [
            (r, value)
            for r, values in self._values.items()
            for value in over(values.codes, values.start, chosen, self.limits[r]).tolist()
        ]

    def kept(self) -> Mask:
        """Return which candidates an optimum that keeps all rules may need, (n,).

        They are the best of those with the same groups and values, as many as the tightest cap on the whole list that
        concerns them.
        """
        n, m = len(self._member), self._low.shape[1]
        key, most = self._member.copy(), np.full(n, m)
        for r, values in self._values.items():
            key = key * np.int64(1_000_003) + _keys(values.codes, values.start)
            counted = np.diff(values.start) > 0
            most[counted] = np.minimum(most[counted], self.limits[r][-1])
        kept: Mask = _first_of_key(key, most)
        return kept

    def loosen(self, rule: int) -> None:
        """Allow one item more of each value of a rule, on each prefix that it bounds."""
        m = len(self.limits[rule])
        self.limits[rule] = np.minimum(self.limits[rule] + (self._high[rule] < m), m)

    def select(self, which: Mask) -> Caps:
        """Return the caps of some of the candidates, with the same limits and values."""
        rows = np.flatnonzero(which)
        values = {r: bags.select(rows) for r, bags in self._values.items()}
        caps = Caps(self._member[rows], self._low, self._high, values)
        caps.limits, caps.ruled = self.limits, self.ruled
        return caps

    def without(self, rule: int, value: int, preferred: Counts, n_kept: int) -> Mask:
        """Return the candidates, (n,), of which only `n_kept` have a value: those preferred, then the best."""
        with_value = np.flatnonzero(_with(self._values[rule], value))
        order = np.argsort(~np.isin(with_value, preferred), kind="stable")
        kept = np.ones(len(self._member), np.bool_)
        kept[with_value[order[n_kept:]]] = False
        return kept


def best_capped(solve: Solve, scores: Values, caps: Caps, weights: Values) -> tuple[Counts, float]:
    """Return the positions of the chosen items by slot, (m,), of n >= m candidates, and the gap to the optimum.

    If the caps cannot hold with the rules before them, the largest excess over the limit is as small as possible. The
    gap is inf where a violation was not proven to be least, and where dropped candidates could have kept a rule.
    """
    m = len(weights)
    positions, bound, dropped, feasible = np.arange(len(scores)), np.inf, False, True
    while True:
        kept = caps.kept()
        if not feasible:  # a cap may have to give way to a rule before it
            kept[:] = True
        elif kept.sum() < m:
            if len(caps.limits) == 1:  # the cap cannot hold, whatever the other rules are
                caps.loosen(next(iter(caps.limits)))
                continue
            kept[:] = True
        some, at = caps.select(kept), np.flatnonzero(kept)
        member, low, high, owner = some.rows()
        chosen, violation, gap = solve(scores[at], member, low, high, owner)
        broken = [r for r, by in zip(owner, violation.tolist(), strict=True) if by and r in caps.limits]
        if violation.any() and not kept.all():
            feasible = False
            continue
        if broken:
            caps.loosen(broken[0])
            continue
        value = float((weights * scores[at[chosen]]).sum())
        if not dropped:
            bound = value + gap
        elif violation.any():
            bound = np.inf
        over_limit = some.broken(chosen)
        if not over_limit:
            return positions[at[chosen]], max(0.0, bound - value) if dropped else gap
        room = MAX_VALUES - len([r for r in owner if r in caps.limits])
        for r, one in over_limit[:room]:
            caps.ruled[r].append(one)
        if room <= 0:
            r, one = over_limit[0]
            few = caps.without(r, one, at[chosen], int(caps.limits[r].min()))
            if few.sum() < m:
                caps.loosen(r)
                continue
            caps, scores, positions, dropped = caps.select(few), scores[few], positions[few], True


def _with(values: Bags, value: int) -> Counts:
    """Return whether each row has a value, as 0 or 1, (n,)."""
    found = np.zeros(len(values), np.int64)
    found[values.row_of_code()[values.codes == value]] = 1
    return found


@njit(cache=True, nogil=True)
def over(codes: Rows, start: Offsets, chosen: Counts, limit: Counts) -> Array:
    """Return the values of which the first slots have more items than the limit, in the order of the slots.

    Row i has the values `codes[start[i]:start[i + 1]]`; `chosen` are rows by slot, (m,), and `limit`, (m,), is that of
    the first 1, 2, ..., m slots.
    """
    size = 0
    for i in chosen:
        size += start[i + 1] - start[i]
    seen, count, found, n_seen, n_found = (
        np.empty(size, np.int64),
        np.zeros(size, np.int64),
        np.empty(size, np.int64),
        0,
        0,
    )
    for j in range(len(chosen)):
        for t in range(start[chosen[j]], start[chosen[j] + 1]):
            v = 0
            while v < n_seen and seen[v] != codes[t]:
                v += 1
            if v == n_seen:
                seen[v] = codes[t]
                n_seen += 1
            count[v] += 1
        for v in range(n_seen):
            if count[v] > limit[j]:
                listed = False
                for f in range(n_found):
                    listed = listed or found[f] == seen[v]
                if not listed:
                    found[n_found] = seen[v]
                    n_found += 1
    return found[:n_found]


@njit(cache=True, nogil=True)
def _keys(codes: Rows, start: Offsets) -> Counts:
    """Return a number for the values of each row, (n,), equal for rows with equal values and hardly ever otherwise."""
    keys = np.zeros(len(start) - 1, np.int64)
    for i in range(len(keys)):
        for t in range(start[i], start[i + 1]):
            keys[i] = (keys[i] + codes[t] + 1) * np.int64(-7046029254386353131)
    return keys


@njit(cache=True, nogil=True)
def _first_of_key(key: Counts, most: Counts) -> Mask:
    """Return which rows are among the first `most` of their key, (n,)."""
    kept = np.ones(len(key), np.bool_)
    order = np.argsort(key, kind="mergesort")
    rank = 0
    for t in range(len(order)):
        rank = rank + 1 if t and key[order[t]] == key[order[t - 1]] else 0
        kept[order[t]] = rank < most[order[t]]
    return kept
