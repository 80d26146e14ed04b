"""Choices from given lists: the model of the simulated events, with random numbers that recommenders share."""

from __future__ import annotations

import numpy as np

from pasand.simulation.choices import choices
from pasand.simulation.world import World

WORLD = World(n_users=1500, n_items=30, days=5)
USERS = np.arange(1500, dtype=np.int32)


def test_films_are_clicked_with_the_probability_of_the_world() -> None:
    items = np.tile(np.arange(8, dtype=np.int32), (1500, 1))
    clicked = np.mean([choices(WORLD, USERS, items, visit)[0] for visit in range(20)], axis=0)
    position = np.tile(np.arange(1, 9, dtype=np.int32), (1500, 1))
    expected = WORLD.click_probability(USERS, items, position)
    error = np.sqrt((expected * (1 - expected)).sum(axis=0) / 20) / 1500
    assert (np.abs(clicked.mean(axis=0) - expected.mean(axis=0)) < 4 * error).all()


def test_ratings_have_the_expected_mean() -> None:
    items = np.tile(np.arange(8, dtype=np.int32), (1500, 1))
    rating = np.mean([choices(WORLD, USERS, items, visit)[1] for visit in range(10)], axis=0)
    assert np.abs(rating.mean(axis=0) - WORLD.expected_rating(USERS, items).mean(axis=0)).max() < 0.03


def test_equal_lists_give_equal_choices_whatever_the_other_users_see() -> None:
    items = np.tile(np.arange(5, dtype=np.int32), (1500, 1))
    other = items.copy()
    other[700:] = [9, 8, 7, 6, 5]
    first, second = choices(WORLD, USERS, items, 3), choices(WORLD, USERS, other, 3)
    assert (first[0][:700] == second[0][:700]).all()
    assert (first[1][:700] == second[1][:700]).all()
    some = np.array([4, 1200], np.int32)
    assert (choices(WORLD, some, items[some], 3)[0] == first[0][some]).all()
    assert (choices(WORLD, USERS, items, 4)[0] != first[0]).any()


def test_unknown_users_and_films_are_not_clicked() -> None:
    items = np.array([[-1, 0, -1], [1, 2, 3]], np.int32)
    clicked, _ = choices(WORLD, np.array([0, -1], np.int32), items, 0)
    assert not clicked[0, [0, 2]].any()
    assert not clicked[1].any()
