"""YouTube's candidate generation on worlds whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.models.towers.youtube import YouTube, default_layers
from pasand.types import Queries, Scores
from tests.models.test_contract import dataset
from tests.models.towers.test_two_tower import GENRES, N_USERS, OLD, genre_of, genres, query_of

SMALL = {
    "dimensions": 16,
    "epochs": 20,
    "patience": 0,
    "batch_size": 256,
    "negatives": 64,
    "layers": (32, 16),
    "learning_rate": 0.01,
}
DAY = 86_400


def model(**options: object) -> YouTube:
    return YouTube(**{**SMALL, **options})  # type: ignore[arg-type]


@cache
def fitted() -> YouTube:
    return model().fit(genres(), rng=np.random.default_rng(0))


@pytest.mark.parametrize("genre", range(GENRES))
def test_a_new_user_is_known_by_history_or_features(genre: int) -> None:
    for queries in (query_of([genre, genre + GENRES]), query_of([], {"taste": np.array([genre])})):
        best = np.argsort(-fitted().score(queries, None)[0, OLD])[:5]
        assert (genre_of(best) == genre).all()


def test_a_query_without_inputs_has_no_scores() -> None:
    for features in ({}, {"taste": np.array([-1])}, {"weather": np.array([1])}):
        assert np.isneginf(fitted().score(query_of([], features), None)).all()


def test_searches_are_a_bag_of_the_user() -> None:
    """Searches reveal the taste of a user without watched items."""
    searched = (np.arange(N_USERS) % GENRES)[:, None].astype(np.int32)
    feature = Feature(kind="bag", values=np.pad(searched, ((0, 0), (0, 2)), constant_values=-1), names=tuple("abcd"))
    tower = model().fit(replace(genres(), user_features={"searches": feature}), rng=np.random.default_rng(0))
    best = np.argsort(-tower.score(query_of([], {"searches": np.array([[2, -1]])}), None)[0, OLD])[:5]
    assert (genre_of(best) == 2).all()


@cache
def disliked() -> Dataset:
    """Users dislike items of one half and then like items of the other; the two halves of users watch by turns."""
    rng = np.random.default_rng(2)
    events = []
    for user in range(100):
        half = user % 2
        events += [(user, 20 * (1 - half) + i, 1.0) for i in rng.permutation(20)[:4]]
        events += [(user, 20 * half + i, 5.0) for i in rng.permutation(20)[:4]]
    user, item, value = np.array(events).T
    return dataset(user.astype(np.int32), item.astype(np.int32), value.astype(np.float32), n_items=40)


def after_dislikes(first: int) -> Queries:
    rows = np.arange(first, first + 3, dtype=np.int32)[None, :]
    return replace(query_of([0, 0, 0]), history=rows, history_value=np.ones((1, 3), np.float32))


def test_what_was_watched_and_not_liked_is_a_second_history() -> None:
    tower = model().fit(disliked(), rng=np.random.default_rng(0))
    for first, better in ((0, slice(20, 40)), (20, slice(0, 20))):
        scores = tower.score(after_dislikes(first), None)[0]
        best = np.argsort(-scores)[:10]
        assert np.isin(best, np.arange(40)[better]).mean() >= 0.8
    deaf = model(use_other_events=False, epochs=1).fit(disliked(), rng=np.random.default_rng(0))
    assert np.isneginf(deaf.score(after_dislikes(0), None)).all()


@cache
def fashions() -> Dataset:
    """Each of ten periods of 30 days has three items of its own that all users of that period like."""
    rng = np.random.default_rng(4)
    events = []
    for user in range(150):
        period = user % 10
        items = 3 * period + rng.permutation(3)
        events += [(period * 30 + 5 * n, user, int(item)) for n, item in enumerate(items)]
    events.sort()
    time, user, item = np.array(events).T
    data = dataset(user.astype(np.int32), item.astype(np.int32), n_items=30)
    same = Feature(kind="categorical", values=np.zeros(150, np.int32), names=("all",))
    return replace(data, time=time.astype(np.int64) * DAY, user_features={"group": same})


def scores_of_a_newcomer(example_age: bool) -> Scores:
    tower = model(example_age=example_age, epochs=60).fit(fashions(), rng=np.random.default_rng(0))
    scores: Scores = tower.score(query_of([], {"group": np.array([0])}), None)[0]
    return scores


def test_example_age_removes_the_bias_to_old_items() -> None:
    """All items have the same number of positives; only the age shows which of them are popular now."""
    aged, plain = scores_of_a_newcomer(True), scores_of_a_newcomer(False)
    assert set(np.argsort(-aged)[:3].tolist()) == {27, 28, 29}
    assert aged[27:].mean() - aged[:27].mean() > 2 * abs(plain[27:].mean() - plain[:27].mean())


def test_the_age_is_zero_when_serving() -> None:
    read = fitted()._inputs(genres().queries(np.array([0, 1], np.int32), k=5))
    assert read["age"].shape == (2, 2)
    assert not read["age"].any()


def test_users_may_weigh_the_same() -> None:
    tower = model(per_user=5).fit(genres(), rng=np.random.default_rng(0))
    best = np.argsort(-tower.score(query_of([1, 5]), None)[0, OLD])[:5]
    assert (genre_of(best) == 1).all()


def test_widths_follow_the_data() -> None:
    assert default_layers(1_000_000) == (1024, 512, 256)
    assert default_layers(250_000) == (512, 256, 128)
    assert default_layers(0) == (64, 32, 16)
    tower = model(layers=None, epochs=1).fit(genres(), rng=np.random.default_rng(0))
    assert tower.state()["layers"].tolist() == [64, 32, 16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"per_user": -1}, "per_user must be a finite number from 0"),
        ({"layers": ()}, "layers must be positive and one at least"),
    ],
)
def test_wrong_fields_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**options)
