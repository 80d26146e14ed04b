"""`KnownResponses`: how many responses to each item are known before a time; events can be added."""

from __future__ import annotations

import numpy as np

from pasand.reranking.counted_search import Counts
from pasand.types import Offsets, Rows, Times

BITS = 34
"""Bits of a time in seconds, up to the year 2514."""


class KnownResponses:
    """Counts of N items: a number that each has from the beginning, and its events before a time."""

    def __init__(self, base: Counts) -> None:
        """Begin with these numbers, (N,), and without events."""
        self.base = base
        self._keys = np.empty(0, np.int64)
        """(E,) item and time of each event as one number, ascending."""

    def add(self, item: Rows, time: Times) -> None:
        """Add events, (n,) each, in any order; those of items outside of the N are left out."""
        known = (item >= 0) & (item < len(self.base))
        new = np.sort(_keys(item[known], time[known]))
        self._keys = np.insert(self._keys, np.searchsorted(self._keys, new), new) if len(self._keys) else new

    def before(self, item: Rows, time: int) -> Counts:
        """Return the number of each of n items strictly before a time, (n,); 0 outside of the N items."""
        known = (item >= 0) & (item < len(self.base))
        out = np.zeros(len(item), np.int64)
        rows = item[known]
        ends = _keys(rows, np.full(len(rows), time))
        begins = rows.astype(np.int64) << BITS
        out[known] = self.base[rows] + np.searchsorted(self._keys, ends) - np.searchsorted(self._keys, begins)
        return out

    def compact(self) -> None:
        """Let the events that were added be known from the beginning, and forget their times."""
        item = self._keys >> BITS
        self.base = self.base + np.bincount(item, minlength=len(self.base))
        self._keys = np.empty(0, np.int64)


def _keys(item: Rows, time: Times) -> Offsets:
    """Return item and time as one number, (n,), which rises with the time of an item."""
    keys: Offsets = (item.astype(np.int64) << BITS) + np.clip(time, 0, (1 << BITS) - 1)
    return keys
