"""Distributions over categories: of items, of lists and of histories, with shrinkage; state, new items, refusals."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.reranking.calibration.attributes import Attributes
from tests.logs import log

RNG = np.random.default_rng(0)
GENRES = np.array([[0, -1], [0, 1], [2, -1], [-1, -1], [1, 1]], np.int32)
FEATURES = {
    "genres": Feature(kind="bag", values=GENRES, names=("comedy", "drama", "war")),
    "language": Feature(kind="categorical", values=np.array([0, 1, 1, 0, -1], np.int32), names=("hi", "ta")),
    "year": Feature(kind="number", values=np.arange(5, dtype=np.float32)),
}
EVENTS = [("u", "i0", 1, 5.0), ("u", "i1", 2, 4.0), ("u", "i2", 3, 1.0), ("v", "i2", 4, 5.0), ("v", "i3", 5, 5.0)]


def data() -> Dataset:
    return replace(log([*EVENTS, ("w", "i4", 6, 2.0)]), item_features=FEATURES)


def fitted(*names: str, shrinkage: float = 0.0) -> Attributes:
    return Attributes(names, shrinkage=shrinkage).fit(data(), rng=RNG)


def targets(attributes: Attributes) -> list[list[float]]:
    queries = data().queries(np.array([0, 1, 2, -1], np.int32), k=3)
    found: list[list[float]] = np.round(attributes.target(queries), 6).tolist()
    return found


def test_histories_and_lists_by_hand() -> None:
    """User u likes comedy and comedy/drama, v likes war and an item without genre, w likes nothing."""
    genres = fitted("genres")
    assert targets(genres) == [[0.75, 0.25, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(genres.population, [0.5, 1 / 6, 1 / 3])
    items = np.array([[0, 1, 2, 3], [4, 1, -1, -1], [-1, -1, -1, -1], [99, 2, -1, -1]], np.int32)
    expected = np.array([[0.375, 0.125, 0.25], [0.25, 0.75, 0], [0, 0, 0], [0, 0, 0.5]])
    np.testing.assert_allclose(genres.shown(items), expected)
    both = fitted("genres", "language")
    assert targets(both)[:2] == [[0.75, 0.25, 0, 0.5, 0.5], [0, 0, 1, 0.5, 0.5]]


def test_shrinkage_moves_short_histories_towards_all_users() -> None:
    """Two events of u and two of all users: (1.5 + 2 x .5) / 4; limits are the history and all users."""
    assert targets(fitted("genres", shrinkage=2))[0] == [0.625, round(2.5 / 12, 6), round(1 / 6, 6)]
    population = fitted("genres").population
    np.testing.assert_allclose(targets(fitted("genres", shrinkage=1e9)), np.tile(population, (4, 1)), atol=1e-6)
    np.testing.assert_allclose(
        targets(fitted("genres", shrinkage=1e-9))[:2], np.array([[0.75, 0.25, 0], [0, 0, 1]]), atol=1e-6
    )
    np.testing.assert_allclose(targets(fitted("genres", shrinkage=1e-9))[2:], np.tile(population, (2, 1)), atol=1e-6)


def test_state_and_new_items() -> None:
    one = fitted("genres", "language", shrinkage=1)
    other = Attributes(["genres", "language"], shrinkage=1)
    other.load_state(one.state())
    assert targets(other) == targets(one)
    for part in (one, other):
        part.add_items({"genres": replace(FEATURES["genres"], values=np.array([[2, 0], [1, -1]], np.int32))})
        part.add_items({"language": replace(FEATURES["language"], values=np.array([1], np.int32))})
        shown = part.shown(np.array([[5], [6], [7]], np.int32))
        assert shown.tolist() == [[0.5, 0, 0.5, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
    wrong = dict(one.state()) | {"codes": one.state()["codes"] + 5}
    with pytest.raises(ValueError, match="codes"):
        other.load_state(wrong)


def test_what_cannot_be_calibrated_is_refused_by_name(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        InputError, match=r"'genre' is wrong: items have no such feature\. Cure: use one of: genres, lang"
    ):
        fitted("genre")
    with pytest.raises(InputError, match="'year' is wrong: it is number, not of categories"):
        fitted("year")
    with pytest.raises(InputError, match="give items a feature of kind categorical or bag"):
        Attributes(["genres"]).fit(replace(data(), item_features={}), rng=RNG)
    with caplog.at_level(logging.WARNING):
        fitted("genres")
    assert "1 of 5 items have no genres" in caplog.text
    for wrong, message in (({"names": []}, "one or more"), ({"names": ["a", "a"]}, "different")):
        with pytest.raises(ValueError, match=message):
            Attributes(**wrong)
    with pytest.raises(ValueError, match="shrinkage must be at least 0"):
        Attributes(["genres"], shrinkage=-1)


def test_a_half_life_and_declared_languages_by_hand() -> None:
    """Of u the Hindi event is 6 days old and the Tamil one 5; v declared Hindi, and w Tamil."""
    day = 86_400
    events = [(user, item, time * day, value) for user, item, time, value in [*EVENTS, ("w", "i4", 6, 2.0)]]
    spoken = Feature(kind="bag", values=np.array([[-1, -1], [1, -1], [0, -1]], np.int32), names=("ta", "hi"))
    made = replace(log(events), item_features=FEATURES, user_features={"languages": spoken})
    known = Attributes(["language"], shrinkage=2, half_life_days=1, declared="languages").fit(made, rng=RNG)
    queries = made.queries(np.array([0, 1, 2], np.int32), k=3, time=np.full(3, 7 * day))
    hindi, tamil = 2.0**-6, 2.0**-5
    v = np.array([2.0**-2, 2.0**-3])
    expected = [
        [(hindi + 1) / (hindi + tamil + 2), (tamil + 1) / (hindi + tamil + 2)],
        [(v[0] + 2) / (v.sum() + 2), v[1] / (v.sum() + 2)],
        [0, 1],
    ]
    np.testing.assert_allclose(known.target(queries), expected, atol=1e-9)
    loaded = Attributes(["language"], shrinkage=2, half_life_days=1, declared="languages")
    loaded.load_state(known.state())
    np.testing.assert_array_equal(loaded.target(queries), known.target(queries))


def test_a_user_of_two_languages_gets_both() -> None:
    """80 % Tamil and 20 % Hindi in the history are 8 and 2 of 10, although all Tamil films have higher scores."""
    from pasand.reranking.calibration.calibration import Calibration
    from pasand.types import Candidates

    events = [("u", f"i{at:02}", at, 5.0) for at in range(40)]
    language = Feature(kind="categorical", values=np.repeat([0, 1], 20).astype(np.int32), names=("hi", "ta"))
    made = replace(log(events), item_features={"language": language})
    known = Attributes(["language"], shrinkage=0.0).fit(made, rng=RNG)
    history = np.array([[20, 21, 0, 22, 23]], np.int32)
    queries = made.queries(np.array([-1], np.int32), k=10)
    queries = replace(
        queries,
        history=history,
        history_time=np.zeros((1, 5), np.int64),
        history_value=np.full((1, 5), 5, np.float32),
    )
    items = np.concatenate([np.arange(25, 40), np.arange(1, 20)]).astype(np.int32)[None]
    scores = np.linspace(1, 0, items.shape[1], dtype=np.float32)[None]
    lists = Calibration(known, strength=5.0)(queries, Candidates(items=items, scores=scores)).items[0]
    assert np.bincount(language.values[lists]).tolist() == [2, 8]


def test_an_unknown_declared_feature_is_refused() -> None:
    with pytest.raises(InputError, match="users have no such feature"):
        Attributes(["language"], declared="speaks").fit(data(), rng=RNG)
    with pytest.raises(ValueError, match="half_life_days"):
        Attributes(["language"], half_life_days=0)
