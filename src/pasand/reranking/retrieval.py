"""`WithGroups`: candidates of a retriever, and the best items that the rules of a policy need in the list."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pasand.contracts import Retriever
from pasand.reranking.rules.groups import Groups
from pasand.reranking.rules.rule import NEARLY, Rule
from pasand.types import Array, Candidates, Mask, Queries

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
        bits = self.groups.member(candidates.items, queries.time, queries.features)
        for r, rule in enumerate(self.groups.rules):
            for needed, inside in ((rule.has_minimum, True), (rule.has_maximum and not rule.each, False)):
                if not needed:
                    continue
                enough = max(2 * _needed(rule, inside, TWICE), _needed(rule, inside, self.list_length), FEWEST)
                found = np.count_nonzero(((bits >> r & 1) == inside) & (candidates.items >= 0), axis=1)
                short = np.flatnonzero((found < enough) & ((void >> r & 1) == 0))
                if len(short):
                    candidates = self._extended(queries, candidates, short, r, inside, max(enough, self.per_group))
                    bits = self.groups.member(candidates.items, queries.time, queries.features)
        return candidates

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
        for b, more, more_scores in zip(short.tolist(), found.items, found.scores, strict=True):
            size = int((items[b] >= 0).sum())
            new = (more >= 0) & ~np.isin(more, items[b, :size])
            n = int(new.sum())
            last = scores[b, size - 1] if size else np.float32(np.inf)
            items[b, size : size + n] = more[new]
            scores[b, size : size + n] = np.minimum(more_scores[new], last)
        width = max(before, int((items >= 0).sum(axis=1).max(initial=0)))
        return Candidates(items=items[:, :width], scores=scores[:, :width])


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
