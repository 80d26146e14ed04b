"""Popularity of several segments at once: by hand, from the first event on history, and following a log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.classical.ease import EASE
from pasand.models.classical.popularity import Popularity
from pasand.models.classical.segment_popularity import SegmentPopularity
from pasand.recommender import fallback_chain
from pasand.types import Array, Queries
from tests.logs import log

RNG = np.random.default_rng(0)
USERS = [f"u{at}" for at in range(6)]


def data() -> Dataset:
    """Users 0 to 2 of the north like a, users 3 and 4 of the south b; young ones (0, 3, 5) like c as well."""
    liked = {"u0": "ac", "u1": "a", "u2": "a", "u3": "bc", "u4": "b", "u5": "c"}
    events = [(user, item, at, 5.0) for at, (user, items) in enumerate(liked.items()) for item in items]
    region = Feature(kind="categorical", values=np.array([0, 0, 0, 1, 1, -1], np.int32), names=("north", "south"))
    age = Feature(kind="bag", values=np.array([[0], [1], [1], [0], [1], [0]], np.int32), names=("young", "old"))
    return replace(log(events), user_features={"region": region, "age": age})


def features(region: int, age: int) -> dict[str, Array]:
    return {"region": np.array([region], np.int32), "age": np.array([[age]], np.int32)}


def scores(model: SegmentPopularity, region: int, age: int) -> Array:
    queries = data().queries(np.array([-1], np.int32), k=3, features=features(region, age))
    found: Array = model.score(queries, None)[0].astype(np.float64)
    return found


def test_ratios_of_segments_by_hand() -> None:
    """Of 8 positives 3 are a, 2 b, 3 c; of the 4 of the north 3 are a and 1 c, of the 5 of the young 1, 1 and 3.

    The usual share is (9 + 4 + 9) / 64, so that 2 positives are added for a shrinkage of 22 / 32.
    """
    model = SegmentPopularity(shrinkage=22 / 32).fit(data(), rng=RNG)
    overall = np.array([3, 2, 3]) / 8
    north = (np.array([3, 0, 1]) + 2 * overall) / 6
    young = (np.array([1, 1, 3]) + 2 * overall) / 7
    np.testing.assert_allclose(scores(model, -1, -1), overall, rtol=1e-6)
    np.testing.assert_allclose(scores(model, 0, -1), north, rtol=1e-6)
    np.testing.assert_allclose(scores(model, 0, 0), north * young / overall, rtol=1e-6)
    one = Popularity(segment="region", shrinkage=2.0).fit(data(), rng=RNG)
    queries = data().queries(np.array([0, 5], np.int32), k=3)
    only = SegmentPopularity(segments=["region"], shrinkage=22 / 32).fit(data(), rng=RNG)
    np.testing.assert_allclose(only.score(queries, None), one.score(queries, None), rtol=1e-6)
    loaded = SegmentPopularity(shrinkage=22 / 32)
    loaded.load_state(model.state())
    np.testing.assert_array_equal(loaded.score(queries, None), model.score(queries, None))


def test_large_shrinkage_is_popularity() -> None:
    model = SegmentPopularity(shrinkage=1e9).fit(data(), rng=RNG)
    np.testing.assert_allclose(scores(model, 1, 1), np.array([3, 2, 3]) / 8, rtol=1e-6)


def test_from_the_first_event_on_the_history_counts() -> None:
    """A user of the north gets a first, and after one event with b what EASE returns for it."""
    personal = EASE(l2=1.0).fit(data(), rng=RNG)
    chain = fallback_chain(personal, SegmentPopularity(shrinkage=2.0).fit(data(), rng=RNG))
    empty = data().queries(np.array([-1], np.int32), k=2, features=features(0, -1))
    assert chain(empty).items[0, 0] == 0
    history = np.array([[1]], np.int32)
    given = replace(empty, history=history, history_time=np.zeros((1, 1), np.int64), history_value=np.full((1, 1), 5.0))
    expected = fallback_chain(personal)(given)
    assert chain(given).items[0].tolist() == expected.items[0].tolist() == [2, 0]


def by_parts(data: Dataset, queries: Queries, added: float) -> Array:
    """The product of popularities of one segment each over that of all."""
    overall = Popularity().fit(data, rng=RNG).score(queries, None)
    parts = [Popularity(segment=name, shrinkage=added).fit(data, rng=RNG) for name in ("region", "age")]
    return parts[0].score(queries, None) * parts[1].score(queries, None) / overall


def test_it_follows_a_log() -> None:
    """Shares of a query are those of the events strictly before it, with what is added to a category as fitted."""
    whole = data()
    model = SegmentPopularity(segments=["region", "age"], shrinkage=2.0).fit(whole.before(3), rng=RNG)
    model.follow(whole)
    added = float(model.state()["added"])
    queries = whole.queries(np.array([-1], np.int32), k=3, time=np.array([5]), features=features(1, 0))
    np.testing.assert_allclose(model.score(queries, None), by_parts(whole.before(5), queries, added), rtol=1e-6)
    model.compact()
    later = replace(queries, time=np.array([9]))
    np.testing.assert_allclose(model.score(later, None), by_parts(whole, later, added), rtol=1e-6)


def test_a_segment_that_users_lack_is_refused() -> None:
    with pytest.raises(InputError, match="choose one of region, age"):
        SegmentPopularity(segments=["city"]).fit(data(), rng=RNG)
    with pytest.raises(ValueError, match="different"):
        SegmentPopularity(segments=["age", "age"])
