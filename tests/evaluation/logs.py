"""Small logs for the tests of evaluation, and a model whose lists are obvious."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self
from unittest.mock import patch

import numpy as np
from hypothesis import strategies as st
from numpy.random import Generator

from pasand.data.dataset import Dataset, Order
from pasand.data.features import AVAILABLE_FROM, Feature
from pasand.data.vocabulary import Vocabulary
from pasand.types import Arrays, Queries, Rows, Scores

Event = tuple[str, str, int, float]


def log(events: list[Event], order: Order = "time", positive_from: float = 4, released: int | None = 0) -> Dataset:
    """Return the dataset of events (user, item, time, rating), whose items are released at this time; None: unknown."""
    events = sorted(events, key=lambda event: event[2]) if order == "time" else events
    users, items = Vocabulary(event[0] for event in events), Vocabulary(event[1] for event in events)
    time = [event[2] if order == "time" else 0 for event in events]
    return Dataset(
        name="small",
        users=users,
        items=items,
        user=users.rows(event[0] for event in events),
        item=items.rows(event[1] for event in events),
        time=np.array(time, np.int64),
        value=np.array([event[3] for event in events], np.float32),
        values="rating",
        order=order,
        positive_from=positive_from,
        item_features={}
        if released is None
        else {AVAILABLE_FROM: Feature(kind="time", values=np.full(len(items), released))},
    )


def random_log(seed: int, n_users: int = 6, n_items: int = 8, n_events: int = 60, order: Order = "time") -> Dataset:
    """Return a log with repeated pairs, users of one event, and several events at the same time."""
    rng = np.random.default_rng(seed)
    user = np.minimum(rng.geometric(0.35, n_events) - 1, n_users - 1)
    item, time, rating = rng.integers(0, n_items, n_events), rng.integers(0, 25, n_events), rng.integers(1, 6, n_events)
    rows = zip(user.tolist(), item.tolist(), time.tolist(), rating.tolist(), strict=True)
    return log([(f"u{u}", f"i{i}", t, float(r)) for u, i, t, r in rows], order)


SEEDS = st.integers(0, 2**32 - 1)


@dataclass
class ByRow:
    """Scores item i with -i and predicts the same rating for everything."""

    rating: float = 3.0
    """The predicted rating."""
    backwards: bool = False
    """Score item i with i instead."""
    depth: int = 1
    _n_items: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.rating < 0:
            raise ValueError(f"rating must be at least 0, got {self.rating}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        self._n_items = data.n_items
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        if items is None:
            items = np.broadcast_to(np.arange(self._n_items, dtype=np.int32), (len(queries), self._n_items))
        scores = items if self.backwards else -items
        return np.where(items < 0, -np.inf, scores).astype(np.float32)

    def predict(self, queries: Queries, items: Rows) -> Scores:
        return np.full(items.shape, self.rating, np.float32)

    def curves(self) -> dict[str, list[float]]:
        return {"train rmse": [2.0, 1.0]}

    def state(self) -> Arrays:
        return {"n_items": np.array(self._n_items)}

    def load_state(self, arrays: Arrays) -> None:
        self._n_items = int(arrays["n_items"])


def counting(model: type[Any], fitted: list[str]) -> Any:
    """Return a context in which every fit of a model adds its name to the list."""
    fit = model.fit

    def counted(self: Any, data: Dataset, **options: Any) -> Any:
        fitted.append(model.__name__)
        return fit(self, data, **options)

    return patch.object(model, "fit", counted)
