"""`Bounds`: what the rules of a policy require of a list of some length, and which of them a list breaks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.rules.fair_topk import minimum_counts
from pasand.reranking.rules.rule import NEARLY, Rule
from pasand.types import Array


class Bounds(NamedTuple):
    """Bounds of R rules on a list of m slots."""

    low: Counts
    """(R, m) least number of members among the first 1, 2, ..., m slots."""
    high: Counts
    """(R, m) largest number; of a rule with `each`, of the members with one value."""
    prefix: bool
    """Whether a rule bounds the members of a shorter prefix."""
    least: Values
    """(R,) least exposure of the group in its slots, the sum of their weights 1 / log2(slot + 1); -inf: no bound."""
    most: Values
    """(R,) largest exposure; inf: no bound."""
    until: Counts
    """(R,) number of slots whose exposure counts."""

    @property
    def weighted(self) -> bool:
        """Whether a rule bounds the exposure."""
        return bool((np.isfinite(self.least) | np.isfinite(self.most)).any())

    def without(self, rules: int) -> Bounds:
        """Return the bounds without those of some rules, given as bits."""
        if not rules:
            return self
        void = (rules >> np.arange(len(self.low)) & 1).astype(np.bool_)
        return self._replace(
            low=np.where(void[:, None], 0, self.low),
            high=np.where(void[:, None], self.high.shape[1], self.high),
            least=np.where(void, -np.inf, self.least),
            most=np.where(void, np.inf, self.most),
        )


@lru_cache(maxsize=64)
def slot_weights(slots: int) -> Values:
    """Return the weights of slots in an exposure, 1 / log2(slot + 1), (slots,), which must not be changed."""
    return np.asarray(1 / np.log2(np.arange(slots) + 2.0))


def bounds_of(rules: Sequence[Rule], slots: int) -> Bounds:
    """Return the bounds of rules on a list of `slots` items."""
    n = len(rules)
    low, high = np.zeros((n, slots), np.int64), np.full((n, slots), slots)
    least, most, until = np.full(n, -np.inf), np.full(n, np.inf), np.full(n, slots)
    prefix = False
    for r, rule in enumerate(rules):
        lows, highs = bounds_by_prefix(rule.bounds(slots), rule.every_prefix)
        if rule.weight == "log2":
            until[r] = len(lows)
            total = float(slot_weights(len(lows)).sum())
            least[r] = -np.inf if rule.min_share is None else rule.min_share * total - NEARLY
            most[r] = np.inf if rule.max_share is None else rule.max_share * total + NEARLY
            continue
        if rule.significance is not None and rule.min_share is not None:
            lows, _ = minimum_counts(len(lows), rule.min_share, rule.significance)
        low[r, : len(lows)], high[r, : len(lows)] = lows, highs
        prefix = prefix or len(lows) < slots or rule.every_prefix or rule.significance is not None
    return Bounds(low, high, prefix, least, most, until)


def bounds_by_prefix(bounds: tuple[int, int, int], every: bool) -> tuple[Array, Array]:
    """Return the least and the largest count on the first 1, 2, ..., m slots, (m,) each.

    `bounds` are m and those on all m slots; shorter prefixes have none, or with `every` their share of them, a minimum
    rounded down and a maximum up.

    >>> bounds_by_prefix((5, 2, 3), True)
    (array([0, 0, 1, 1, 2]), array([1, 2, 2, 3, 3]))
    """
    m, low, high = bounds
    slots = np.arange(1, m + 1)
    if every:
        return low * slots // m, -(-high * slots // m)
    return np.where(slots == m, low, 0), np.where(slots == m, high, m)


def broken(member: Counts, bounds: Bounds) -> Array:
    """Return whether a list, whose (m,) items have their groups as bits, breaks each rule, (R,).

    Rules with `each` are not looked at: see `caps.largest`.
    """
    found: Array = _broken(member, slot_weights(len(member)), *bounds)
    return found


@njit(cache=True, nogil=True)
def _broken(
    member: Counts,
    weights: Values,
    low: Counts,
    high: Counts,
    prefix: bool,
    least: Values,
    most: Values,
    until: Counts,
) -> Array:
    found = np.zeros(len(low), np.bool_)
    for r in range(len(low)):
        count, exposure = 0, 0.0
        for j in range(len(member)):
            if member[j] >> r & 1:
                count += 1
                if j < until[r]:
                    exposure += weights[j]
            if count < low[r, j] or count > high[r, j]:
                found[r] = True
        if exposure < least[r] or exposure > most[r]:
            found[r] = True
    return found


def sentence(rule: Rule, inside: Array, low: Counts, high: Counts) -> str:
    """Return how a list misses a rule; `inside`, `low` and `high`, (m,), are its members and bounds by prefix.

    Of a rule with `each`, `inside` are the members with the value that has too many.
    """
    if rule.weight == "log2":
        m, _, _ = rule.bounds(len(inside))
        weights = slot_weights(m)
        share = float((weights * inside[:m]).sum() / weights.sum())
        short = rule.min_share is not None and share < rule.min_share
        required = (
            f"at least {100 * (rule.min_share or 0):g} %" if short else f"at most {100 * (rule.max_share or 0):g} %"
        )
        found = f"{required} of the exposure of {m} slots required, {100 * share:.3g} % found"
    else:
        count = np.cumsum(inside)
        j = int(np.flatnonzero((count < low) | (count > high))[-1])
        required = f"at least {low[j]}" if count[j] < low[j] else f"at most {high[j]}"
        of = f" of one {rule.each}" if rule.each else ""
        found = f"{required} of {j + 1} required, {count[j]}{of} found"
    return f"rule {rule.name!r} ({rule}) cannot hold with the candidates and the rules before it: {found}"
