"""Plays as weights: by hand, and iALS against dense solves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.features.strengths import of_histories, weights
from pasand.models.classical.ials import IALS
from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.popularity import Popularity
from pasand.types import Array
from tests.models.test_contract import dataset

USER = [0, 0, 0, 1, 1, 2, 2, 2]
ITEM = [0, 1, 1, 0, 2, 1, 2, 3]
PLAYS = [2, 1, 5, 2, 14, 2, 2, 2]
"""The user 0 played item 1 in two events, 6 times in all; the median of the pairs and of the events is 2."""


def plays(value: list[int] = PLAYS, **changes: Any) -> Dataset:
    data = dataset(USER, ITEM, np.array(value, np.float32), n_items=5)
    return replace(data, **{"values": "strength", "positive_from": -np.inf, **changes})


def weight_table(weighting: str) -> Array:
    """Return the weights of the pairs of `PLAYS`, (3, 5), by hand."""
    counts = np.array([[2, 6, 0, 0, 0], [2, 0, 14, 0, 0], [0, 2, 2, 2, 0]])
    relative = {"none": (counts > 0) * 1.0, "linear": counts / 2, "log": np.log2(1 + counts / 2)}
    return relative[weighting]


ALL = pytest.mark.parametrize("weighting", ["none", "linear", "log"])


def test_weights_by_hand() -> None:
    strength = np.array([2, 6, 14, np.nan, -1], np.float32)
    np.testing.assert_allclose(weights(strength, 2.0, "linear"), [1, 3, 7, 1, 1e-3])
    np.testing.assert_allclose(weights(strength, 2.0, "log"), [1, 2, 3, 1, 1e-3])
    np.testing.assert_array_equal(weights(strength, 2.0, "none"), 1)
    np.testing.assert_array_equal(weights(strength, 0.0, "log"), 1)


def test_plays_of_a_history_add_up() -> None:
    history = np.array([[-1, 3, 1, 3]], np.int32)
    usable = np.array([[-1, -1, 1, 3]], np.int32)
    strength = np.array([[np.nan, 2, 14, 4]], np.float32)
    np.testing.assert_allclose(of_histories(usable, history, strength, 2.0, "log")[0, 2:], [3, 2])


@ALL
def test_popularity_counts_the_weights(weighting: Any) -> None:
    model = Popularity(weighting=weighting).fit(plays(), rng=np.random.default_rng(0))
    counts: dict[str, list[float]] = {
        "none": [2, 3, 2, 1, 0],
        "linear": [2, 0.5 + 2.5 + 1, 7 + 1, 1, 0],
        "log": [2, np.log2(1.5) + np.log2(3.5) + 1, 3 + 1, 1, 0],
    }
    events = np.array(counts[weighting])
    queries = plays().queries(np.array([0], np.int32), k=1)
    np.testing.assert_allclose(model.score(queries, None)[0], events / events.sum(), rtol=1e-5)


@ALL
def test_item_knn_is_the_cosine_of_the_weights(weighting: Any) -> None:
    model = ItemKNN(weighting=weighting, shrinkage=1.5).fit(plays(), rng=np.random.default_rng(0))
    table = weight_table(weighting)
    norm = np.linalg.norm(table, axis=0)
    cosine = table.T @ table / (np.outer(norm, norm) + 1.5)
    np.fill_diagonal(cosine, 0)
    queries = plays().queries(np.arange(3, dtype=np.int32), k=1)
    np.testing.assert_allclose(model.score(queries, None), table @ cosine, rtol=1e-5, atol=1e-6)


@ALL
@pytest.mark.parametrize("conjugate_steps", [0, 12])
def test_ials_is_that_of_dense_solves(weighting: Any, conjugate_steps: int) -> None:
    table = weight_table(weighting)
    settings: dict[str, Any] = {"dimensions": 3, "unobserved_weight": 0.2, "l2": 0.03, "epochs": 3}
    model = IALS(**settings, weighting=weighting, conjugate_steps=conjugate_steps)
    model.fit(plays(), rng=np.random.default_rng(9))

    def side(weight: Array, others: Array, active: int) -> Array:
        out = np.zeros((len(weight), 3))
        for row, w in enumerate(weight):
            if w.any():
                system = (others.T * (w + 0.2)) @ others + 0.03 * (w.sum() + 0.2 * active) * np.eye(3)
                out[row] = np.linalg.solve(system, others.T @ w)
        return out

    items = np.random.default_rng(9).normal(0, 0.1 / np.sqrt(3), (5, 3))
    items[4] = 0
    for _ in range(3):
        users = side(table, items, 4)
        items = side(table.T, users, 3)
    queries = plays().queries(np.arange(3, dtype=np.int32), k=1)
    expected = side(table, items, 4) @ items.T
    np.testing.assert_allclose(model.score(queries, None), expected, atol=2e-3)
    item = np.array([[1]] * 3, np.int32)
    shares = [sum(reason.weight for reason in why[0]) for why in model.reasons(queries, item)]
    assert all(share >= score - 1e-4 for share, score in zip(shares, model.score(queries, item)[:, 0], strict=True))


@pytest.mark.parametrize("model", [IALS(dimensions=3), ItemKNN(), Popularity()], ids=str)
def test_plays_change_scores_and_the_unit_does_not(model: Any) -> None:
    def scores(value: list[int], **changes: Any) -> Array:
        data = plays(value, **changes)
        fitted = replace(model).fit(data, rng=np.random.default_rng(0))
        return np.asarray(fitted.score(data.queries(np.arange(3, dtype=np.int32), k=1), None))

    many = [500 if at == 4 else 1 for at in range(8)]
    assert not np.allclose(scores(many), scores([1] * 8), atol=1e-3)
    np.testing.assert_allclose(scores([60 * count for count in PLAYS]), scores(PLAYS), rtol=1e-4, atol=1e-5)
    rated: Any = {"values": "rating"}
    np.testing.assert_array_equal(scores(many, **rated), scores([1] * 8, **rated))


@pytest.mark.parametrize("model", [IALS, ItemKNN, Popularity])
def test_a_wrong_weighting_is_named(model: Any) -> None:
    with pytest.raises(ValueError, match="weighting must be none, linear or log, got 'square'"):
        model(weighting="square")
