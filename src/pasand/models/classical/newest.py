"""Newest: the newest available items first, a reference for items without a train event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.layouts import Entry, check
from pasand.models.classical.random import Random
from pasand.types import Array, Arrays, Queries, Rows, Scores, within

DAY = 86_400


@dataclass(kw_only=True)
class Newest:
    """Scores items without an event above all others, then by the day from which they are available, the newest first.

    Items of one day are in random order, other for each query (`Random`). Scores are the rank of the day plus a random
    number in [0, 1). What this model reaches on new items is due to their being new, so that a model that knows
    something about them must be better.
    """

    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _random: Random = field(default_factory=Random, init=False, repr=False, compare=False)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up when items are available (`Dataset.available_from`), and which have no event; draw a seed."""
        has_event = np.bincount(data.item, minlength=data.n_items) > 0
        days, rank = np.unique(data.available_from // DAY, return_inverse=True)
        self._random = Random().fit(data, rng=rng)
        self._learnt = {
            **self._random.state(),
            "rank": (rank + np.where(has_event, 0, len(days))).astype(np.float32),
            "available_from": data.available_from,
        }
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return rank plus random number; -inf at row -1 and for items that are not available at a query's time."""
        rank, available_from = self._learnt["rank"], self._learnt["available_from"]
        scores = self._random.score(queries, items)
        rows = np.arange(len(rank))[None, :] if items is None else np.maximum(within(items, len(rank)), 0)
        if not len(rank):
            return scores
        available = available_from[rows] <= queries.time[:, None]
        return np.where(available, scores + rank[rows], np.float32(-np.inf))

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit beside the data: times of the items, their days and the order of these."""
        return 48 * data.n_items

    def state(self) -> Arrays:
        """Return the state of `Random`, and "rank" and "available_from", (N,) each."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"rank": Entry("float32", "N", lowest=0), "available_from": Entry("int64", "N")})
        self._random = Random()
        self._random.load_state({name: arrays[name] for name in ("seed", "n_items")})
        self._learnt = dict(arrays)
