"""Bayesian factorisation machine: planted truth in features, new users and items, noise of users, invalid input."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.models.ratings.bayesian_fm import BayesianFM
from pasand.types import Scores
from tests.models.test_contract import clusters

USERS, ITEMS, NOISE = 120, 60, 0.5
RNG = np.random.default_rng
EVERYONE = np.arange(USERS, dtype=np.int32)
EVERYTHING = np.broadcast_to(np.arange(ITEMS, dtype=np.int32), (USERS, ITEMS))
SMALL = BayesianFM(dimensions=3, epochs=60, burn_in=20, samples=15)


def small(**options: object) -> BayesianFM:
    return replace(SMALL, **options)  # type: ignore[arg-type]


def log(user: NDArray[np.int64], item: NDArray[np.int64], value: NDArray[np.float64]) -> Dataset:
    return Dataset(
        name="made",
        users=Vocabulary(f"u{i:03}" for i in range(USERS)),
        items=Vocabulary(f"i{i:03}" for i in range(ITEMS)),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=np.arange(len(user), dtype=np.int64),
        value=value.astype(np.float32),
        values="rating",
    )


@cache
def planted() -> tuple[Dataset, Scores]:
    """Language by genre (one or two an item) decides, and the user's age; with the truth, (U, N)."""
    rng = RNG(0)
    language, age = np.arange(USERS) % 3, rng.uniform(20, 60, USERS).astype(np.float32)
    genres = np.stack([np.arange(ITEMS) % 4, np.where(np.arange(ITEMS) % 3 == 0, (np.arange(ITEMS) + 1) % 4, -1)], 1)
    kinds = rng.normal(0, 1, (3, 5))
    kinds[:, 4] = 0
    share = np.where(genres >= 0, 1 / np.sqrt((genres >= 0).sum(axis=1, keepdims=True)), 0)
    truth = 3 + 0.03 * (age[:, None] - 40) + (kinds[language][:, genres] * share).sum(axis=2)
    user, item = np.divmod(rng.choice(USERS * ITEMS, 2000, replace=False), ITEMS)
    data = log(user, item, truth[user, item] + rng.normal(0, NOISE, 2000))
    users = {
        "language": Feature(kind="categorical", values=language.astype(np.int32), names=("hi", "ta", "bn")),
        "age": Feature(kind="number", values=age),
    }
    items = {"genre": Feature(kind="bag", values=genres.astype(np.int32), names=tuple("abcd"))}
    return replace(data, user_features=users, item_features=items), truth.astype(np.float32)


@cache
def fitted() -> BayesianFM:
    """Learnt without the first 25 users and without items 7 and 8."""
    data, _ = planted()
    return small().fit(data.select((data.user >= 25) & ~np.isin(data.item, (7, 8))), rng=RNG(0))


def error(predicted: Scores, truth: Scores) -> float:
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def test_features_that_explain_the_ratings_are_found() -> None:
    data, truth = planted()
    assert data.value is not None
    queries, inside = data.queries(EVERYONE, k=1), np.clip(truth, data.value.min(), data.value.max())
    model = small().fit(data, rng=RNG(0))
    without = small(user_features=(), item_features=()).fit(data, rng=RNG(0))
    knowing, blind = (error(each.predict(queries, EVERYTHING), inside) for each in (model, without))
    assert knowing < 0.4 * NOISE
    assert knowing < 0.7 * blind
    learnt = model.state()
    # the draws find the level of the noise by themselves, and how far users differ beyond their features: not at all
    assert learnt["unit"][0] / np.sqrt(np.mean(learnt["alpha"])) == pytest.approx(NOISE, rel=0.15)
    assert len(model.curves()["train rmse"]) == 60


def test_a_new_user_is_predicted_from_features_and_gains_from_ratings() -> None:
    data, truth = planted()
    new = np.arange(25, dtype=np.int32)
    errors = [
        error(
            fitted().predict(data.queries(new, k=1, upto=np.full(25, n), features=given), EVERYTHING[:25]), truth[:25]
        )
        for n, given in ((0, {}), (5, {}), (0, None), (100, None))
    ]
    nothing, few, features, both = errors
    assert nothing == pytest.approx(error(np.full(ITEMS, 3, np.float32), truth[:25]), rel=0.15)
    assert few < 0.8 * nothing
    assert features < 0.2 * nothing
    assert both < 0.2 * nothing


def test_a_new_item_is_predicted_from_features() -> None:
    data, truth = planted()
    model, queries = BayesianFM(dimensions=3), data.queries(EVERYONE[25:], k=1)
    model.load_state(fitted().state())
    before = model.predict(queries, EVERYTHING[25:])
    genre = data.item_features["genre"]
    model.add_items({"genre": replace(genre, values=genre.values[[7, 8, 0]])})
    more = np.broadcast_to(np.arange(ITEMS, ITEMS + 3, dtype=np.int32), (len(queries), 3))
    after = model.predict(queries, more)
    assert error(after, truth[25:, [7, 8, 0]]) < 0.4 * error(np.full(2, 3, np.float32), truth[25:, [7, 8]])
    # it equals an item of the catalogue without ratings, and the other items do not change
    np.testing.assert_allclose(after[:, :2], before[:, 7:9], atol=1e-5)
    np.testing.assert_array_equal(model.predict(queries, EVERYTHING[25:]), before)
    assert model.score(queries, None).shape == (len(queries), ITEMS + 3)
    model.add_items({})
    assert model.score(queries, None).shape == (len(queries), ITEMS + 3)


def test_unknown_users_with_the_same_history_get_nearly_the_same_scores() -> None:
    """Not quite: the noise level of training users was drawn, that of unknown users is fitted."""
    data, _ = planted()
    data = data.select((data.user >= 25) & ~np.isin(data.item, (7, 8)))
    queries = data.queries(EVERYONE[25:], k=1)
    unknown_users = replace(queries, users=np.full(len(queries), -1, np.int32))
    same, other = (fitted().score(some_queries, None) for some_queries in (queries, unknown_users))
    assert error(same, other) < 0.05 * NOISE
    plain = small(degrees_of_freedom=0).fit(data, rng=RNG(0))
    np.testing.assert_allclose(plain.score(unknown_users, None), plain.score(queries, None), atol=2e-4)


def test_users_with_erratic_ratings_weigh_less() -> None:
    data, truth = planted()
    erratic = EVERYONE % 2 == 0
    noise = RNG(1).normal(0, 1, len(data)) * np.where(erratic[data.user], 2.0, 0.2)
    data = replace(data, value=truth[data.user, data.item] + noise.astype(np.float32), item_features={})
    errors = [
        error(model.predict(data.queries(EVERYONE, k=1), EVERYTHING)[~erratic], truth[~erratic])
        for model in (small(degrees_of_freedom=n).fit(data, rng=RNG(0)) for n in (2, 0))
    ]
    assert errors[0] < 0.75 * errors[1]


def test_unknown_users_and_items() -> None:
    data, _ = planted()
    queries = data.queries(np.array([-1, 30], np.int32), k=1)
    items = np.array([[3, -1, 7, ITEMS]] * 2, np.int32)
    predicted, scores = fitted().predict(queries, items), fitted().score(queries, items)
    assert np.isfinite(predicted).all()
    assert np.isneginf(scores[:, [1, 3]]).all()
    np.testing.assert_allclose(scores[:, [0, 2]], fitted().score(queries, None)[:, [3, 7]], atol=1e-4)


def test_same_seed_same_bits_and_state_round_trip() -> None:
    data, _ = planted()
    queries = data.queries(EVERYONE, k=1)
    short = small(dimensions=2, epochs=6, burn_in=3)
    one, two, other = (replace(short).fit(data, rng=RNG(seed)).score(queries, None) for seed in (3, 3, 4))
    assert one.tobytes() == two.tobytes() != other.tobytes()


@pytest.mark.parametrize("options", [{"dimensions": 0}, {"implicit": False}, {"degrees_of_freedom": 0}, {"bins": 4}])
def test_every_part_can_be_left_out(options: dict[str, object]) -> None:
    data, truth = planted()
    model = small(**options).fit(data, rng=RNG(0))
    assert error(model.predict(data.queries(EVERYONE, k=1), EVERYTHING), truth) < np.std(truth)


def test_mistakes_are_named() -> None:
    data, _ = planted()
    with pytest.raises(InputError, match="these data have none"):
        small().fit(replace(data, value=None, values="none"), rng=RNG(0))
    with pytest.raises(InputError, match="choose from: age, language"):
        small(user_features=("city",)).fit(data, rng=RNG(0))
    for options, message in (
        ({"epochs": 9, "burn_in": 9}, "burn_in must be at least 0 and less than epochs, got 9"),
        ({"samples": 0}, "samples must be positive, got 0"),
        ({"degrees_of_freedom": -1}, "degrees_of_freedom must be a finite number from 0, got -1"),
        ({"bins": 1}, "bins must be 0 or at least 2, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            BayesianFM(**options)  # type: ignore[arg-type]


def test_eight_fits_give_the_same_bits() -> None:
    data, _ = clusters()
    fits = [BayesianFM(epochs=30, burn_in=10).fit(data, rng=np.random.default_rng(3)).state() for _ in range(8)]
    for name, array in fits[0].items():
        assert {fit[name].tobytes() for fit in fits} == {array.tobytes()}, name
