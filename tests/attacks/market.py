"""A log of genuine users: popular items, tastes, generous and strict users, better and worse items."""

from __future__ import annotations

from functools import cache

import numpy as np

from pasand.data.dataset import Dataset
from tests.logs import log

N_USERS, N_ITEMS = 300, 250


@cache
def market(seed: int = 0, *, n_users: int = N_USERS) -> Dataset:
    """Return the log; users choose by popularity and by the taste of one of five groups, 10 to 80 items each."""
    rng = np.random.default_rng(seed)
    group, popularity = rng.integers(0, 5, N_ITEMS), 1 / (5 + np.arange(N_ITEMS)) ** 1.2
    quality = rng.normal(3.6, 0.5, N_ITEMS)
    events = []
    for user in range(n_users):
        own = np.where(group == rng.integers(0, 5), rng.uniform(2, 10), 1) * popularity ** rng.uniform(0.7, 1.4)
        n = int(np.clip(rng.lognormal(3.2, 0.5), 10, 80))
        items = rng.choice(N_ITEMS, n, replace=False, p=own / own.sum())
        values = np.clip(np.rint(quality[items] + rng.normal(0, 0.5) + rng.normal(0, rng.uniform(0.5, 1.1), n)), 1, 5)
        start = int(rng.integers(0, 10_000_000))
        events += [
            (f"u{user:04}", f"i{item:04}", start + 60 * at, value)
            for at, (item, value) in enumerate(zip(items, values, strict=True))
        ]
    return log(sorted(events, key=lambda event: event[2]))


def rare_item(data: Dataset) -> int:
    """Return an item with the fewest events, 5 or more."""
    count = np.bincount(data.item, minlength=data.n_items)
    return int(np.argmin(np.where(count >= 5, count, count.max() + 1)))
