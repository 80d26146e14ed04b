"""Held-out events of the later part of a log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pasand.stages.holdout import holdout
from tests.logs import log

EVENTS = [
    ("a", "w", 10, 5.0),
    ("a", "x", 20, 5.0),
    ("b", "w", 30, 5.0),
    ("b", "x", 40, 1.0),
    ("a", "y", 50, 5.0),
    ("a", "z", 50, 5.0),
    ("b", "w", 60, 5.0),
    ("b", "y", 70, 2.0),
]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_one_cut_in_time_and_histories_that_end_strictly_before() -> None:
    held_out = holdout(log(EVENTS), 0.5, 100, 10, rng())
    assert held_out is not None
    assert held_out.train.time.tolist() == [10, 20, 30, 40]
    assert held_out.event.tolist() == [4, 5]  # b had w before, and y is not positive
    assert held_out.upto.tolist() == [2, 2]  # y and z have the same time
    ((which, queries),) = held_out.batches(10)
    assert queries.history[which == 1].tolist() == [[0, 1]]
    assert queries.time.tolist() == [50, 50]


def test_all_ratings_are_held_out() -> None:
    held_out = holdout(log(EVENTS), 0.5, 100, 10, rng(), rated=True)
    assert held_out is not None
    assert held_out.event.tolist() == [4, 5, 6, 7]
    assert held_out.upto.tolist() == [2, 2, 2, 3]


def test_without_times_the_last_events_of_each_user() -> None:
    held_out = holdout(replace(log(EVENTS), order="sequence"), 0.25, 100, 10, rng())
    assert held_out is not None
    assert held_out.event.tolist() == [5]
    assert len(held_out.train) == 6


def test_limits_of_events_in_all_and_per_user() -> None:
    many = [(user, f"i{n:02}", 100 * n + place, 5.0) for n in range(20) for place, user in enumerate("abc")]
    held_out = holdout(log(many), 0.5, 100, 3, rng())
    assert held_out is not None
    assert np.bincount(held_out.user).tolist() == [3, 3, 3]
    fewer = holdout(log(many), 0.5, 4, 3, rng())
    assert fewer is not None
    assert len(fewer) == 4


def test_nothing_to_hold_out() -> None:
    assert holdout(log(EVENTS[:1]), 0.5, 100, 10, rng()) is None
    assert holdout(log(EVENTS).select(slice(0, 0)), 0.5, 100, 10, rng()) is None
