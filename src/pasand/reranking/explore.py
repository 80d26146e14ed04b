"""`Explore`: a few slots of each list go to items drawn at random, with exact probabilities."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from pasand.contracts import Retriever
from pasand.reranking.counted_search import Values
from pasand.reranking.random_slots import drawn, mixture, softmax, uniform_number
from pasand.reranking.retrieval import both
from pasand.reranking.rules.groups import Groups
from pasand.reranking.rules.rules import Rules, finite
from pasand.reranking.scale import spread
from pasand.types import Array, Candidates, Mask, Queries, Rows

Slots: TypeAlias = Generator[tuple[int, Rows, Values], int, None]
Method = Literal["uniform", "softmax", "greedy"]


@dataclass(frozen=True)
class Explore:
    """Returns the list with the items of some slots replaced by items drawn from a pool.

    The pool of a list are the best items of the retriever that are not in it, `pool` of them, or with `groups` the best
    of that group. One after the other the slots draw from what is left of it: a mixture of the uniform distribution, by
    the share `uniform`, and that of the method. So no probability is below uniform / pool, and weights of an off-policy
    evaluation are at most pool / uniform. The other items never move: their `propensity` is 1, and that of a drawn one
    is its probability in this slot given the slots above; the product of a list is the probability of the whole list.

    With `rules`, an item is in the pool only if the list keeps every rule with it that it keeps now, so rules hold for
    all that can be drawn. A slot with an empty pool, and one beyond the end of the list, keeps its item.

    The draw depends on `seed`, the user, or for an anonymous one the history, and the time of the query in seconds: the
    same query gets the same list in any batch and process.
    """

    retriever: Retriever
    slots: Sequence[int] = (5, 10)
    """Positions in the list, from 1."""
    method: Method = "softmax"
    """Distribution that is mixed with the uniform one: "softmax" by score, "greedy" (the best item) or "uniform"."""
    temperature: float = 0.5
    """Of "softmax", in differences between the first score and the median of the pool."""
    uniform: float = 0.1
    """Share of the uniform distribution, above 0."""
    pool: int = 50
    """Largest number of items to draw from."""
    groups: Groups | None = None
    """One group that the pool is of, such as new items; None: all items."""
    rules: Rules | None = None
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
        if self.method not in ("uniform", "softmax", "greedy"):
            raise ValueError(f"method must be uniform, softmax or greedy, got {self.method!r}")
        if self.groups is not None and len(self.groups.rules) != 1:
            raise ValueError(f"groups must be one group, got {len(self.groups.rules)}")

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the lists, (B, min(k, K)), with the propensity of each item."""
        final = candidates.top(queries.k)
        items, propensity = final.items.copy(), np.where(final.items >= 0, 1.0, np.nan)
        for b, slots in enumerate(self._lists(queries, items)):
            chosen: int | None = None
            while (step := _next(slots, chosen)) is not None:
                slot, pool, probability = step
                number = drawn(probability, uniform_number(queries, b, self.seed, slot))
                chosen, propensity[b, slot] = int(pool[number]), probability[number]
        return Candidates(items=items, scores=final.scores, propensity=propensity)

    def distributions(
        self, queries: Queries, candidates: Candidates, shown: Rows
    ) -> Iterator[tuple[int, int, Rows, Values]]:
        """Yield list, slot from 0, items and their probabilities for each random slot, if `shown` had been drawn above.

        `candidates` are those that the stage would be called with; `shown` are items, (B, K) padded with -1, of which
        only those in random slots count.
        """
        items = candidates.top(queries.k).items.copy()
        for b, slots in enumerate(self._lists(queries, items)):
            chosen: int | None = None
            while (step := _next(slots, chosen)) is not None:
                slot, pool, probability = step
                yield b, slot, pool, probability
                chosen = int(shown[b, slot]) if slot < shown.shape[1] else -1

    def _lists(self, queries: Queries, items: Rows) -> Iterator[Slots]:
        """Yield for each list the generator of its random slots, which changes the list, (K,), in `items`."""
        if not items.shape[1] or not len(queries):
            return
        found = self.retriever(replace(queries, k=self.pool + items.shape[1], allowed=self._allowed(queries)))
        for b in range(len(queries)):
            new = (found.items[b] >= 0) & ~np.isin(found.items[b], items[b])
            pool = found.items[b][new][: self.pool]
            yield self._random_slots(queries, b, items[b], pool, finite(found.scores[b][new][: self.pool]))

    def _random_slots(self, queries: Queries, b: int, items: Rows, pool: Rows, scores: Values) -> Slots:
        """Yield each slot that is drawn, from 0, its items and their probabilities; it is sent the drawn item."""
        for slot in sorted(self.slots):
            if slot > np.count_nonzero(items >= 0):
                return
            kept = self._kept(queries, b, items, pool, slot)
            if kept.any():
                items[slot - 1] = yield slot - 1, pool[kept], mixture(self._weights(scores[kept]), self.uniform)
                left = pool != items[slot - 1]
                pool, scores = pool[left], scores[left]

    def _allowed(self, queries: Queries) -> Mask | None:
        if self.groups is None:
            return queries.allowed
        return both(queries.allowed, self.groups.mask(0, queries.time, queries.features))

    def _weights(self, scores: Values) -> Values:
        if self.method == "softmax":
            unit = spread(scores)
            return softmax(scores, self.temperature * (unit if unit > 0 else 1.0))
        if self.method == "greedy":
            return np.asarray(np.arange(len(scores)) == 0, np.float64)
        return np.ones(len(scores))

    def _kept(self, queries: Queries, b: int, items: Rows, pool: Rows, slot: int) -> Array:
        """Return which items of the pool keep, in this slot, every rule that the list keeps now; (n,)."""
        kept = np.ones(len(pool), np.bool_)
        if self.rules is None or not len(pool):
            return kept
        one, n = queries.take(np.array([b])), int((items >= 0).sum())
        bounds = self.rules.bounds(n).without(int(self.rules.void(one)[0]))
        if bounds.prefix or bounds.weighted or self.rules.capped:
            return self._kept_one_by_one(queries, b, items, pool, slot)
        rules = np.arange(len(bounds.low))
        inside = self.rules.member(one, items[None, :n])[0][:, None] >> rules & 1
        entering = self.rules.member(one, pool[None])[0][:, None] >> rules & 1
        count = inside.sum(axis=0)
        after = count - inside[slot - 1] + entering
        low, high = bounds.low[:, -1], bounds.high[:, -1]
        missed = np.maximum(low - count, count - high).clip(min=0)
        better: Array = (np.maximum(low - after, after - high).clip(min=0) <= missed).all(axis=1)
        return better

    def _kept_one_by_one(self, queries: Queries, b: int, items: Rows, pool: Rows, slot: int) -> Array:
        lists = np.tile(items, (len(pool) + 1, 1))
        lists[1:, slot - 1] = pool
        same, scores = queries.take(np.full(len(lists), b)), np.zeros(lists.shape, np.float32)
        now, *others = self.rules.broken(same, Candidates(items=lists, scores=scores)) if self.rules else [[]]
        return np.array([set(other) <= set(now) for other in others], np.bool_)


def _next(slots: Slots, chosen: int | None) -> tuple[int, Rows, Values] | None:
    """Return the next random slot of a list after the item chosen in the one before; None after the last."""
    try:
        return next(slots) if chosen is None else slots.send(chosen)
    except StopIteration:
        return None
