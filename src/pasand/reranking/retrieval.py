"""`WithGroups`: candidates of a retriever, and the best items that the rules of a policy need in the list."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numba import njit

from pasand.contracts import Retriever
from pasand.reranking.counted_search import Counts
from pasand.reranking.rules.groups import Groups
from pasand.reranking.rules.rule import NEARLY, Rule
from pasand.types import Array, Candidates, Mask, Queries, Rows, Scores

TWICE, FEWEST = 20, 5
"""Length of a list for whose rules there are enough candidates twice over, and the least number that is enough."""


@dataclass(frozen=True)
class WithGroups:
    """Returns what a retriever returns, followed by the best items of each group with a minimum, if it has too few.

    If the retriever found too few items of such a group for the rule, in a list of `list_length` or twice over in a
    list of 20, it is called again with only that group allowed; likewise for the items outside a group with a
    maximum. Items that are added get scores that do not exceed the last one of the list, since the scores of two
    calls need not be comparable; let a stage rank them by a model.
    """

    retriever: Retriever
    groups: Groups
    per_group: int = 20
    """Items that are added, at least, of a group with a minimum or outside one with a maximum."""
    list_length: int = 50
    """Slots of the longest list for which there are enough of these."""

    def __post_init__(self) -> None:
        for name in ("per_group", "list_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def __call__(self, queries: Queries) -> Candidates:
        """Return the candidates, (B, K), with K above k where items were added."""
        candidates = self.retriever(queries)
        void = self.groups.void(queries.features, len(queries))
        count, size = self._counted(queries, candidates)
        for r, inside, enough in self._needs:
            found = count[:, r] if inside else size - count[:, r]
            few = found < enough
            if few.any() and len(short := np.flatnonzero(few & ((void >> r & 1) == 0))):
                candidates = self._extended(queries, candidates, short, r, inside, max(enough, self.per_group))
                count, size = self._counted(queries, candidates)
        return candidates

    @cached_property
    def _needs(self) -> list[tuple[int, bool, int]]:
        """The rules that need items, whether these are in or outside the group, and how many are enough."""
        return [
            (r, inside, max(2 * _needed(rule, inside, TWICE), _needed(rule, inside, self.list_length), FEWEST))
            for r, rule in enumerate(self.groups.rules)
            for needed, inside in ((rule.has_minimum, True), (rule.has_maximum and not rule.each, False))
            if needed
        ]

    def _counted(self, queries: Queries, candidates: Candidates) -> tuple[Counts, Counts]:
        """Return the candidates of each group, (B, R), and all, (B,)."""
        bits = self.groups.member(candidates.items, queries.time, queries.features)
        found: tuple[Counts, Counts] = _counts(np.ascontiguousarray(candidates.items), bits, len(self.groups.rules))
        return found

    def _extended(
        self, queries: Queries, candidates: Candidates, short: Array, rule: int, inside: bool, wanted: int
    ) -> Candidates:
        """Return the candidates with up to `wanted` items in or outside a rule's group at the end of some lists."""
        some = queries.take(short)
        mask = self.groups.mask(rule, some.time, some.features)
        some = replace(some, k=wanted, allowed=both(some.allowed, mask if inside else ~mask))
        found = self.retriever(some)
        before = candidates.items.shape[1]
        items = np.pad(candidates.items, ((0, 0), (0, wanted)), constant_values=-1)
        scores = np.pad(candidates.scores, ((0, 0), (0, wanted)), constant_values=-np.inf)
        _append(items, scores, short, np.ascontiguousarray(found.items), np.ascontiguousarray(found.scores))
        width = max(before, int((items >= 0).sum(axis=1).max(initial=0)))
        return Candidates(items=items[:, :width], scores=scores[:, :width])


@njit(cache=True, nogil=True)
def _counts(items: Rows, bits: Counts, n_rules: int) -> tuple[Counts, Counts]:
    count, size = np.zeros((len(items), n_rules), np.int64), np.zeros(len(items), np.int64)
    for b in range(len(items)):
        for i in range(items.shape[1]):
            if items[b, i] >= 0:
                size[b] += 1
                for r in range(n_rules):
                    count[b, r] += bits[b, i] >> r & 1
    return count, size


@njit(cache=True, nogil=True)
def _append(items: Rows, scores: Scores, short: Counts, more: Rows, more_scores: Scores) -> None:
    """Append further items to the lists `short`, in place, without those that a list has; scores do not rise."""
    for s in range(len(short)):
        b, size = short[s], 0
        while size < items.shape[1] and items[b, size] >= 0:
            size += 1
        last, have = scores[b, size - 1] if size else np.float32(np.inf), size
        for j in range(more.shape[1]):
            new = more[s, j] >= 0
            for i in range(have if new else 0):
                if items[b, i] == more[s, j]:
                    new = False
                    break
            if new:
                items[b, size], scores[b, size] = more[s, j], min(more_scores[s, j], last)
                size += 1


def _needed(rule: Rule, inside: bool, length: int) -> int:
    """Return how many items in or outside the group of a rule a list of some length must have."""
    share = rule.min_share if inside else 1 - (1.0 if rule.max_share is None else rule.max_share)
    slots, low, high = rule.bounds(length)
    return max(low if inside else slots - high, math.ceil((share or 0) * length - NEARLY))


def both(one: Mask | None, other: Mask) -> Mask:
    """Return the items that two masks allow, (1 or B, N)."""
    if one is None:
        return other
    width = min(one.shape[1], other.shape[1])
    both: Mask = one[:, :width] & other[:, :width]
    return both
