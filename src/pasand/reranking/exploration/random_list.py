"""`RandomList`: one list whose random slots are drawn one after the other, with what can be drawn in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.exploration.slot_draws import MOST, kept_cells, slot_distribution, slot_marginals
from pasand.reranking.random_slots import slot_probabilities
from pasand.types import Mask, Rows

NONE = np.zeros(0, np.int64)


@dataclass
class RandomList:
    """A list, the pool of its random slots, and the rules on counts that all its draws keep."""

    items: Rows
    """(K,) the list, padded with -1; changed by `put`."""
    slots: Sequence[int]
    """Random slots, from 0, ascending."""
    pool: Rows
    """(n,) items, none of them in the list."""
    weights: Values
    """(n,) positive; if ranked, different numbers."""
    ranked: bool
    uniform: float
    cell: Counts
    """(n,) cell of each item of the pool."""
    cells: Counts
    """(C,) rules whose groups hold the items of a cell, as bits."""
    leaving: Counts
    """(S,) the same of the items in the random slots."""
    count: Counts = field(default_factory=lambda: NONE)
    """(R,) members of the list; changed by `put`."""
    low: Counts = field(default_factory=lambda: NONE)
    high: Counts = field(default_factory=lambda: NONE)
    kept: Callable[[Rows, Rows, int], Mask] | None = None
    """Returns which items, (n,), keep all rules in a slot of the list; None: rules are on counts alone."""

    def __post_init__(self) -> None:
        self.before, self.first_count = self.items.copy(), self.count.copy()
        self.left = np.ones(len(self.pool), np.bool_)

    def distribution(self, s: int) -> Values | None:
        """Return the probability of each item of the pool in random slot number s, (n,); None if it keeps its item."""
        if self.kept is not None:
            left = self.left & self.kept(self.items, self.pool, self.slots[s])
        elif len(self.count):
            found = kept_cells(self.cells, self.leaving[s], self.count, self.low, self.high)
            left = self.left & found[self.cell]
        else:
            left = self.left
        return slot_distribution(self.weights, left, self.uniform, self.ranked) if left.any() else None

    def put(self, s: int, number: int) -> None:
        """Put an item of the pool into random slot number s."""
        self.items[self.slots[s]] = self.pool[number]
        self.left[number] = False
        for r in range(len(self.count)):
            self.count[r] += (int(self.cells[self.cell[number]]) >> r & 1) - (int(self.leaving[s]) >> r & 1)

    def number_of(self, s: int, item: int) -> int:
        """Return the number of an item in the pool; -1 for the item that the slot has without a draw, -2 for others."""
        found = np.flatnonzero(self.pool == item)
        return int(found[0]) if len(found) else -1 if item == self.before[self.slots[s]] else -2

    def marginals(self, numbers: Sequence[int]) -> Values:
        """Return the probability of an item in each random slot, whatever the other slots show, (S,).

        `numbers` are those of `number_of`, one for each slot. nan where it is not known: beyond the first slot with
        rules on prefixes, on the exposure or with `each`, and in all of more than 3 slots with any rules or with ranked
        weights.
        """
        out = np.full(len(self.slots), np.nan)
        if not len(self.pool):
            return np.array([float(number == -1) for number in numbers])
        if self.kept is not None:
            return out
        if len(out) <= MOST:
            found: Values = slot_marginals(
                self.weights,
                self.cell,
                self.cells,
                self.leaving,
                self.first_count,
                self.low,
                self.high,
                np.array(numbers),
                self.uniform,
                self.ranked,
            )
            return found
        if not len(self.count) and not self.ranked and len(self.pool) >= len(out):
            table = slot_probabilities(self.weights, len(out))
            return np.array([table[number, s] if number >= 0 else 0.0 for s, number in enumerate(numbers)])
        return out
