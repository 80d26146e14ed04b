"""True values of lists and of policies in a simulated world: the yardstick of evaluations that see a log only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pasand.data.dataset import Dataset
from pasand.simulation.world import World
from pasand.types import Array, Candidates, Queries, Rows

Policy = Callable[[Queries], Candidates]
"""What returns lists, such as a recommender."""


def expected_clicks(world: World, users: Rows, items: Rows) -> Array:
    """Return the exact probability that each film of a list is clicked, (B,), (B, K) -> (B, K) float64; 0 at row -1."""
    position = np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int32), items.shape)
    clicks = world.click_probability(users, items, position).astype(np.float64)
    return np.where((items >= 0) & (users >= 0)[:, None], clicks, 0.0)


def expected_satisfaction(world: World, users: Rows, items: Rows) -> Array:
    """Return the expected sum of the true preferences of the films that are clicked in a list, (B,).

    A preference is in [0, 1] and at most `choice_model.MAX_CLICKS` films are clicked, 3; 0 for an empty list.
    """
    preference = np.nan_to_num(world.preference(users, items)).astype(np.float64)
    return np.asarray((expected_clicks(world, users, items) * preference).sum(axis=1))


def true_value(world: World, policy: Policy, queries: Queries, data: Dataset, *, draws: int = 1) -> Array:
    """Return the expected number of clicks of a policy in the list of each query, (B,), which no log can show exactly.

    Rows of the queries are those of `data`, whose users and items are matched with the world's by their ids. Clicks are
    computed and not drawn. For a policy with random slots, the value is the mean over `draws` lists, the queries being
    a second later for each: the draws of `Explore` depend on the time in seconds. The mean over queries is what
    `pasand ope` estimates for this policy with clicks as the reward. Raises ValueError for fewer draws than 1.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    people, films = world.aligned(data)
    users = np.where(queries.users >= 0, people[queries.users], np.int32(-1))
    total = np.zeros(len(queries))
    for second in range(draws):
        items = policy(replace(queries, time=queries.time + second)).items
        total += expected_clicks(world, users, np.where(items >= 0, films[items], np.int32(-1))).sum(axis=1)
    return total / draws
