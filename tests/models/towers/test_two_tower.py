"""Two towers on worlds whose truth is known: taste is genre, or popularity alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.models.towers.two_tower import TwoTower
from pasand.types import Array, Queries, Rows
from tests.models.test_contract import dataset

GENRES, EACH, NEW = 4, 10, 8
"""Genres, old items of each, and new items without positives, which go through the genres in turn."""
N_USERS = 120
SMALL = {"dimensions": 16, "epochs": 25, "patience": 0, "batch_size": 256, "negatives": 64, "learning_rate": 0.02}


def genre_of(item: Array) -> Array:
    return item % GENRES


@cache
def genres() -> Dataset:
    """Users like old items of their own genre; what they like is their taste feature, for all but the last 20 users."""
    rng = np.random.default_rng(3)
    taste = np.arange(N_USERS) % GENRES
    user = np.repeat(np.arange(N_USERS), 6)
    item = np.concatenate([rng.permutation(EACH)[:6] * GENRES + t for t in taste])
    order = rng.permutation(len(user))
    known_taste = np.where(np.arange(N_USERS) < N_USERS - 20, taste, -1).astype(np.int32)
    names = tuple("abcd")
    data = dataset(user[order].astype(np.int32), item[order].astype(np.int32), n_items=GENRES * EACH + NEW)
    every = np.arange(data.n_items, dtype=np.int32)
    years = np.where(every % 5 == 0, np.nan, 1990 + every % 7).astype(np.float32)
    return replace(
        data,
        user_features={"taste": Feature(kind="categorical", values=known_taste, names=names)},
        item_features={
            "genres": Feature(kind="bag", values=genre_of(every)[:, None].astype(np.int32), names=names),
            "year": Feature(kind="number", values=years),
        },
    )


def model(**options: object) -> TwoTower:
    return TwoTower(**{**SMALL, **options})  # type: ignore[arg-type]


@cache
def fitted() -> TwoTower:
    return model(id_dropout=0.3).fit(genres(), rng=np.random.default_rng(0))


def query_of(history: list[int], features: dict[str, Array] | None = None) -> Queries:
    """A query of a user who was never seen."""
    rows = np.array([history], np.int32).reshape(1, -1)
    return Queries(
        users=np.array([-1], np.int32),
        history=rows,
        history_time=np.zeros(rows.shape, np.int64),
        history_value=np.full(rows.shape, np.nan, np.float32),
        time=np.zeros(1, np.int64),
        features=features or {},
        k=5,
    )


def top(tower: TwoTower, queries: Queries, among: Rows, k: int) -> Rows:
    return among[np.argsort(-tower.score(queries, None)[0, among], kind="stable")[:k]]


OLD = np.arange(GENRES * EACH, dtype=np.int32)
FRESH = np.arange(GENRES * EACH, GENRES * EACH + NEW, dtype=np.int32)


@pytest.mark.parametrize("genre", range(GENRES))
def test_a_new_user_is_known_by_history_alone(genre: int) -> None:
    queries = query_of([genre, genre + GENRES])
    assert (genre_of(top(fitted(), queries, OLD, 6)) == genre).all()


@pytest.mark.parametrize("genre", range(GENRES))
def test_a_new_item_is_known_by_features_alone(genre: int) -> None:
    known_user = genres().queries(np.array([genre], np.int32), k=5)
    for queries in (known_user, query_of([genre, genre + GENRES])):
        assert (genre_of(top(fitted(), queries, FRESH, NEW // GENRES)) == genre).all()


@pytest.mark.parametrize("genre", range(GENRES))
def test_a_new_user_is_known_by_features_alone(genre: int) -> None:
    queries = query_of([], {"taste": np.array([genre], np.int32)})
    assert (genre_of(top(fitted(), queries, OLD, 6)) == genre).all()


def test_a_query_without_inputs_has_no_scores() -> None:
    for features in ({}, {"taste": np.array([-1])}, {"taste": np.array([9])}, {"shoe size": np.array([40.0])}):
        assert np.isneginf(fitted().score(query_of([], features), None)).all()
        assert not fitted().embed_queries(query_of([], features)).any()


def test_inputs_unknown_at_training_change_nothing() -> None:
    plain = fitted().score(query_of([1, 5]), None)
    odd = {"shoe size": np.array([40.0]), "taste": np.array([17])}
    np.testing.assert_array_equal(fitted().score(query_of([1, 5], odd), None), plain)
    np.testing.assert_array_equal(fitted().score(query_of([1, int(FRESH[0]), 5]), None), plain)


def test_an_item_without_positives_and_features_has_no_vector() -> None:
    data = genres()
    bare = dict(data.item_features)
    blank = bare["genres"].take(np.arange(data.n_items, dtype=np.int32))
    blank[FRESH[0]] = -1
    years = bare["year"].values.copy()
    years[FRESH[0]] = np.nan
    bare["genres"], bare["year"] = replace(bare["genres"], values=blank), replace(bare["year"], values=years)
    tower = model(epochs=1).fit(replace(data, item_features=bare), rng=np.random.default_rng(0))
    vectors = tower.embed_items(FRESH)
    assert not vectors[0].any()
    assert vectors[1:].any(axis=1).all()
    idle = model(epochs=1, item_features=()).fit(data, rng=np.random.default_rng(0))
    assert not idle.embed_items(FRESH).any()
    assert idle.embed_items(OLD).any(axis=1).all()


def test_items_added_later_are_known_by_their_features() -> None:
    """They equal items without positives in training; a bag may be wider, a feature missing, a category unknown."""
    data = genres()
    first = {name: replace(feature, values=feature.values[: len(OLD)]) for name, feature in data.item_features.items()}
    tower = model(id_dropout=0.3, item_features=("genres",))
    tower.fit(replace(data, items=Vocabulary(data.items.ids(OLD)), item_features=first), rng=np.random.default_rng(0))
    before = tower.embed_items(OLD)
    genre = data.item_features["genres"].take(FRESH)
    wider = np.concatenate([genre, np.full_like(genre, 99), genre], axis=1)
    tower.add_items({"genres": replace(data.item_features["genres"], values=wider)})
    assert tower.state()["item.genres"].shape == (len(OLD) + NEW, 1)
    np.testing.assert_array_equal(tower.embed_items(OLD), before)
    for taste in range(GENRES):
        assert (genre_of(top(tower, query_of([taste, taste + GENRES]), FRESH, NEW // GENRES)) == taste).all()
    tower.add_items({"year": Feature(kind="number", values=np.array([1999], np.float32))})
    tower.add_items({"genres": replace(first["genres"], values=np.array([[99]], np.int32))})
    assert not tower.embed_items(np.array([48, 49], np.int32)).any()
    assert np.isneginf(tower.score(query_of([1]), None)[0, 48:]).all()


def test_a_tower_of_ids_takes_no_new_items() -> None:
    tower = model(epochs=1, item_features=()).fit(genres(), rng=np.random.default_rng(0))
    tower.add_items(genres().item_features)
    assert tower.score(query_of([1]), None).shape == (1, len(OLD) + NEW)


def test_cosines_are_cosines() -> None:
    vectors = [fitted().embed_items(OLD), fitted().embed_queries(query_of([1, 2]))]
    for found in vectors:
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "binary", "negatives": 4, "normalise": False, "temperature": 1.0, "layers": (32, 16)},
        {"loss": "bpr", "negatives": 4},
        {"loss": "in_batch"},
        {"loss": "in_batch", "log_q": "streaming"},
        {"loss": "mixed", "negatives": 16},
        {"loss": "sampled_softmax", "negative_sampling": "popularity"},
        {"loss": "full_softmax"},
        {"use_ids": False, "bins": 3},
        {"use_history": False},
        {"layers": (16,), "bf16": True},
    ],
    ids=str,
)
def test_every_setting_learns_the_taste(options: dict[str, object]) -> None:
    tower = model(**options).fit(genres(), rng=np.random.default_rng(0))
    users = np.arange(20, dtype=np.int32)
    scores = tower.score(genres().queries(users, k=5), None)[:, OLD]
    best = np.argsort(-scores, axis=1)[:, :5]
    assert (genre_of(best) == (users % GENRES)[:, None]).mean() > 0.9


def test_the_textbook_exercise_is_one_setting() -> None:
    """Ids, binned age and gender; ids and genres; cross-entropy with 4 negatives, no history."""
    data = genres()
    about = {
        "age": Feature(kind="number", values=np.arange(N_USERS).astype(np.float32)),
        "gender": Feature(kind="categorical", values=(np.arange(N_USERS) % 2).astype(np.int32), names=("f", "m")),
    }
    tower = model(
        use_history=False,
        user_features=("age", "gender"),
        item_features=("genres",),
        bins=5,
        loss="binary",
        negatives=4,
    )
    tower.fit(replace(data, user_features={**data.user_features, **about}), rng=np.random.default_rng(0))
    queries = data.queries(np.array([3], np.int32), k=5)
    assert set(tower._inputs(queries)) == {"user", "user.age", "user.gender"}
    assert set(tower._item_inputs(OLD)) == {"item", "item.genres"}
    assert (genre_of(top(tower, queries, OLD, 5)) == 3).mean() > 0.5


@cache
def popular() -> Dataset:
    """All users draw from the same skewed distribution: popular items are liked most."""
    rng = np.random.default_rng(1)
    share = 1 / np.arange(1, 41) ** 1.2
    drawn = [rng.choice(40, 8, replace=False, p=share / share.sum()) for _ in range(300)]
    return dataset(np.repeat(np.arange(300), 8), np.concatenate(drawn), n_items=40)


def popularity_learnt(log_q: str) -> float:
    """Correlation of the items' mean scores, over users who have not liked them, with the logarithm of their counts."""
    options = {"normalise": False, "temperature": 1.0, "dimensions": 8, "batch_size": 128, "epochs": 5}
    tower = model(loss="in_batch", log_q=log_q, use_history=False, learning_rate=0.05, **options)
    tower.fit(popular(), rng=np.random.default_rng(0))
    scores = tower.score(popular().queries(np.arange(300, dtype=np.int32), k=5), None)
    scores[popular().user, popular().item] = np.nan
    count = np.bincount(popular().item, minlength=40)
    return float(np.corrcoef(np.nanmean(scores, axis=0), np.log(count))[0, 1])


def test_in_batch_negatives_need_the_correction() -> None:
    assert popularity_learnt("counts") > 0.75
    assert popularity_learnt("streaming") > 0.75
    assert popularity_learnt("none") < 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"id_dropout": 1.0}, "id_dropout must be in"),
        ({"layers": (8, 0)}, "layers must be positive"),
        ({"negatives": 0}, "negatives must be positive"),
        ({"history_length": 0}, "history_length must be positive"),
        ({"bins": 1}, "bins must be 0 or at least 2"),
        ({"loss": "hinge"}, "loss must be one of"),
    ],
)
def test_wrong_fields_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**options)


def test_a_tower_that_reads_nothing_is_refused() -> None:
    for options in (
        {"use_ids": False, "item_features": ()},
        {"use_ids": False, "use_history": False, "user_features": ()},
    ):
        with pytest.raises(InputError, match="neither ids nor"):
            model(**options).fit(genres(), rng=np.random.default_rng(0))


def test_features_by_name_must_be_there() -> None:
    with pytest.raises(InputError, match="choose from: taste"):
        model(user_features=("city",)).fit(genres(), rng=np.random.default_rng(0))


def test_shares_of_the_history_alone_find_the_genre() -> None:
    """The tower reads nothing else; scores follow a history that grows, and new items count in it."""
    tower = model(
        use_ids=False, use_history=False, user_features=(), history_shares=("genres",), epochs=12, half_life_days=3.0
    ).fit(genres(), rng=np.random.default_rng(0))
    for genre in range(GENRES):
        queries = query_of([genre, genre + GENRES, genre + 2 * GENRES])
        assert (genre_of(top(tower, queries, FRESH, NEW // GENRES)) == genre).all()
    grown = query_of([0, 4, 8, 1, 5, 9, 13, 17, 21])
    assert (genre_of(top(tower, grown, FRESH, 2)) == 1).all()
    assert np.isneginf(tower.score(query_of([]), None)).all()
    other = model(use_ids=False, use_history=False, user_features=(), history_shares=("genres",), half_life_days=3.0)
    other.load_state(tower.state())
    np.testing.assert_allclose(other.score(grown, None), tower.score(grown, None), atol=1e-6)
    other.add_items({"genres": Feature(kind="bag", values=np.array([[2]], np.int32), names=tuple("abcd"))})
    assert (genre_of(top(other, query_of([len(OLD) + NEW]), FRESH, 2)) == 2).all()
