"""`Ledger`: how many slots of all lists were shown, and how many of them each group had; several processes add up."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

import numpy as np

from pasand.reranking.counted_search import Counts

SLOTS = "slots"
"""Name of the counter of all slots; those of groups begin with "="."""


@runtime_checkable
class HasLedger(Protocol):
    """A stage that counts what was shown in a ledger, which several processes can share."""

    ledger: Ledger

    @property
    def ledger_key(self) -> str:
        """Identifies what is counted and why: stages of equal keys share their counts."""

    def continue_from(self, other: Self) -> None:
        """Take over the ledger and the multipliers of another stage of the same key, whose groups may have changed."""


class Ledger:
    """Counts of shown slots, those of this process at once and those of others as of the last `settle`.

    A process hands over what it added with `take`, adds it to a store that others add to as well, and returns the
    store's totals with `settle`. Any thread may do so while another one adds and reads.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Begin with nothing shown to groups of these names."""
        self.names = tuple(names)
        self._counters = (*(f"={name}" for name in names), SLOTS)
        self._total = np.zeros(len(names) + 1, np.int64)
        self._added = np.zeros(len(names) + 1, np.int64)
        self._lists = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> Counts:
        """Slots that each group had, (R,)."""
        return self._total[:-1]

    @property
    def slots(self) -> int:
        """Slots of all lists."""
        return int(self._total[-1])

    @property
    def pending(self) -> int:
        """Lists that were added since the last `take`."""
        return self._lists

    def add(self, count: Counts, slots: int) -> None:
        """Count a list with this many slots, of which the groups had `count`, (R,)."""
        with self._lock:
            for array in (self._total, self._added):
                array[:-1] += count
                array[-1] += slots
            self._lists += 1

    def take(self) -> dict[str, int]:
        """Return by name what was added since the last call, without zeros; `give_back` what cannot be stored."""
        with self._lock:
            added, self._lists = self._added.tolist(), 0
            self._added[:] = 0
        return {name: n for name, n in zip(self._counters, added, strict=True) if n}

    def give_back(self, pending: Mapping[str, int]) -> None:
        """Have what `take` returned be pending again, since it could not be stored."""
        with self._lock:
            self._added += self._row(pending)

    def settle(self, totals: Mapping[str, int]) -> None:
        """Replace what is known by the totals of the store, plus what was added here since they were made."""
        with self._lock:
            self._total[:] = self._row(totals) + self._added

    def continue_from(self, other: Ledger) -> None:
        """Take over the counts of another ledger, by name, with what was added to it since its last `take`."""
        totals = dict(zip(other._counters, other._total.tolist(), strict=True))
        pending = other.take()
        with self._lock:
            self._total[:], self._added[:] = self._row(totals), self._row(pending)

    def replace(self, count: Counts, slots: int) -> None:
        """Replace all counts, as if nothing had been added since the last `take`."""
        with self._lock:
            self._total[:-1], self._total[-1] = count, slots
            self._added[:], self._lists = 0, 0

    def _row(self, by_name: Mapping[str, int]) -> Counts:
        return np.array([by_name.get(name, 0) for name in self._counters], np.int64)
