"""Popularity by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.models.classical.followed_counts import DAY
from pasand.models.classical.popularity import Popularity

RNG = np.random.default_rng(0)


def log() -> Dataset:
    """Item 0 liked on days 0 and 1, item 1 on days 2 and 10, item 2 on day 10; item 3 never, item 0 disliked once."""
    return Dataset(
        name="made",
        users=Vocabulary(["a", "b", "c"]),
        items=Vocabulary(["w", "x", "y", "z"]),
        user=np.array([0, 1, 0, 2, 1, 2], np.int32),
        item=np.array([0, 0, 1, 0, 1, 2], np.int32),
        time=np.array([0, 1, 2, 9, 10, 10], np.int64) * DAY,
        value=np.array([5, 4, 5, 1, 4, np.nan], np.float32),
        values="rating",
        positive_from=4,
        user_features={
            "language": Feature(kind="categorical", values=np.array([0, 0, 1], np.int32), names=("hi", "ta"))
        },
    )


def scores(model: Popularity, data: Dataset | None = None) -> list[float]:
    data = data or log()
    queries = replace(data.queries(np.array([-1], np.int32), k=1), features={})
    found: list[float] = model.fit(data, rng=RNG).score(queries, None)[0].tolist()
    return found


def test_all_time_is_the_share_of_positives() -> None:
    assert scores(Popularity()) == pytest.approx([2 / 5, 2 / 5, 1 / 5, 0])


def test_window_counts_the_last_days_and_then_all_time() -> None:
    # 10 - 2 = 8 days old is outside of 8 days; two positives inside, and one event's weight of all time
    assert scores(Popularity(window_days=8)) == pytest.approx([0.4 / 3, (1 + 0.4) / 3, (1 + 0.2) / 3, 0])


def test_weights_decay_by_the_half_life() -> None:
    weight = np.array([2**-5 + 2**-4.5, 2**-4 + 1, 1, 0])
    expected = (weight + np.array([0.4, 0.4, 0.2, 0])) / (weight.sum() + 1)
    assert scores(Popularity(half_life_days=2)) == pytest.approx(expected.tolist())


def test_the_time_of_the_query_changes_nothing() -> None:
    model, data = Popularity(window_days=1).fit(log(), rng=RNG), log()
    now = data.queries(np.array([0], np.int32), k=1)
    later = data.queries(np.array([0], np.int32), k=1, time=np.array([99 * DAY], np.int64))
    np.testing.assert_array_equal(model.score(now, None), model.score(later, None))


def test_segment_is_shrunk_towards_the_overall_share() -> None:
    data = log()
    model = Popularity(segment="language", shrinkage=2).fit(data, rng=RNG)
    features = {"language": np.array([1, 0, -1], np.int32)}
    queries = replace(data.queries(np.array([-1, -1, -1], np.int32), k=1), features=features)
    overall = np.array([0.4, 0.4, 0.2, 0])
    tamil, hindi = (np.array([0, 0, 1, 0]) + 2 * overall) / 3, (np.array([2, 2, 0, 0]) + 2 * overall) / 6
    np.testing.assert_allclose(model.score(queries, None), [tamil, hindi, overall], rtol=1e-6)
    some = model.score(queries, np.array([[2, -1], [0, 3], [1, 1]], np.int32))
    np.testing.assert_allclose(some, [[tamil[2], -np.inf], [hindi[0], 0], [0.4, 0.4]], rtol=1e-6)


def test_a_bag_mixes_its_segments() -> None:
    values = np.array([[0, 1], [0, -1], [1, -1]], np.int32)
    data = replace(log(), user_features={"language": Feature(kind="bag", values=values, names=("hi", "ta"))})
    model = Popularity(segment="language", shrinkage=1e-9).fit(data, rng=RNG)
    both = model.score(data.queries(np.array([0], np.int32), k=1), None)[0]
    hindi, tamil = np.array([2, 2, 0, 0]) / 4, np.array([1, 1, 1, 0]) / 3
    np.testing.assert_allclose(both, (hindi + tamil) / 2, atol=1e-6)


def test_an_unknown_segment_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="language"):
        Popularity(segment="city").fit(log(), rng=RNG)


@pytest.mark.parametrize("name", ["window_days", "half_life_days", "shrinkage"])
def test_days_are_positive(name: str) -> None:
    wrong: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        Popularity(**wrong)
