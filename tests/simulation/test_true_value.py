"""True values: exact clicks against drawn ones, and policies with random slots."""

from __future__ import annotations

from itertools import count

import numpy as np

from pasand.simulation.choices import choices
from pasand.simulation.true_value import expected_clicks, expected_satisfaction, true_value
from pasand.simulation.world import World
from pasand.types import Candidates, Queries

WORLD = World(n_users=60, n_items=30, days=20)
DATA = WORLD.dataset(impressions=False)
USERS = np.arange(60, dtype=np.int32)
ITEMS = np.argsort(np.random.default_rng(0).random((60, 30)), axis=1)[:, :6].astype(np.int32)


def test_satisfaction_is_the_mean_of_drawn_choices() -> None:
    preference = WORLD.preference(USERS, ITEMS)
    drawn = np.array([(choices(WORLD, USERS, ITEMS, visit)[0] * preference).sum(axis=1) for visit in range(400)])
    error = drawn.mean(axis=1).std(ddof=1) / np.sqrt(400)
    assert abs(drawn.mean() - expected_satisfaction(WORLD, USERS, ITEMS).mean()) < 4 * error


def test_padding_and_unknown_users_have_no_clicks() -> None:
    items = np.array([[3, -1], [3, 4]], np.int32)
    found = expected_clicks(WORLD, np.array([0, -1], np.int32), items)
    assert found[0, 0] > 0
    assert (found[[0, 1, 1], [1, 0, 1]] == 0).all()
    assert (expected_satisfaction(WORLD, np.array([0], np.int32), np.full((1, 2), -1, np.int32)) == 0).all()


def test_the_value_of_a_policy_is_the_mean_over_its_draws() -> None:
    """Rows of the data are matched by id, and each draw is of another second."""
    numbers = count()

    def policy(queries: Queries) -> Candidates:
        items = ITEMS[queries.users] if next(numbers) % 2 else ITEMS[queries.users, ::-1]
        assert (queries.time == times + next(seconds)).all()
        return Candidates(items=items, scores=np.zeros(items.shape, np.float32))

    queries = DATA.queries(USERS, k=6)
    times, seconds = queries.time, iter(range(2))
    found = true_value(WORLD, policy, queries, DATA, draws=2)
    both = [expected_clicks(WORLD, USERS, items).sum(axis=1) for items in (ITEMS, ITEMS[:, ::-1])]
    assert np.allclose(found, (both[0] + both[1]) / 2)
