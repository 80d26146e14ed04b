"""The vector of a new item moves towards the learnt one: closed form, times, a running server, and the curve."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from pasand import bundle as bundles
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.evaluation.protocols.cold_items import ColdItems
from pasand.models.classical.ials import IALS
from pasand.recipe import build
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.event_feed import catch_up
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states.contract import Event
from pasand.serving.states.sqlite import connect
from pasand.stages.content_factors import INTERACTIONS, ContentFactors
from pasand.stages.item_fold_in import STRENGTHS, ItemFoldIn
from pasand.stages.moving_vectors import MovingVectors
from tests.logs import tastes

RNG = np.random.default_rng
RECIPE = """
    [factors]
    class = "pasand.models.classical.ials:IALS"
    dimensions = 4
    epochs = 4
    [cold]
    class = "pasand.stages.content_factors:ContentFactors"
    model = "@factors"
    [index]
    class = "pasand.index.exact:Exact"
    [from_cold]
    class = "pasand.stages.retrieval:FromIndex"
    model = "@cold"
    index = "@index"
    [recommender]
    class = "pasand.recommender:Recommender"
    retriever = "@from_cold"
"""


@cache
def world() -> tuple[Dataset, Dataset, np.ndarray]:
    """Users of three tastes; colour agrees with the taste of an item in half of the cases, so that content misleads."""
    data = tastes(n_users=150, n_items=90, per_user=14)
    colour = np.where(RNG(3).random(90) < 0.5, np.arange(90) % 3, RNG(4).integers(0, 3, 90)).astype(np.int32)
    feature = Feature(kind="categorical", values=colour, names=("x", "y", "z"))
    data = replace(data, item_features={"colour": feature})
    (split,) = ColdItems(holdout_share=0.2, seed=1).split(data)
    return data, split.train, split.cold_items


@cache
def fitted() -> ContentFactors:
    return ContentFactors(model=IALS(dimensions=4, epochs=6)).fit(world()[1], rng=RNG(0))


def learnt(seed: int = 0, n: int = 40) -> tuple[ItemFoldIn, np.ndarray, np.ndarray]:
    """Return a fold-in of made vectors, the users' vectors and the predicted ones."""
    rng = RNG(seed)
    users, items = rng.normal(size=(60, 3)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32)
    liked = sparse.csr_array((items @ users.T > 0.5).astype(np.float32))
    predicted = (items + 0.5 * rng.normal(size=items.shape)).astype(np.float32)
    return ItemFoldIn.learn(users, liked, items, predicted), users, predicted


def test_the_vector_minimises_the_objective() -> None:
    """Against the normal equations with the inverse of the covariance of the residuals."""
    rng = RNG(0)
    users, items = rng.normal(size=(60, 3)), rng.normal(size=(40, 3))
    fold_in, _, predicted = learnt()
    r = fold_in.root @ fold_in.root.T
    x = users[:5]
    n, y0, spread, mean = 5, predicted[0].astype(np.float64), fold_in.spread, fold_in.mean
    optimum = np.linalg.solve(spread, x.mean(axis=0) - mean)
    inverse = np.linalg.inv(r)
    expected = np.linalg.solve(inverse + n * spread, inverse @ y0 + n * spread @ optimum)
    found = fold_in.solve(predicted[:1], x.sum(axis=0)[None], np.array([n]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    residual = items.astype(np.float32) - predicted
    np.testing.assert_allclose(r, residual.T.astype(np.float64) @ residual / 40, rtol=1e-3, atol=1e-5)


def test_without_users_it_is_the_predicted_vector_and_with_many_the_discriminant() -> None:
    fold_in, users, predicted = learnt()
    np.testing.assert_array_equal(fold_in.solve(predicted, np.zeros((40, 3)), np.zeros(40, np.int64)), predicted)
    x = users[:6].mean(axis=0)
    many = fold_in.solve(predicted[:1], 1e7 * x[None], np.array([10**7]))[0]
    np.testing.assert_allclose(many, np.linalg.solve(fold_in.spread, x - fold_in.mean), rtol=1e-3)
    still = ItemFoldIn.learn(users[:0], sparse.csr_array((2, 0)), predicted[:2], predicted[:2])
    np.testing.assert_array_equal(still.solve(predicted, np.ones((40, 3)), np.full(40, 9)), predicted)


def test_the_factor_of_the_prior_is_small_where_features_are_right() -> None:
    """Users who like an item by a hidden vector say much of it, users who like it as predicted say little."""
    fold_in, users, predicted = learnt()
    hidden = RNG(6).normal(size=(3, 40)).astype(np.float32)
    by_hidden = sparse.csr_array((users @ hidden > 0.3).astype(np.float32))
    assert fold_in.best_factor(0 * predicted, users, by_hidden, RNG(0)) == max(STRENGTHS)
    right = sparse.csr_array((users @ predicted.T > 0.3).astype(np.float32))
    assert fold_in.best_factor(predicted, users, right, RNG(0)) <= 1
    assert fold_in.best_factor(predicted[:0], users, right[:, :0], RNG(0)) == 1
    twice = fold_in.scaled(4.0)
    np.testing.assert_allclose(twice.root @ twice.root.T, 4 * fold_in.root @ fold_in.root.T, rtol=1e-6)


def test_vectors_at_a_time_are_those_of_the_interactions_before_it() -> None:
    fold_in, users, predicted = learnt()
    moving = MovingVectors(fold_in, predicted[:2])
    time = np.array([30, 10, 20, 20])
    moving.add(np.array([0, 0, 1, 1]), np.array([1, 2, 3, 3]), time, users[[1, 2, 3, 3]])

    def expected(item: int, rows: list[int]) -> np.ndarray:
        total = users[rows].sum(axis=0)[None]
        vector: np.ndarray = fold_in.solve(predicted[[item]], total, np.array([len(rows)]))[0]
        return vector

    for now, first, second in ((10, [], []), (20, [2], []), (21, [2], [3]), (31, [1, 2], [3]), (11, [2], [])):
        np.testing.assert_allclose(moving.at(now), [expected(0, first), expected(1, second)], rtol=1e-5)
    moving.at(40)
    moving.add(np.array([1]), np.array([4]), np.array([5]), users[[4]])  # late
    np.testing.assert_allclose(moving.at(40)[1], expected(1, [3, 4]), rtol=1e-5)
    moving.add(np.array([1]), np.array([4]), np.array([50]), users[[4]])  # the same user again
    moving.compact()
    moving.add_items(predicted[2:3])
    np.testing.assert_allclose(moving.at(1)[:2], [expected(0, [1, 2]), expected(1, [3, 4])], rtol=1e-5)
    np.testing.assert_array_equal(moving.at(1)[2], predicted[2])


def followed(n: int) -> Dataset:
    """Return train and the first n positive events of each cold item."""
    data, _, cold = world()
    number = np.zeros(data.n_items, np.int64)
    chosen = ~cold[data.item]
    for event in np.flatnonzero(cold[data.item] & data.is_positive):
        number[data.item[event]] += 1
        chosen[event] = number[data.item[event]] <= n
    return data.select(chosen)


def test_the_curve_rises_from_content_to_the_learnt_vector() -> None:
    """Mean rank of users who like a cold item among all users, 0 best: content, 1, 3, 8 interactions, fitted anew."""
    data, train, cold = world()
    rows = np.flatnonzero(cold).astype(np.int32)
    users = np.arange(data.n_users, dtype=np.int32)
    own = users[:, None] % 3 == rows % 3

    def rank(vectors: np.ndarray, queries: np.ndarray) -> float:
        order = np.argsort(np.argsort(-(queries @ vectors.T), axis=0), axis=0)
        return float(order[own].mean() / data.n_users)

    model, curve = fitted(), []
    queries = model.embed_queries(train.queries(users, k=1))
    for n in (0, 1, 3, 8):
        model.follow(followed(n))
        model.score(data.queries(users[:1], k=1, time=data.time[-1:] + 1), None)
        curve.append(rank(model.embed_items(rows), queries))
    model.follow(None)
    assert rank(model.embed_items(rows), queries) == curve[0]
    again = IALS(dimensions=4, epochs=6).fit(data, rng=RNG(0))
    best = rank(again.embed_items(rows), again.embed_queries(train.queries(users, k=1)))
    assert curve[0] > curve[1] > curve[2] > curve[3], curve
    assert curve[0] - best > 0.05
    assert curve[3] - best < 0.02, (curve, best)


def test_scores_are_those_of_the_time_of_each_query_and_explained() -> None:
    _, train, cold = world()
    model, log = fitted(), followed(5)
    try:
        model.follow(log)
        rows = np.flatnonzero(cold).astype(np.int32)[None]
        first, last = int(log.time[len(log) // 2]), int(log.time[-1]) + 1
        users = np.array([3, 4], np.int32)
        queries = train.queries(users, k=1, time=np.array([first, last]))
        some, whole = model.score(queries, np.repeat(rows, 2, axis=0)), model.score(queries, None)
        np.testing.assert_allclose(some, whole[:, rows[0]], rtol=1e-5)
        model.follow(log.before(first))
        np.testing.assert_allclose(model.score(queries, None)[0, rows[0]], some[0], rtol=1e-5)
        model.follow(log)
        model.score(queries.take(np.array([1])), None)
        terms = dict(model.matches(queries.take(np.array([1])), rows[:, :1])[0][0])
        assert INTERACTIONS in terms
        base = float(model.embed_queries(queries)[1] @ model.state()["mean"])
        np.testing.assert_allclose(base + sum(terms.values()), some[1, 0], rtol=1e-3)
    finally:
        model.follow(None)


def test_a_server_moves_an_added_item_with_its_events(tmp_path: Path) -> None:
    """The index finds the item by its new vector; a state that is read again gives the same."""
    data, train, _ = world()
    bundles.write(tmp_path / "bundle", build(RECIPE).fit(train, seed=0), train, seed=0)
    state = connect(str(tmp_path / "state.sqlite"))
    now = int(data.time[-1]) + 1000
    ranks = []
    for start in range(2):
        variant = Variant.read("main", str(tmp_path / "bundle"))
        engine = Engine([variant], state, lambda: now)
        state.put_item("new", {"colour": "x"})
        catch_up(variant.followed, state)
        for user in (1, 4, 7, 10, 13) if not start else (1,):
            (response,) = engine.responses([RecommendRequest(user_id="u016", k=91)])
            ranks += [one.rank for one in response.items if one.item_id == "new"]
            if not start:
                state.append([Event(f"e{user}", f"u{user:03}", "new", now - 100 + user, 5.0)])
                catch_up(variant.followed, state)
        (response,) = engine.responses([RecommendRequest(user_id="u016", k=91)])
        ranks += [one.rank for one in response.items if one.item_id == "new"]
    assert ranks[0] > ranks[5], ranks
    assert ranks[5] == ranks[-1]


def test_a_bundle_keeps_the_fold_in_and_bad_arrays_are_refused() -> None:
    model, read = fitted(), ContentFactors(model=fitted().model)
    read.load_state(model.state())
    log, queries = followed(4), world()[0].queries(np.array([1], np.int32), k=1)
    try:
        for one in (model, read):
            one.follow(log)
        np.testing.assert_array_equal(model.score(queries, None), read.score(queries, None))
    finally:
        model.follow(None)
    state = dict(model.state())
    del state["fold_in.root"]
    with pytest.raises(KeyError, match=r"fold_in\.root"):
        read.load_state(state)
