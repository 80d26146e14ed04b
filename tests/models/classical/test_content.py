"""Content: hand-computed scores, terms that add up, feature weights, new items, invalid settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.classical.content import DAY, Content
from pasand.types import Queries
from tests.logs import tastes

RNG = np.random.default_rng


def films() -> Dataset:
    """Too few positives to learn feature weights from: every weight is 1."""
    data = tastes(n_users=4, n_items=6, per_user=2)
    language = Feature(kind="categorical", values=np.array([0, 0, 0, 1, 1, -1], np.int32), names=("hi", "ta"))
    cast = Feature(
        kind="bag",
        values=np.array([[0, 1], [0, -1], [2, -1], [1, -1], [2, -1], [-1, -1]], np.int32),
        names=("Nutan", "Dev", "Rekha"),
    )
    return replace(data, item_features={"language": language, "cast": cast})


def query_of(data: Dataset, history: list[int], days: list[float], value: float = 5) -> Queries:
    """Return the query of an unknown user whose history is these rows, `days` days old."""
    queries = data.queries(np.array([-1], np.int32), k=3)
    rows = np.array([history], np.int32)
    at = int(queries.time[0]) - (np.array([days]) * DAY).astype(np.int64)
    valued = np.full(rows.shape, value, np.float32)
    return replace(queries, history=rows, history_time=at, history_value=valued)


def test_scores_by_hand() -> None:
    data = films()
    model = Content(half_life_days=10).fit(data, rng=RNG(0))
    assert model.weights() == {"cast": 1, "language": 1}
    nutan = dev = rekha = np.log(7 / 3) + 1  # two of the six films each
    length = np.hypot(nutan, dev)
    queries = query_of(data, [1, 2], [10, 0])  # the older one has half the weight: 1/3 and 2/3
    expected = [1 / 3 * (1 + nutan / length) + 2 / 3, 1 / 3 * 2 + 2 / 3, 1 / 3 + 2 / 3 * 2, 0, 2 / 3 * rekha / rekha, 0]
    np.testing.assert_allclose(model.score(queries, None)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(
        model.score(queries, np.array([[4, -1, 0]], np.int32))[0], [expected[4], -np.inf, expected[0]], rtol=1e-6
    )


@given(st.data())
@settings(max_examples=30)
def test_terms_add_up_to_the_score(draw: st.DataObject) -> None:
    data = films()
    model = Content().fit(data, rng=RNG(0))
    rows = st.lists(st.integers(0, 5), min_size=1, max_size=5)
    history = draw.draw(rows)
    queries = query_of(data, history, [draw.draw(st.floats(0, 5000)) for _ in history])
    items = np.arange(6, dtype=np.int32)[None]
    scores = model.score(queries, items)[0]
    for item in range(6):
        reasons, matches = model.reasons(queries, items)[0][item], model.matches(queries, items)[0][item]
        if np.isneginf(scores[item]):
            assert not reasons
            assert not matches
            continue
        assert sum(reason.weight for reason in reasons) == pytest.approx(scores[item], abs=1e-6)
        assert sum(weight for _, weight in matches) == pytest.approx(scores[item], abs=1e-6)
        assert {reason.item for reason in reasons} <= set(history)


def test_matches_name_features_and_values() -> None:
    data = films()
    model = Content().fit(data, rng=RNG(0))
    queries = query_of(data, [0], [0])
    matches = model.matches(queries, np.array([[3, 1, -1]], np.int32))[0]
    assert [name for name, _ in matches[0]] == ["cast: Dev"]
    assert {name for name, _ in matches[1]} == {"language: hi", "cast: Nutan"}
    assert matches[2] == []


def test_a_history_without_liked_items_with_features_has_no_scores() -> None:
    data = films()
    model = Content().fit(data, rng=RNG(0))
    for queries in (query_of(data, [-1], [0]), query_of(data, [0], [0], value=1), query_of(data, [5], [0])):
        assert np.isneginf(model.score(queries, None)).all()
        assert model.reasons(queries, np.array([[0]], np.int32)) == [[[]]]


def test_the_weight_of_an_old_positive_does_not_underflow() -> None:
    data = films()
    model = Content(half_life_days=1).fit(data, rng=RNG(0))
    old, new = query_of(data, [1], [20_000]), query_of(data, [1], [0])
    np.testing.assert_allclose(model.score(old, None), model.score(new, None), rtol=1e-6)


def test_the_informative_feature_gets_the_largest_weight() -> None:
    """Users like the items of their group; the noise is random."""
    data = tastes(n_users=80, n_items=60)
    noise = Feature(kind="categorical", values=RNG(1).integers(3, size=60).astype(np.int32), names=("x", "y", "z"))
    data = replace(data, item_features={"group": data.item_features["group"], "noise": noise})
    weight = Content().fit(data, rng=RNG(0)).weights()
    assert weight["group"] > 5 * weight["noise"]


def test_new_items_score_like_items_with_equal_features() -> None:
    data = films()
    model = Content().fit(data, rng=RNG(0))
    new = {name: replace(feature, values=feature.values[[1, 5]]) for name, feature in data.item_features.items()}
    model.add_items(new)
    scores = model.score(query_of(data, [0, 2], [3, 0]), None)[0]
    assert scores.shape == (8,)
    np.testing.assert_allclose(scores[6:], [scores[1], scores[5]], rtol=1e-6)
    again = Content()
    again.load_state(model.state())
    np.testing.assert_array_equal(again.score(query_of(data, [0, 7, 6], [3, 0, 1]), None)[0].shape, (8,))


def test_without_features_it_refuses() -> None:
    with pytest.raises(InputError, match="no features"):
        Content().fit(replace(films(), item_features={}), rng=RNG(0))


@pytest.mark.parametrize("setting", ["half_life_days", "min_texts"])
def test_bad_settings(setting: str) -> None:
    with pytest.raises(ValueError, match=setting):
        Content(**{setting: 0})
