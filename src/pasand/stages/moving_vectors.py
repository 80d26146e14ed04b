"""`MovingVectors`: the vectors of cold items at any time, moved by the interactions strictly before that time."""

from __future__ import annotations

import numpy as np

from pasand.stages.item_fold_in import ItemFoldIn
from pasand.types import Array, Mask, Times, Vectors

BEFORE_ALL = np.iinfo(np.int64).min


class MovingVectors:
    """Counts the users of items by the time of their interaction, and solves for the items whose users have changed."""

    def __init__(self, fold_in: ItemFoldIn, predicted: Vectors) -> None:
        """Begin with the predicted vectors of K items, (K, D)."""
        self._fold_in, self._predicted = fold_in, predicted
        self._time, self._item = np.empty(0, np.int64), np.empty(0, np.int64)
        self._users = np.empty((0, predicted.shape[1]), np.float32)
        self._pairs: set[tuple[int, int]] = set()
        self._cursor, self._now = 0, BEFORE_ALL
        self._count = np.zeros(len(predicted), np.int64)
        self._total = np.zeros(predicted.shape, np.float64)
        self._vectors: Vectors = predicted.copy()

    def add(self, item: Array, user: Array, time: Times, vectors: Vectors) -> None:
        """Add interactions, (E,) each, with the users' vectors (E, D), in any order of time.

        A user counts once for an item, and not at all without a vector (zeros).
        """
        pairs = list(zip(user.tolist(), item.tolist(), strict=True))
        usable: Mask = np.asarray(vectors.any(axis=1))
        new = []
        for number in np.argsort(time, kind="stable").tolist():
            if usable[number] and pairs[number] not in self._pairs:
                self._pairs.add(pairs[number])
                new.append(number)
        if not new:
            return
        is_late = bool(time[new].min() < self._now)
        time = np.concatenate([self._time, time[new]])
        order = np.argsort(time, kind="stable")
        self._time = time[order]
        self._item = np.concatenate([self._item, item[new]])[order]
        self._users = np.concatenate([self._users, vectors[new]])[order]
        if is_late:
            self._reset()

    def add_items(self, predicted: Vectors) -> None:
        """Append items with these predicted vectors, (k, D)."""
        self._predicted = np.concatenate([self._predicted, predicted])
        self._reset()

    def compact(self) -> None:
        """Let all interactions so far count at any time."""
        self._time[:] = BEFORE_ALL

    def at(self, time: int) -> Vectors:
        """Return the vectors of all items at a time, (K, D); valid until the next call."""
        if time < self._now:
            self._reset()
        self._now = time
        end = int(np.searchsorted(self._time, time))
        if end > self._cursor:
            part = slice(self._cursor, end)
            np.add.at(self._total, self._item[part], self._users[part])
            np.add.at(self._count, self._item[part], 1)
            changed = np.unique(self._item[part])
            self._vectors[changed] = self._fold_in.solve(
                self._predicted[changed], self._total[changed], self._count[changed]
            )
            self._cursor = end
        return self._vectors

    def _reset(self) -> None:
        self._cursor, self._now = 0, BEFORE_ALL
        self._count = np.zeros(len(self._predicted), np.int64)
        self._total = np.zeros(self._predicted.shape, np.float64)
        self._vectors = self._predicted.copy()
