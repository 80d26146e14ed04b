"""`Rules`: the best list that keeps the rules of a policy on shares or counts of item groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

import numpy as np

from pasand.data.bags import Bags
from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.rules.bounds import Bounds, bounds_of, broken, sentence, slot_weights
from pasand.reranking.rules.caps import Caps, best_capped, over
from pasand.reranking.rules.exposure_rules import best_exposure
from pasand.reranking.rules.groups import Groups, Range, Rule
from pasand.reranking.rules.prefix_rules import best_order
from pasand.reranking.rules.set_rules import best_set, best_sets
from pasand.reranking.scale import finite_lists
from pasand.types import Array, Candidates, Mask, Queries, Rows, Scores

MAX_LENGTHS = 64
"""Lengths of lists whose bounds are kept."""


@dataclass(frozen=True)
class Rules:
    """Returns the k candidates of the highest total score among the lists that keep all rules, best first.

    The total weighs the score in a slot by the discount of DCG or equally; scores may be shifted by any constant. Lists
    are as long as without rules. If the rules cannot all hold, the violation of the first one is least, then that of
    the second, and so on; `notes` names those that do not hold, and those that do not apply as the user lacks a value.
    Rules on whole lists are kept by `set_rules`, on prefixes by `prefix_rules`, on shares of the exposure by
    `exposure_rules`, and maxima of each value by `caps`. All find the optimum or, beyond their budget, a list that
    keeps the rules and is nearly optimal. Two exceptions beyond a budget: where several rules with one on the exposure
    can hold only together in few lists, and where more than 24 values have too many items, a rule may be missed that
    could hold; the gap of `solved` is then inf. The scores of items below one that a rule raised are lowered to its
    score, as scores may not rise.
    """

    groups: Groups
    discount: Literal["log2", "none"] = "log2"
    """Weight of slot j in the total: 1 / log2(j + 1), or 1."""
    budget: int = 100_000
    """States that the search for the optimum of one list may visit, some milliseconds."""

    _by_length: dict[int, Bounds] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Bounds by the number of slots that are filled."""
    _whole: dict[int, tuple[Counts, Counts] | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"budget must be positive, got {self.budget}")
        weighted = [rule.name for rule in self.groups.rules if rule.weight == "log2"]
        if weighted and self.discount == "none":
            raise ValueError(f'rule {weighted[0]!r} has weight = "log2", which needs discount = "log2"')

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the chosen candidates, (B, min(k, K))."""
        return self._lists(queries, candidates, 0)

    def without(self, queries: Queries, candidates: Candidates) -> Iterator[tuple[str, Candidates]]:
        """Yield each rule in words, and the lists that the stage would return without it."""
        for r, rule in enumerate(self.groups.rules):
            yield f"rule `{rule.name}`", self._lists(queries, candidates, 1 << r)

    def _lists(self, queries: Queries, candidates: Candidates, ignored: int) -> Candidates:
        """Return the lists without some rules, given as bits."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k)
        positions, _ = self.solved(queries, candidates, k, ignored)
        inside, at = positions >= 0, np.arange(len(positions))[:, None]
        items, scores, propensity = candidates.items[at, positions], candidates.scores[at, positions], None
        if candidates.propensity is not None:
            propensity = candidates.propensity[at, np.where(inside, positions, 0)]
        if not inside.all():
            items, scores = np.where(inside, items, np.int32(-1)), np.where(inside, scores, np.float32(-np.inf))
        return Candidates(items=items, scores=np.minimum.accumulate(scores, axis=1), propensity=propensity)

    def solved(self, queries: Queries, candidates: Candidates, k: int, ignored: int = 0) -> tuple[Array, Values]:
        """Return the positions of the chosen candidates, (B, k), -1 at padding, and the gap to the optimum, (B,).

        `ignored` are rules that do not count, as bits. The gap is 0 for a list that is proven optimal, and inf where
        the violation of a rule was not proven to be least.
        """
        return self.solved_within(self.member(queries, candidates.items), self.void(queries) | ignored, candidates, k)

    def solved_within(self, member: Array, void: Array, candidates: Candidates, k: int) -> tuple[Array, Values]:
        """Return what `solved` does, given the groups of the candidates, (B, K), and the rules that do not count, (B,).

        Both are bits.
        """
        available = np.count_nonzero(candidates.items >= 0, axis=1)
        slots, (values, _) = np.minimum(available, k), finite_lists(candidates.scores, available)
        positions, gaps = np.full((len(slots), k), -1, np.int64), np.zeros(len(slots))
        for m in sorted(set(slots[slots > 0].tolist())):
            weights = self._weights(m)
            which: Array | slice = np.flatnonzero(slots == m) if len(slots) > 1 else slice(None)
            if self.whole(m) is not None:
                lists = values[which], member[which], available[which], void[which]
                positions[which, :m], gaps[which] = self.best_whole(*lists, m)
                continue
            for b in np.arange(len(slots))[which].tolist():
                n, bounds = available[b], self.bounds(m).without(int(void[b]))
                bits, solve = member[b, :n].copy(), partial(self._best, bounds, weights)
                if self.capped:
                    caps = self.caps(candidates.items[b, :n], bits, bounds)
                    positions[b, :m], gaps[b] = best_capped(solve, values[b, :n], caps, weights)
                else:
                    positions[b, :m], _, gaps[b] = solve(values[b, :n], bits, bounds.low, bounds.high, slice(None))
        return positions, gaps

    def best_whole(self, scores: Values, member: Array, available: Counts, void: Array, m: int) -> tuple[Array, Values]:
        """Return what `solved` does, of lists of m slots with rules on whole lists; see `whole` and `best_sets`."""
        whole = self.whole(m)
        assert whole is not None
        positions, _, gaps = best_sets(scores, member, available, void, self._weights(m), *whole, self.budget)
        return positions, gaps

    def _weights(self, slots: int) -> Values:
        """Return the weights of slots in the total, (slots,)."""
        return slot_weights(slots) if self.discount == "log2" else np.ones(slots)

    def _best(
        self,
        bounds: Bounds,
        weights: Values,
        scores: Values,
        member: Counts,
        low: Counts,
        high: Counts,
        rules: list[int] | slice,
    ) -> tuple[Counts, Counts, float]:
        """Return what the solver for the bounds returns; `low` and `high`, (R', m), are those of the given rules."""
        found: tuple[Counts, Counts, float]
        if bounds.weighted:
            exposed = bounds.least[rules], bounds.most[rules], bounds.until[rules]
            found = best_exposure(scores, member, weights, low, high, *exposed, self.budget)
        elif bounds.prefix:
            found = best_order(scores, member, weights, low, high, self.budget)
        else:
            found = best_set(scores, member, weights, low[:, -1].copy(), high[:, -1].copy(), self.budget)
        return found

    @cached_property
    def capped(self) -> list[int]:
        """The rules with `each`."""
        return [r for r, rule in enumerate(self.groups.rules) if rule.each]

    def member(self, queries: Queries, items: Rows) -> Array:
        """Return the groups of items of each query as bits, (B, K)."""
        return self.groups.member(items, queries.time, queries.features)

    def void(self, queries: Queries) -> Array:
        """Return which rules do not apply to each query, as bits, (B,)."""
        return self.groups.void(queries.features, len(queries))

    def caps(self, items: Rows, member: Array, bounds: Bounds) -> Caps:
        """Return the caps of one list of candidates, (n,), whose groups are bits, (n,)."""
        values = {r: self.groups.values(r, np.where(member >> r & 1, items, -1)) for r in self.capped}
        return Caps(member, bounds.low, bounds.high, values)

    def broken(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return for each final list the names of the rules that do not hold in it, in order."""
        return [[self.groups.rules[r].name for r in found] for found, _ in self._verdicts(queries, candidates)]

    def notes(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return for each final list which rules do not hold in it or do not apply to it, as sentences."""
        return [
            [*found.values(), *(_not_applied(self.groups.rules[r]) for r in void)]
            for found, void in self._verdicts(queries, candidates)
        ]

    def _verdicts(self, queries: Queries, candidates: Candidates) -> Iterator[tuple[dict[int, str], list[int]]]:
        """Yield for each final list a sentence for each broken rule, and the rules that do not apply."""
        items = candidates.items[:, : queries.k]
        member, void, rules = self.member(queries, items), self.void(queries), self.groups.rules
        for b, m in enumerate(np.count_nonzero(items >= 0, axis=1).tolist()):
            bounds, bits = self.bounds(m).without(int(void[b])), member[b, :m]
            missed, found = broken(bits, bounds), dict[int, str]()
            for r in {*np.flatnonzero(missed).tolist(), *self.capped}:
                inside: Array = bits >> r & 1
                if rules[r].each:
                    values = self.groups.values(r, np.where(inside, items[b, :m], -1))
                    excess = over(values.codes, values.start, np.arange(m), bounds.high[r])
                    missed[r], inside = len(excess) > 0, _having(values, excess)
                if missed[r]:
                    found[r] = sentence(rules[r], inside, bounds.low[r], bounds.high[r])
            ordered = {r: found[r] for r in sorted(found)}
            yield ordered, [r for r in range(len(rules)) if int(void[b]) >> r & 1]

    def bounds(self, slots: int) -> Bounds:
        """Return the bounds on a list of some length."""
        if slots not in self._by_length:
            if len(self._by_length) >= MAX_LENGTHS:
                self._by_length.clear()
            self._by_length[slots] = bounds_of(self.groups.rules, slots)
        return self._by_length[slots]

    def whole(self, slots: int) -> tuple[Counts, Counts] | None:
        """Return the bounds on the numbers of members in a list of some length, (R,) each; None if a rule has others.

        >>> Rules(Groups([Rule(name="new", where={"new": True}, min_share=0.2)])).whole(10)
        (array([2]), array([10]))
        """
        if slots not in self._whole:
            if len(self._whole) >= MAX_LENGTHS:
                self._whole.clear()
            bounds = self.bounds(slots)
            others = bounds.prefix or bounds.weighted or self.capped
            self._whole[slots] = None if others else (bounds.low[:, -1].copy(), bounds.high[:, -1].copy())
        return self._whole[slots]


def _having(values: Bags, wanted: Array) -> Mask:
    """Return which rows have the first of some values, (n,); none without any."""
    found = np.zeros(len(values), np.bool_)
    if len(wanted):
        found[values.row_of_code()[values.codes == wanted[0]]] = True
    return found


def _not_applied(rule: Rule) -> str:
    missing = [wanted.user for wanted in rule.where.values() if isinstance(wanted, Range) and wanted.user]
    return f"rule {rule.name!r} does not apply: the {' or '.join(missing)} of the user is not known"


def finite(scores: Scores) -> Values:
    """Return the scores of one list as they are compared: items that no model could score follow the others, (n,)."""
    values = scores.astype(np.float64)
    unscored = ~np.isfinite(values)
    if unscored.any():
        lowest = values[~unscored].min(initial=0.0)
        values[unscored] = lowest - np.arange(1, np.count_nonzero(unscored) + 1)
    return values
