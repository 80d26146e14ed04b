"""Training weights: nothing is deleted, a weight of 0 is the absence of a user, a weight of 1 changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand import models
from pasand.attacks.injection import Attack, inject
from pasand.attacks.weighing import RobustSplits, weighed, without_weights
from pasand.data.dataset import Dataset
from pasand.evaluation.protocols import protocol
from pasand.features.training_weights import COLUMN, pair_weights, training_weights
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.models.classical.user_knn import UserKNN
from tests.attacks.market import market, rare_item
from tests.logs import tastes

WEIGHTED = {"popularity": {}, "item_knn": {"neighbours": 30}, "ease": {}, "ials": {"dimensions": 4, "epochs": 3}}


def with_weights(data: Dataset, weight: np.ndarray) -> Dataset:
    return replace(data, columns={COLUMN: weight.astype(np.float32)})


def scores(name: str, data: Dataset) -> np.ndarray:
    model = models.find(name)(**WEIGHTED[name]).fit(data, rng=np.random.default_rng(0))
    return model.score(tastes().queries(np.arange(20, dtype=np.int32), k=5), None)


@pytest.mark.parametrize("name", sorted(WEIGHTED))
def test_events_of_weight_one_count_as_without_weights_and_those_of_weight_zero_not_at_all(name: str) -> None:
    data = tastes()
    full = scores(name, data)
    np.testing.assert_array_equal(scores(name, with_weights(data, np.ones(len(data)))), full)
    np.testing.assert_array_equal(scores(name, with_weights(data, np.full(len(data), np.nan))), full)
    kept = data.user >= 30
    without = scores(name, data.select(kept))
    down = scores(name, with_weights(data, kept))
    assert not np.allclose(down, full)
    if name != "ials":  # whose penalty counts the users with events
        np.testing.assert_allclose(down, without, atol=1e-4)


@pytest.mark.parametrize("name", sorted(WEIGHTED))
def test_a_weight_is_a_fraction_of_a_user(name: str) -> None:
    """Half of each of two equal users is one of them."""
    data = tastes()
    twice = replace(
        data,
        users=data.users.appended(f"copy of {user}" for user in data.users.series),
        user=np.append(data.user, data.user + data.n_users).astype(np.int32),
        item=np.tile(data.item, 2),
        time=np.tile(data.time, 2),
        value=np.tile(data.value, 2),  # type: ignore[arg-type]
    )
    if name != "ials":
        halves = scores(name, with_weights(twice, np.full(len(twice), 0.5)))
        np.testing.assert_allclose(halves, scores(name, data), atol=1e-4)


def test_pair_weights_are_the_largest_of_the_positive_events() -> None:
    data = tastes()
    assert training_weights(data) is None
    assert pair_weights(data) is None
    rng = np.random.default_rng(0)
    data = with_weights(data, rng.random(len(data)))
    pairs = pair_weights(data)
    assert pairs is not None
    assert pairs.nnz == data.matrix().nnz
    dense, expected = pairs.toarray(), np.zeros((data.n_users, data.n_items), np.float32)
    for user, item, weight, positive in zip(data.user, data.item, data.columns[COLUMN], data.is_positive, strict=True):
        if positive:
            expected[user, item] = max(expected[user, item], weight)
    np.testing.assert_array_equal(dense, expected)


def test_suspicious_events_are_kept_and_count_less() -> None:
    data = market()
    result = inject(data, Attack(share=0.05, filler=0.1), rare_item(data), rng=np.random.default_rng(1))
    found = weighed(result.data)
    assert found.data.user is result.data.user
    assert len(found.data) == len(result.data)
    weight = training_weights(found.data)
    assert weight is not None
    assert weight[result.injected].mean() < 0.1
    assert (weight[~result.injected] > 0.9).mean() > 0.99
    assert found.events == (weight < 1).sum()
    assert f"{found.events:,} of {len(data) + result.injected.sum():,}" in str(found)
    assert found.as_json()["down_weighted_events"] == found.events
    assert "every event counts fully" in str(weighed(data))


def test_a_split_is_weighed_by_its_train_part_alone() -> None:
    data = market()
    attacked = inject(data, Attack(share=0.05, filler=0.1), rare_item(data), rng=np.random.default_rng(1)).data
    plain, robust = (one.split(attacked)[0] for one in (protocol("temporal"), RobustSplits(protocol("temporal"))))
    np.testing.assert_array_equal(robust.train.user, plain.train.user)
    alone = training_weights(weighed(plain.train).data)
    np.testing.assert_array_equal(training_weights(robust.train), alone)
    assert COLUMN not in robust.test.columns
    assert robust.followed is not None
    assert training_weights(robust.followed) is not None
    assert "count" in robust.rules["training weights"]


def test_models_without_weights_are_named() -> None:
    assert without_weights([EASE(), UserKNN(), IALS(), object()]) == ["UserKNN"]
