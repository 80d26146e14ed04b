"""Uncertainty: hand-computed bounds, the textbook's matrix, what a log teaches, and less regret than at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.impressions import Impressions
from pasand.errors import InputError
from pasand.reranking.exploration import linucb, thompson
from pasand.reranking.exploration.uncertainty import Uncertainty
from pasand.reranking.random_slots import drawn, mixture
from pasand.types import Array, Queries
from tests.logs import log, tastes

RNG = np.random.default_rng(0)


def films() -> Dataset:
    """Return a log of items a to d with 3, 1, 0 and 0 positives; a and d are dramas, b a comedy, c of no genre."""
    events = [("u", "a", 10, 5.0), ("v", "a", 20, 5.0), ("u", "b", 30, 5.0), ("w", "a", 40, 5.0), ("w", "d", 50, 1.0)]
    data = log(events).with_items(["c"], {})
    genre = Feature(kind="categorical", values=np.array([0, 1, 0, -1], np.int32), names=("drama", "comedy"))
    return replace(data, item_features={"genre": genre})


def query(history: list[int], time: int = 100) -> Queries:
    return Queries(
        users=np.array([0], np.int32),
        history=np.array([history], np.int32).reshape(1, -1),
        history_time=np.zeros((1, len(history)), np.int64),
        history_value=np.full((1, len(history)), np.nan, np.float32),
        time=np.array([time]),
        k=3,
    )


def shown(item: list[int], clicked: list[bool], position: list[int], propensity: list[float]) -> Impressions:
    return Impressions(
        user=np.zeros(len(item), np.int32),
        item=np.array(item, np.int32),
        time=np.arange(len(item)),
        position=np.array(position, np.int32),
        clicked=np.array(clicked, np.bool_),
        propensity=np.array(propensity, np.float32),
    )


def test_bounds_by_hand() -> None:
    # own effects: 2 / (2 + 3), 2 / (2 + 1), 1; tastes after one drama: 1 - 1 / 2, 1, 1
    one = Uncertainty(features=["genre"], shrinkage=2.0).fit(films(), rng=RNG)
    rows = films().items.rows(["a", "b", "c"])
    mean, deviation = one.posterior(query([int(films().items.rows(["d"])[0])]), 0, rows)
    assert mean.tolist() == [0, 0, 0]
    np.testing.assert_allclose(deviation**2, [2 / 5 + 1 / 2, 2 / 3 + 1, 1 + 1], rtol=1e-6)
    scores = np.array([1.0, 0.9, 0.2])
    np.testing.assert_allclose(
        linucb.bounds(scores, deviation), [1 + np.sqrt(0.9), 0.9 + np.sqrt(5 / 3), 0.2 + np.sqrt(2)], rtol=1e-6
    )


def test_the_variance_of_tastes_is_that_of_ridge_regression_on_the_features() -> None:
    data = tastes()
    one = Uncertainty(features=["group"]).fit(data, rng=RNG)
    plain = Uncertainty().fit(data, rng=RNG)
    history, items = [0, 3, 4, 6], np.arange(9, dtype=np.int32)
    x = np.eye(3)[np.arange(30) % 3]  # groups as vectors of length 1
    matrix = np.eye(3) + x[history].T @ x[history]
    expected = np.einsum("nd,de,ne->n", x[items], np.linalg.inv(matrix), x[items])
    found = one.posterior(query(history), 0, items)[1] ** 2 - plain.posterior(query(history), 0, items)[1] ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    short = Uncertainty(features=["group"], history_length=1).fit(data, rng=RNG)
    np.testing.assert_array_equal(short.posterior(query(history), 0, items), one.posterior(query([6]), 0, items))
    none = one.posterior(query([]), 0, items)[1] ** 2 - plain.posterior(query([]), 0, items)[1] ** 2
    np.testing.assert_allclose(none, 1, rtol=1e-6)


def test_clicks_in_random_slots_move_the_mean() -> None:
    # position 2: rate 1/2 of 4 impressions; the certain impression and position 1, all clicked, teach nothing
    impressions = shown(
        [0, 1, 0, 1, 2, 3], [True, False, True, False, False, True], [2, 2, 2, 2, 2, 1], [0.5] * 4 + [1.0, 0.5]
    )
    data = replace(films(), impressions=impressions)
    one = Uncertainty(shrinkage=4.0).fit(data, rng=RNG)
    mean, deviation = one.posterior(query([]), 0, np.array([0, 1, 2, 3, -1, 9], np.int32))
    a, b, c, d = data.items.rows(["a", "b", "c", "d"])
    known = np.array([3, 1, 0, 0], float)[np.argsort([a, b, c, d])] + [0, 2, 0, 0]
    np.testing.assert_allclose(deviation**2, 4 / (4 + np.append(known, [0, 0])))
    np.testing.assert_allclose(mean, np.array([2, -2, 0, 0, 0, 0]) * 2 / (4 + np.append(known, [0, 0])))


def test_it_follows_the_events_before_each_query() -> None:
    data = films()
    one = Uncertainty(shrinkage=1.0).fit(data, rng=RNG)
    item = data.items.rows(["a"])

    def known(time: int) -> float:
        return float(1 / one.posterior(query([], time), 0, item)[1][0] ** 2 - 1)

    assert known(0) == pytest.approx(3)
    one.follow(data)
    assert [round(known(time)) for time in (10, 11, 21, 100)] == [0, 1, 2, 3]
    one.add_events(replace(data.select(slice(0, 1)), time=np.array([60])))
    assert [round(known(time)) for time in (60, 61)] == [3, 4]
    one.compact()
    assert round(known(0)) == 4
    one.follow(None)
    assert known(100) == pytest.approx(3)
    one.follow(replace(data, order="sequence"))
    assert known(0) == pytest.approx(3)


def test_a_saved_uncertainty_is_the_same_and_accepts_items() -> None:
    data = films()
    one = Uncertainty(features=["genre"]).fit(data, rng=RNG)
    other = Uncertainty(features=["genre"])
    other.load_state(one.state())
    items = np.arange(5, dtype=np.int32)
    for new in (one, other):
        new.add_items({"genre": replace(data.item_features["genre"], values=np.array([1], np.int32))})
    found = other.posterior(query([0, 1]), 0, items)
    np.testing.assert_array_equal(found, one.posterior(query([0, 1]), 0, items))
    assert found[1][4] > found[1][:2].max()
    with pytest.raises(ValueError, match="refused must be from 0"):
        other.load_state({**one.state(), "refused": -np.ones(4, np.int64)})


def test_features_that_items_lack_are_refused() -> None:
    with pytest.raises(InputError, match="items have no such feature"):
        Uncertainty(features=["studio"]).fit(films(), rng=RNG)


def bandit(method: str, seed: int) -> float:
    """Return the clicks that a policy misses per impression, over 20 refits of 200 impressions of 12 items."""
    rng = np.random.default_rng([seed, 1])
    rate = rng.beta(1, 9, 12)
    data, missed = log([("u", f"{i:02}", 1, 1.0) for i in range(12)]), []
    item, clicked = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    one, items = Uncertainty(shrinkage=10.0), np.arange(12, dtype=np.int32)
    for _ in range(20):
        impressions = shown(item.tolist(), clicked.tolist(), [1] * len(item), [0.5] * len(item))
        mean, deviation = one.fit(replace(data, impressions=impressions), rng=RNG).posterior(query([]), 0, items)
        chance: Array = np.full(12, 1 / 12)
        if method == "thompson":
            chance = mixture(thompson.weights(mean, deviation), 0.1)
        elif method == "linucb":
            chance = mixture((np.arange(12) == linucb.bounds(mean, deviation).argmax()).astype(float), 0.1)
        new = np.array([drawn(chance, number) for number in rng.random(200)], np.int32)
        item, clicked = np.append(item, new), np.append(clicked, rng.random(200) < rate[new])
        missed.append(rate.max() - rate[new].mean())
    return float(np.mean(missed))


@pytest.mark.parametrize("method", ["thompson", "linucb"])
def test_less_is_missed_than_at_random(method: str) -> None:
    own = np.array([bandit(method, seed) for seed in range(8)])
    at_random = np.array([bandit("uniform", seed) for seed in range(8)])
    assert (own < at_random).all()
    assert own.mean() < 0.5 * at_random.mean()
