"""Draws without replacement: probabilities equal to enumeration, and frequencies of many draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.reranking.counted_search import Values
from pasand.reranking.random_slots import drawn, mixture, slot_probabilities, softmax, uniform_number
from pasand.types import Queries


def enumerated(weights: Values, slots: int) -> Values:
    """Return the probability of each item in each slot, over all permutations."""
    table = np.zeros((len(weights), slots))
    for ranking in itertools.permutations(range(len(weights)), slots):
        left, chance = weights.sum(), 1.0
        for i in ranking:
            chance *= weights[i] / left
            left -= weights[i]
        for r, i in enumerate(ranking):
            table[i, r] += chance
    return table


@settings(max_examples=60)
@given(
    logs=st.lists(st.floats(-6, 6), min_size=1, max_size=7),
    slots=st.integers(1, 3),
)
def test_slot_probabilities_equal_enumeration(logs: list[float], slots: int) -> None:
    weights, slots = np.exp(np.array(logs)), min(slots, len(logs))
    np.testing.assert_allclose(slot_probabilities(weights, slots), enumerated(weights, slots), rtol=1e-6, atol=1e-12)


def test_slots_add_up_and_do_not_depend_on_the_nodes() -> None:
    weights = np.exp(np.random.default_rng(0).normal(size=200))
    found = slot_probabilities(weights, 3)
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=1e-8)
    np.testing.assert_allclose(found, slot_probabilities(weights, 3, nodes=200), rtol=1e-9)


def test_wrong_weights() -> None:
    for weights in ([1.0, 0.0], [1.0, np.inf]):
        with pytest.raises(ValueError, match="positive and finite"):
            slot_probabilities(np.array(weights), 1)
    with pytest.raises(ValueError, match="slots must be from 1 to the 2 items, got 3"):
        slot_probabilities(np.ones(2), 3)


def test_mixtures_have_a_floor() -> None:
    found = mixture(softmax(np.array([9.0, 0.0, -900.0]), 0.5), 0.3)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0.1 - 1e-12


def test_inversion_draws_in_proportion() -> None:
    probability = np.array([0.2, 0.0, 0.5, 0.3])
    counts = np.bincount([drawn(probability, (n + 0.5) / 1000) for n in range(1000)], minlength=4)
    assert counts.tolist() == [200, 0, 500, 300]
    assert drawn(np.array([0.5, 0.5]), 1 - 2**-53) == 1


def test_numbers_follow_the_draw_of_a_query_or_its_user_history_and_time() -> None:
    def query(user: int, time: int, history: list[int], draw: int | None) -> Queries:
        return Queries(
            users=np.array([user], np.int32),
            history=np.array([history], np.int32),
            history_time=np.zeros((1, len(history)), np.int64),
            history_value=np.ones((1, len(history)), np.float32),
            time=np.array([time], np.int64),
            draw=None if draw is None else np.array([draw]),
            k=1,
        )

    assert uniform_number(query(3, 10, [1], 7), 0, 5) == uniform_number(query(3, 99, [1, 2], 7), 0, 5)
    assert query(3, 10, [1], 7).take(np.array([0, 0])).draw is not None
    drawn_by = [(3, 10, [1], 7), (3, 10, [1], 8), (4, 10, [1], 7), (3, 10, [1], None), (3, 11, [1], None)]
    drawn_by += [(-1, 10, [1], None), (-1, 10, [2], None)]
    numbers = {uniform_number(query(*each), 0, 5) for each in drawn_by}
    assert len(numbers) == len(drawn_by)
    assert uniform_number(query(3, 10, [1], -1), 0, 5) == uniform_number(query(3, 10, [1, 2], None), 0, 5)
