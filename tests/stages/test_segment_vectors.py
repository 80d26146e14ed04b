"""Vectors of users without a history: means of the users of a segment, by hand; then the model's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand import recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.classical.ials import IALS
from pasand.stages.segment_vectors import SegmentVectors
from pasand.types import Array, Queries
from tests.logs import tastes

RNG = np.random.default_rng(0)
RECIPE = """
[factors]
class = "pasand.models.classical.ials:IALS"
dimensions = 8
[segments]
class = "pasand.stages.segment_vectors:SegmentVectors"
model = "@factors"
[from_segments]
class = "pasand.stages.retrieval:FromModel"
model = "@segments"
[popular]
class = "pasand.models.classical.popularity:Popularity"
[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"
[chain]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_segments", "@from_popular"]
[recommender]
class = "pasand.recommender:Recommender"
retriever = "@chain"
"""


def data() -> Dataset:
    """60 users of three tastes, which are their region; ages are equally frequent in each."""
    made = tastes()
    number = np.array([int(user[1:]) for user in made.users.series.to_list()])
    region = Feature(kind="categorical", values=(number % 3).astype(np.int32), names=("north", "east", "south"))
    age = Feature(kind="bag", values=(number // 3 % 2)[:, None].astype(np.int32), names=("young", "old"))
    return replace(made, user_features={"region": region, "age": age})


def new(**features: Array) -> Queries:
    return data().queries(np.array([-1], np.int32), k=5, features=features)


@pytest.fixture(scope="module")
def fitted() -> SegmentVectors:
    return SegmentVectors(model=IALS(dimensions=8), shrinkage=5.0).fit(data(), rng=np.random.default_rng(0))


def test_vectors_by_hand(fitted: SegmentVectors) -> None:
    """The mean of all, and 20 of 25 parts of the difference of the 20 users of a region; ages are added."""
    users = np.arange(60, dtype=np.int32)
    own = fitted.model.embed_queries(data().queries(users, k=1)).astype(np.float64)
    region, age = (data().user_features[name].select(users) for name in ("region", "age"))
    east = 20 / 25 * (own[region.values == 1].mean(axis=0) - own.mean(axis=0))
    old = 30 / 35 * (own[age.bags.codes == 1].mean(axis=0) - own.mean(axis=0))
    for queries, expected in (
        (new(region=np.array([1])), own.mean(axis=0) + east),
        (new(region=np.array([1]), age=np.array([[1]])), own.mean(axis=0) + east + old),
        (new(region=np.array([-1]), age=np.array([[1]])), own.mean(axis=0) + old),
        (new(region=np.array([-1])), np.zeros(8)),
        (new(region=np.array([7])), np.zeros(8)),
        (new(), np.zeros(8)),
    ):
        np.testing.assert_allclose(fitted.embed_queries(queries)[0], expected, atol=1e-5)
        scores, table = fitted.score(queries, None)[0], fitted.embed_items(np.arange(30, dtype=np.int32))
        np.testing.assert_allclose(scores, table @ expected if expected.any() else np.full(30, -np.inf), atol=1e-5)
        some = np.array([[4, -1, 29, 99]], np.int32)
        expected_some = [scores[4], -np.inf, scores[29], -np.inf]
        np.testing.assert_allclose(fitted.score(queries, some)[0], expected_some, atol=1e-5)


def test_a_segment_gets_its_taste_and_a_history_is_the_models(fitted: SegmentVectors) -> None:
    for region in range(3):
        best = np.argsort(-fitted.score(new(region=np.array([region])), None)[0])[:8]
        assert (best % 3 == region).all()
    queries = replace(
        new(region=np.array([1])),
        history=np.array([[3]], np.int32),
        history_time=np.zeros((1, 1), np.int64),
        history_value=np.full((1, 1), 5, np.float32),
    )
    np.testing.assert_array_equal(fitted.score(queries, None), fitted.model.score(queries, None))
    np.testing.assert_array_equal(fitted.embed_queries(queries), fitted.model.embed_queries(queries))


def test_a_recipe_and_its_state() -> None:
    assembly = recipe.build(RECIPE).fit(data(), seed=0)
    lists = assembly.recommender(new(region=np.array([2]))).items
    assert (lists % 3 == 2).all()
    again = recipe.build(RECIPE)
    for name, part in assembly.fitted.items():
        again.fitted[name].load_state(part.state())
    np.testing.assert_array_equal(again.recommender(new(region=np.array([2]))).items, lists)
    assert (again.recommender(new()).items >= 0).all()


def test_what_users_lack_is_refused() -> None:
    model = IALS(dimensions=2, epochs=1)
    with pytest.raises(InputError, match="use some of: region, age"):
        SegmentVectors(model=model, segments=["city"]).fit(data(), rng=RNG)
    with pytest.raises(InputError, match="--users"):
        SegmentVectors(model=model).fit(tastes(), rng=RNG)
    with pytest.raises(ValueError, match="shrinkage"):
        SegmentVectors(model=model, shrinkage=0)
