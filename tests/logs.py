"""Small logs for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary


def log(events: list[tuple[str, str, int, float]], *, positive_from: float = 4, **more: object) -> Dataset:
    """Return a log of (user, item, time, rating) events, which must be in order of time."""
    users = Vocabulary({user for user, *_ in events})
    items = Vocabulary({item for _, item, *_ in events})
    return Dataset(
        name="test",
        users=users,
        items=items,
        user=users.rows([event[0] for event in events]),
        item=items.rows([event[1] for event in events]),
        time=np.array([event[2] for event in events], np.int64),
        value=np.array([event[3] for event in events], np.float32),
        values="rating",
        positive_from=positive_from,
        **more,  # type: ignore[arg-type]
    )


def tastes(n_users: int = 60, n_items: int = 30, n_groups: int = 3, per_user: int = 8, seed: int = 0) -> Dataset:
    """Return a log in which users of a group like the items of their group, ratings 5, and few others, ratings 2."""
    rng = np.random.default_rng(seed)
    events = []
    for user in range(n_users):
        own = [item for item in range(n_items) if item % n_groups == user % n_groups]
        chosen = rng.choice(own, min(per_user, len(own)), replace=False)
        events += [(f"u{user:03}", f"i{item:03}", 5.0) for item in chosen]
        events.append((f"u{user:03}", f"i{rng.integers(n_items):03}", 2.0))
    order = rng.permutation(len(events))
    data = log([(*events[i][:2], 1_000_000 + 60 * n, events[i][2]) for n, i in enumerate(order)])
    titles = Feature(
        kind="text", values=np.array([f"Film {name}" for name in data.items.ids(np.arange(data.n_items))], "T")
    )
    group = Feature(kind="categorical", values=np.arange(data.n_items, dtype=np.int32) % 3, names=("a", "b", "c"))
    return replace(data, item_features={"title": titles, "group": group})
