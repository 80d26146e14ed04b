"""`Explore`: a few slots of each list go to items drawn at random, with exact probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from pasand.contracts import Retriever
from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.exploration import linucb, softmax, thompson, uniform
from pasand.reranking.exploration.drawn_lists import draw_lists, pools
from pasand.reranking.exploration.random_list import RandomList
from pasand.reranking.exploration.retrieved import Retrieved
from pasand.reranking.exploration.slot_draws import MOST
from pasand.reranking.exploration.uncertainty import Uncertainty
from pasand.reranking.random_slots import SMALLEST, drawn, mixture, uniform_number, uniform_numbers
from pasand.reranking.retrieval import both
from pasand.reranking.rules.groups import Groups
from pasand.reranking.rules.rules import Rules, finite
from pasand.reranking.scale import finite_lists, spread
from pasand.types import Array, Candidates, Mask, Queries, Rows, Scores

Method = Literal["uniform", "softmax", "greedy", "thompson", "linucb"]
BY_UNCERTAINTY: tuple[Method, ...] = ("thompson", "linucb")
RANKED: tuple[Method, ...] = ("greedy", "linucb")
"""Methods that are certain of one item, so that each slot mixes in the share `uniform`."""
LARGEST = np.finfo(np.float64).max


@dataclass(frozen=True)
class Explore:
    """Returns the list with the items of some slots replaced by items drawn from a pool.

    The pool of a list are the best items of the retriever that are not in it, `pool` of them, or with `groups` the best
    of that group. One after the other the slots draw from what is left of it, by weights that are a mixture of those of
    the method and, by the share `uniform`, of equal ones; "greedy" and "linucb" mix in each slot. So no probability is
    below uniform / pool, and weights of an off-policy evaluation are at most pool / uniform for each slot. The other
    items never move: their `propensity` is 1, and that of a drawn one is its probability in this slot given the slots
    above; the product of a list is the probability of the whole list. `slot_propensity` is the probability of an item
    in its slot whatever the other slots show.

    "thompson" and "linucb" prefer items whose score is little known. The score of an item is normal, with the mean and
    deviation of `uncertainty` in units of `strength` differences between the first score and the median of the pool.
    The weight of "thompson" is the probability that an item has the largest of independent draws, by quadrature; later
    slots draw by the same weights from what is left. "linucb" prefers the largest mean plus deviation.

    With `rules`, an item is in the pool only if the list keeps every rule with it that it keeps now, so rules hold for
    all that can be drawn. A slot with an empty pool, and one beyond the end of the list, keeps its item.

    The draw depends on `seed`, the user and the `draw` of the query, or if it has none on the time in seconds and the
    history of an anonymous user: the same query gets the same list in any batch and process.
    """

    retriever: Retriever
    slots: Sequence[int] = (5, 10)
    """Positions in the list, from 1."""
    method: Method = "softmax"
    """Distribution that is mixed with the uniform one: "softmax" by score, "greedy" (the best item), "uniform", or by
    score and uncertainty, "thompson" and "linucb"."""
    temperature: float = 0.5
    """Of "softmax", in differences between the first score and the median of the pool."""
    strength: float = 1.0
    """Of "thompson" and "linucb": standard deviation of the score of an item without any known response, in the same
    unit."""
    uniform: float = 0.1
    """Share of the uniform distribution, above 0."""
    pool: int = 50
    """Largest number of items to draw from."""
    groups: Groups | None = None
    """One group that the pool is of, such as new items; None: all items."""
    rules: Rules | None = None
    uncertainty: Uncertainty | None = None
    """Of "thompson" and "linucb"."""
    seed: int = 0
    """Number that changes all draws."""

    def __post_init__(self) -> None:
        if not self.slots or min(self.slots) < 1 or len(set(self.slots)) < len(self.slots):
            raise ValueError(f"slots must be different positions from 1, got {list(self.slots)}")
        if not 0 < self.uniform <= 1:
            raise ValueError(f"uniform must be above 0 and at most 1, got {self.uniform}")
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if self.pool < 2:
            raise ValueError(f"pool must be at least 2, got {self.pool}")
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {self.method!r}")
        if not 0 < self.strength < np.inf:
            raise ValueError(f"strength must be positive and finite, got {self.strength}")
        if (self.uncertainty is not None) != (self.method in BY_UNCERTAINTY):
            raise ValueError(f"uncertainty belongs to {' and '.join(BY_UNCERTAINTY)}, got method {self.method!r}")
        if not isinstance(self.uncertainty, Uncertainty | None):
            raise ValueError(f"uncertainty must be an Uncertainty, got {type(self.uncertainty).__name__}")
        if self.groups is not None and len(self.groups.rules) != 1:
            raise ValueError(f"groups must be one group, got {len(self.groups.rules)}")

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the lists, (B, min(k, K)), with the propensity of each item in its slot and whatever is in others."""
        final = candidates.top(queries.k)
        items, propensity = np.array(final.items, order="C"), np.where(final.items >= 0, 1.0, np.nan)
        alone = propensity.copy()
        if items.size and not self._drawn_at_once(queries, items, propensity, alone):
            self._drawn_one_by_one(queries, items, propensity, alone)
        return Candidates(items=items, scores=final.scores, propensity=propensity, slot_propensity=alone)

    def _drawn_at_once(self, queries: Queries, items: Rows, propensity: Values, alone: Values) -> bool:
        """Draw the random slots of all lists, in place; False where that needs a list after the other.

        That is so for rules that are on more than whole lists, and for many slots.
        """
        length, slots = np.count_nonzero(items >= 0, axis=1), np.array(sorted(self.slots)) - 1
        lengths, none = sorted(set(length.tolist())), np.empty(0, np.int64)
        bounds = [(none, none) if self.rules is None else self.rules.whole(m) for m in lengths]
        if len(slots) > MOST or None in bounds:
            return False
        found = self._found(queries, self.pool + items.shape[1])
        pool, scores, size = pools(
            items, np.ascontiguousarray(found.items), np.ascontiguousarray(found.scores), self.pool
        )
        weights = self._weights_of_lists(queries, pool, scores, size)
        groups, shown, void = np.zeros(pool.shape, np.int64), np.zeros(items.shape, np.int64), np.zeros_like(size)
        if self.rules is not None:
            groups, shown = self.rules.member(queries, pool), self.rules.member(queries, items)
            void = self.rules.void(queries)
        lists, draws = (items, shown, pool, groups, size, weights), uniform_numbers(queries, self.seed, slots + 1)
        for m, ends in zip(lengths, bounds, strict=True):
            which, within = np.flatnonzero(length == m), (*(ends or ()), void)
            ranked = self.method in RANKED
            draw_lists(which, m, *lists, *within, slots, draws, self.uniform, ranked, propensity, alone)
        return True

    def _drawn_one_by_one(self, queries: Queries, items: Rows, propensity: Values, alone: Values) -> None:
        """Draw the random slots of one list after the other, in place."""
        for b, one in enumerate(self._lists(queries, items)):
            numbers = []
            for s, slot in enumerate(one.slots):
                chance, number = one.distribution(s), -1
                if chance is not None:
                    number = drawn(chance, uniform_number(queries, b, self.seed, slot + 1))
                    propensity[b, slot] = chance[number]
                    one.put(s, number)
                numbers.append(number)
            alone[b, one.slots] = one.marginals(numbers)
            if one.slots and numbers[0] >= 0:
                alone[b, one.slots[0]] = propensity[b, one.slots[0]]

    def distributions(
        self, queries: Queries, candidates: Candidates, shown: Rows
    ) -> Iterator[tuple[int, int, Rows, Values]]:
        """Yield list, slot from 0, items and their probabilities for each random slot, if `shown` had been drawn above.

        `candidates` are those that the stage would be called with; `shown` are items, (B, K) padded with -1, of which
        only those in random slots count.
        """
        for b, one in enumerate(self._lists(queries, candidates.top(queries.k).items.copy())):
            for s, slot in enumerate(one.slots):
                chance = one.distribution(s)
                if chance is None:
                    continue
                possible = chance > 0
                yield b, slot, one.pool[possible], chance[possible]
                number = one.number_of(s, int(shown[b, slot])) if slot < shown.shape[1] else -2
                if number >= 0:
                    one.put(s, number)

    def slot_probabilities(self, queries: Queries, candidates: Candidates, shown: Rows) -> Values:
        """Return the probability of each item of `shown`, (B, K), in its slot, whatever the other slots show, (B, K).

        1 or 0 in slots that are not random, nan where it is not known. See `distributions` for the parameters.
        """
        items = candidates.top(queries.k).items.copy()
        width = min(items.shape[1], shown.shape[1])
        out = np.zeros(shown.shape)
        out[:, :width] = items[:, :width] == shown[:, :width]
        for b, one in enumerate(self._lists(queries, items)):
            slots = np.array([slot for slot in one.slots if slot < width], np.int64)
            numbers = [
                one.number_of(s, int(shown[b, slot]) if slot < width else -1) for s, slot in enumerate(one.slots)
            ]
            out[b, slots] = one.marginals(numbers)[: len(slots)]
        return out

    def _lists(self, queries: Queries, items: Rows) -> Iterator[RandomList]:
        """Yield the random slots of each list, which change the list, (K,), in `items`."""
        if not items.shape[1] or not len(queries):
            return
        found = self._found(queries, self.pool + items.shape[1])
        new = (found.items >= 0) & (found.items[:, :, None] != items[:, None, :]).all(axis=2)
        void = rule_bits = list_bits = None
        if self.rules is not None:
            void, rule_bits = self.rules.void(queries), self.rules.member(queries, found.items)
            list_bits = self.rules.member(queries, items)
        for b in range(len(queries)):
            which = np.flatnonzero(new[b])[: self.pool]
            length = int(np.count_nonzero(items[b] >= 0))
            slots = [slot - 1 for slot in sorted(self.slots) if slot <= length]
            weights, ranked = self._weights(queries, b, found.items[b, which], finite(found.scores[b, which]))
            one = RandomList(
                items=items[b],
                slots=slots,
                pool=found.items[b, which],
                weights=weights,
                ranked=ranked,
                uniform=self.uniform,
                cell=np.zeros(len(which), np.int64),
                cells=np.zeros(1, np.int64),
                leaving=np.zeros(len(slots), np.int64),
            )
            if self.rules is not None and void is not None and rule_bits is not None and list_bits is not None:
                self._within_rules(one, queries, b, int(void[b]), rule_bits[b, which], list_bits[b, :length])
            yield one

    def _found(self, queries: Queries, k: int) -> Candidates:
        if isinstance(self.retriever, Retrieved) and self.groups is None:
            return self.retriever.again(queries, k)
        return self.retriever(replace(queries, k=k, allowed=self._allowed(queries)))

    def _allowed(self, queries: Queries) -> Mask | None:
        if self.groups is None:
            return queries.allowed
        return both(queries.allowed, self.groups.mask(0, queries.time, queries.features))

    def _weights(self, queries: Queries, b: int, pool: Rows, scores: Values) -> tuple[Values, bool]:
        """Return the weights of a pool, (n,), given its scores, best first, and whether they are ranked.

        Ranked weights are different numbers; others have the share `uniform` of equal ones.
        """
        ranked = self.method in RANKED
        if not len(scores):
            return scores, ranked
        if self.uncertainty is not None:
            unit = self.strength * spread(scores)
            mean, deviation = (unit * values for values in self.uncertainty.posterior(queries, b, pool))
            mean += scores
        if self.method == "greedy":
            values = scores
        elif self.method == "linucb":
            values = linucb.bounds(mean, deviation)
        elif self.method == "thompson":
            values = thompson.weights(mean, deviation)
        elif self.method == "softmax":
            values = softmax.weights(scores, self.temperature)
        else:
            values = uniform.weights(len(scores))
        if ranked:
            return -np.argsort(np.argsort(-values, kind="stable")).astype(np.float64), True
        return mixture(values, self.uniform), False

    def _weights_of_lists(self, queries: Queries, pool: Rows, scores: Scores, size: Counts) -> Values:
        """Return what `_weights` does of the pools of a batch, (B, P), of which the first `size[b]` items count."""
        if self.uncertainty is not None:
            weights = np.zeros(scores.shape)
            for b, n in enumerate(size.tolist()):
                weights[b, :n], _ = self._weights(queries, b, pool[b, :n], finite(scores[b, :n]))
            return weights
        values, units = finite_lists(scores, size)
        inside = None if size.min() == scores.shape[1] else np.arange(scores.shape[1]) < size[:, None]
        if inside is not None:
            values[~inside] = -np.inf
        if self.method == "greedy":
            order = np.argsort(-values, axis=1, kind="stable")
            return -np.argsort(order, axis=1).astype(np.float64)
        if self.method == "uniform":
            base = np.ones(values.shape)
        else:
            best = np.maximum(values.max(axis=1), -LARGEST)[:, None]
            base = np.maximum(np.exp((values - best) / (self.temperature * units[:, None])), SMALLEST)
        if inside is not None:
            base *= inside
        total = np.maximum(base.sum(axis=1), SMALLEST)[:, None]
        mixed: Values = (1 - self.uniform) * base / total + self.uniform / np.maximum(size, 1)[:, None]
        return mixed

    def _within_rules(self, one: RandomList, queries: Queries, b: int, void: int, pool: Array, shown: Array) -> None:
        """Let a list keep the rules, given the groups of its pool, (n,), and of its items, as bits."""
        assert self.rules is not None
        bounds = self.rules.bounds(len(shown)).without(void)
        if bounds.prefix or bounds.weighted or self.rules.capped:
            query = queries.take(np.array([b]))
            one.kept = lambda items, pool, slot: self._kept(query, items, pool, slot)
            return
        one.cells, one.cell = np.unique(pool.astype(np.int64), return_inverse=True)
        one.leaving = shown[one.slots].astype(np.int64)
        one.low, one.high = bounds.low[:, -1].astype(np.int64), bounds.high[:, -1].astype(np.int64)
        one.count = (shown[:, None] >> np.arange(len(one.low)) & 1).sum(axis=0).astype(np.int64)
        one.first_count = one.count.copy()

    def _kept(self, query: Queries, items: Rows, pool: Rows, slot: int) -> Mask:
        """Return which items of a pool, (n,), keep in a slot from 0 every rule that the list keeps now."""
        assert self.rules is not None
        lists = np.tile(items, (len(pool) + 1, 1))
        lists[1:, slot] = pool
        same, scores = query.take(np.zeros(len(lists), np.int64)), np.zeros(lists.shape, np.float32)
        now, *others = self.rules.broken(same, Candidates(items=lists, scores=scores))
        return np.array([set(other) <= set(now) for other in others], np.bool_)
