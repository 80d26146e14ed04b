"""Items that users have seen, of all their events; histories hold the newest events only."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from pasand.serving.engine.variant import Variant
from pasand.serving.states.contract import RecentEvents, State
from pasand.types import Rows

MAX_CACHED_ROWS = 5_000_000
"""Rows that are cached for all users together."""


class _Entry(NamedTuple):
    last: int
    """Number of the last event that was read."""
    n_items: int
    """Items of the catalogue at that time; events of later items were unknown."""
    rows: Rows


class SeenItems:
    """Reads the distinct items of users with many events, each event once, and caches their rows."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._n_rows = 0

    def read(self, state: State, variant: Variant, user: str, recent: RecentEvents) -> Rows:
        """Return the rows of the distinct items of a user's events since the bundle was trained, (S,).

        Raises StateUnavailable as the state does.
        """
        key, n_items = (variant.name, user), variant.bundle.data.n_items
        entry = self._entries.get(key)
        if entry is None or entry.n_items != n_items:
            entry = _Entry(0 if recent.forgotten else variant.state_upto, n_items, np.empty(0, np.int32))
        items, last = state.seen_items(user, entry.last)
        if items:
            rows = variant.bundle.data.items.rows(items)
            entry = _Entry(last, n_items, np.union1d(entry.rows, rows[rows >= 0]).astype(np.int32))
            self._set(key, entry)
        return entry.rows

    def cached(self, variant: Variant, user: str) -> Rows | None:
        """Return what was last read of a user, None if nothing was."""
        entry = self._entries.get((variant.name, user))
        return None if entry is None else entry.rows

    def forget(self, variant: str | None = None) -> None:
        """Drop what was read for a variant, or for all of them."""
        for key in [key for key in self._entries if variant in (None, key[0])]:
            self._n_rows -= len(self._entries.pop(key).rows)

    def _set(self, key: tuple[str, str], entry: _Entry) -> None:
        old = self._entries.pop(key, None)
        self._n_rows += len(entry.rows) - (0 if old is None else len(old.rows))
        self._entries[key] = entry
        while self._n_rows > MAX_CACHED_ROWS and len(self._entries) > 1:
            self._n_rows -= len(self._entries.popitem(last=False)[1].rows)
