"""Base class of the models of ratings: predictions within the rating scale, scores and state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from pasand.layouts import Entry, Layout, check
from pasand.types import Array, Arrays, Queries, Rows, Scores, within

EVENTS = {
    "mean": Entry("float64", "1"),
    "scale": Entry("float32", "2"),
    "count": Entry("int64", "U", lowest=0),
    "last_item": Entry("int32", "U"),
    "last_time": Entry("int64", "U"),
    "last_value": Entry("float32", "U"),
    "train rmse": Entry("float64", "*", gaps=True, infinite=True, optional=True),
    "validation rmse": Entry("float64", "*", gaps=True, infinite=True, optional=True),
}
"""Layout of what all models of ratings learn."""


@dataclass
class RatingModel(ABC):
    """Ranks items by expected ratings, which subclasses compute; they learn "scale", the lowest and highest rating."""

    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    @abstractmethod
    def _n_items(self) -> int:
        """Number of items in the catalogue."""

    @abstractmethod
    def _layout(self) -> Layout:
        """Return the layout of what the model learns, beside `EVENTS`."""

    @abstractmethod
    def _expected(self, queries: Queries, items: Rows | None) -> Scores:
        """Return expected ratings, not clipped to the scale: (B, K) -> (B, K), row -1 included; None: all, (B, N)."""

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings within the scale seen in training, (B, K) -> (B, K); finite for unknown rows too."""
        low, high = self._learnt["scale"]
        return np.clip(self._expected(queries, items), low, high)

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return expected ratings, not clipped to the scale, so that the best do not tie; -inf at item row -1."""
        items = within(items, self._n_items)
        expected = self._expected(queries, items)
        return expected if items is None else np.where(items < 0, np.float32(-np.inf), expected)

    def state(self) -> Arrays:
        """Return the learnt parameters, the last event of each user's history, and the learning curves."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {**EVENTS, **self._layout()})
        self._learnt = dict(arrays)
