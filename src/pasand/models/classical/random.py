"""Random scores: the baseline that every model has to beat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.layouts import Entry, check
from pasand.models.classical.neighbours import kernel_items
from pasand.types import Array, Arrays, Queries, Rows, Scores


@dataclass(kw_only=True)
class Random:
    """Scores items by random numbers, uniform in [0, 1): equal for equal fit, user and history, independent otherwise.

    The numbers are hashes (SplitMix64's finaliser) instead of draws from a generator, so that the scores of a query do
    not depend on the other queries of its batch.
    """

    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Draw a seed."""
        self._learnt = {"seed": rng.integers(2**63, size=()).astype(np.uint64), "n_items": np.array(data.n_items)}
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return uniform scores; -inf at item row -1."""
        n_items = int(self._learnt["n_items"])
        seed = np.uint64(self._learnt["seed"])
        history = np.ascontiguousarray(queries.within(n_items).history)
        out = np.empty((len(queries), n_items) if items is None else items.shape, np.float32)
        _draw(seed, np.asarray(queries.users), history, kernel_items(items, n_items), items is None, out)
        return out

    def state(self) -> Arrays:
        """Return "seed" and "n_items"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"seed": Entry("uint64"), "n_items": Entry("int64", lowest=0)})
        self._learnt = dict(arrays)


@njit(cache=True, nogil=True)
def _mix(bits: np.uint64) -> np.uint64:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.uint64 = bits ^ (bits >> np.uint64(31))
    return mixed


@njit(cache=True, nogil=True)
def _draw(seed: np.uint64, users: Rows, history: Rows, items: Rows, everything: bool, out: Scores) -> None:
    step = np.uint64(0x9E3779B97F4A7C15)
    for b in range(out.shape[0]):
        key = _mix(seed + np.uint64(users[b] + 2) * step)
        for t in range(history.shape[1]):
            if history[b, t] >= 0:
                key = _mix(key + np.uint64(history[b, t] + 1) * step)
        for j in range(out.shape[1]):
            row = j if everything else items[b, j]
            if row < 0:
                out[b, j] = -np.inf
            else:
                bits = _mix(key + np.uint64(row + 1) * step) >> np.uint64(40)
                out[b, j] = np.float32(bits) / np.float32(2**24)
