"""`Rules`: the best list that keeps the rules of a policy on shares or counts of item groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.fair_topk import minimum_counts
from pasand.reranking.groups import Groups, Rule
from pasand.reranking.prefix_rules import best_order
from pasand.reranking.set_rules import best_set
from pasand.types import Array, Candidates, Mask, Queries, Scores

MAX_LENGTHS = 64
"""Lengths of lists whose bounds are kept."""


@dataclass(frozen=True)
class Rules:
    """Returns the k candidates of the highest total score among the lists that keep all rules, best first.

    The total weighs the score in a slot by the discount of DCG or equally; scores may be shifted by any constant. Lists
    are as long as without rules. If the rules cannot all hold, the violation of the first one is least, then that of
    the second, and so on; `notes` names those that do not hold. Rules on whole lists are kept by `set_rules`, rules on
    prefixes by `prefix_rules`. Both find the optimum or, beyond their budget, a list that keeps the rules and is nearly
    optimal. The scores of items below one that a rule raised are lowered to its score, as scores may not rise.
    """

    groups: Groups
    discount: Literal["log2", "none"] = "log2"
    """Weight of slot j in the total: 1 / log2(j + 1), or 1."""
    budget: int = 100_000
    """States that the search for the optimum of one list may visit, some milliseconds."""

    _by_length: dict[int, tuple[Counts, Counts, bool]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Bounds by the number of slots that are filled."""

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"budget must be positive, got {self.budget}")

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the chosen candidates, (B, min(k, K))."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k)
        member = self.groups.member(candidates.items, queries.time)
        positions, _ = self.solved(candidates, member, k)
        inside = positions >= 0
        positions = np.where(inside, positions, 0)
        items = np.where(inside, np.take_along_axis(candidates.items, positions, axis=1), np.int32(-1))
        scores = np.where(inside, np.take_along_axis(candidates.scores, positions, axis=1), np.float32(-np.inf))
        propensity = candidates.propensity
        return Candidates(
            items=items,
            scores=np.minimum.accumulate(scores, axis=1),
            propensity=None if propensity is None else np.take_along_axis(propensity, positions, axis=1),
        )

    def solved(self, candidates: Candidates, member: Array, k: int) -> tuple[Array, Values]:
        """Return the positions of the chosen candidates, (B, k), -1 at padding, and the gap to the optimum, (B,).

        `member`, (B, K), are the groups of the candidates as bits. The gap is 0 for a list that is proven optimal, and
        inf where the violation of a rule was not proven to be least.
        """
        available = np.count_nonzero(candidates.items >= 0, axis=1)
        slots = np.minimum(available, k)
        positions, gaps = np.full((len(slots), k), -1, np.int64), np.zeros(len(slots))
        for m in np.unique(slots[slots > 0]).tolist():
            which = np.flatnonzero(slots == m)
            low, high, prefix = self.bounds(m)
            weights = 1 / np.log2(np.arange(m) + 2.0) if self.discount == "log2" else np.ones(m)
            for b in which.tolist():
                values, bits = finite(candidates.scores[b, : available[b]]), member[b, : available[b]].copy()
                if prefix:
                    positions[b, :m], _, gaps[b] = best_order(values, bits, weights, low, high, self.budget)
                else:
                    last = low[:, -1].copy(), high[:, -1].copy()
                    positions[b, :m], _, gaps[b] = best_set(values, bits, weights, *last, self.budget)
        return positions, gaps

    def notes(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return for each final list which rules do not hold in it, as sentences."""
        items = candidates.items[:, : queries.k]
        member, slots = self.groups.member(items, queries.time), np.count_nonzero(items >= 0, axis=1)
        notes: list[list[str]] = [[] for _ in items]
        for b, m in enumerate(slots.tolist()):
            low, high, _ = self.bounds(m)
            for r in np.flatnonzero(_broken(member[b, :m], low, high)).tolist():
                notes[b].append(_sentence(self.groups.rules[r], member[b, :m] >> r & 1, low[r], high[r]))
        return notes

    def bounds(self, slots: int) -> tuple[Counts, Counts, bool]:
        """Return the bounds on the prefixes of a list of some length, (R, slots), and if any is on a shorter prefix."""
        if slots not in self._by_length:
            low, high = np.zeros((len(self.groups), slots), np.int64), np.full((len(self.groups), slots), slots)
            prefix = False
            for r, rule in enumerate(self.groups.rules):
                lows, highs = bounds_by_prefix(rule.bounds(slots), rule.every_prefix)
                if rule.significance is not None and rule.min_share is not None:
                    lows, _ = minimum_counts(len(lows), rule.min_share, rule.significance)
                low[r, : len(lows)], high[r, : len(lows)] = lows, highs
                prefix = prefix or len(lows) < slots or rule.every_prefix or rule.significance is not None
            if len(self._by_length) >= MAX_LENGTHS:
                self._by_length.clear()
            self._by_length[slots] = low, high, prefix
        return self._by_length[slots]


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


def _sentence(rule: Rule, inside: Array, low: Counts, high: Counts) -> str:
    """Return how a list misses a rule; `inside`, `low` and `high`, (slots,), are its members and bounds by prefix."""
    count = np.cumsum(inside)
    j = int(np.flatnonzero((count < low) | (count > high))[-1])
    required = f"at least {low[j]}" if count[j] < low[j] else f"at most {high[j]}"
    return (
        f"rule {rule.name!r} ({rule}) cannot hold with the candidates and the rules before it: "
        f"{required} of {j + 1} required, {count[j]} found"
    )


@njit(cache=True, nogil=True)
def _broken(member: Counts, low: Counts, high: Counts) -> Mask:
    """Return whether a list breaks each rule, (R,)."""
    broken = np.zeros(len(low), np.bool_)
    for r in range(len(low)):
        count = 0
        for j in range(len(member)):
            count += member[j] >> r & 1
            if count < low[r, j] or count > high[r, j]:
                broken[r] = True
    return broken


def finite(scores: Scores) -> Values:
    """Return the scores of one list as they are compared: items that no model could score follow the others, (n,)."""
    values = scores.astype(np.float64)
    unscored = ~np.isfinite(values)
    if unscored.any():
        lowest = values[~unscored].min(initial=0.0)
        values[unscored] = lowest - np.arange(1, np.count_nonzero(unscored) + 1)
    return values
