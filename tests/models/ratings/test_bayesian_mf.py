from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.models.ratings.bayesian_mf import BayesianMF, _draw_implicit, _Side
from pasand.models.ratings.posterior import conditional, scaled_sums

USERS, ITEMS, NOISE = 100, 60, 0.3


def log(user: NDArray[np.intp], item: NDArray[np.intp], value: NDArray[np.float64]) -> Dataset:
    return Dataset(
        name="planted",
        users=Vocabulary([f"{u:03}" for u in range(USERS)]),
        items=Vocabulary([f"{i:03}" for i in range(ITEMS)]),
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=np.arange(len(user), dtype=np.int64),
        value=value.astype(np.float32),
        values="rating",
    )


def planted() -> tuple[Dataset, NDArray[np.float64]]:
    """Ratings of rank 2 plus biases and noise, and the noiseless table."""
    rng = np.random.default_rng(0)
    taste = rng.normal(0, 0.7, (USERS, 2)) @ rng.normal(0, 0.7, (2, ITEMS))
    truth = 3.5 + rng.normal(0, 0.4, (USERS, 1)) + rng.normal(0, 0.4, (1, ITEMS)) + taste
    user, item = np.divmod(rng.choice(USERS * ITEMS, 3000, replace=False), ITEMS)
    return log(user, item, truth[user, item] + rng.normal(0, NOISE, 3000)), truth


def choosy() -> tuple[Dataset, Dataset]:
    """Two camps who rate other films (0-39, the value is noise) and rate the films 40-59 apart; and the rest of those.

    The set of films that a user rated identifies the camp; the two or three informative ratings hardly do.
    """
    rng = np.random.default_rng(1)
    own = (np.arange(USERS) % 2)[:, None] == np.arange(ITEMS) % 2
    informative = np.broadcast_to(np.arange(ITEMS) >= 40, own.shape)
    chosen = rng.random(own.shape) < np.where(informative, 0.15, np.where(own, 0.6, 0.05))
    values = 3 + informative * np.where(own, 1, -1) + rng.normal(0, 1, own.shape)
    (user, item), (other_user, other_item) = np.nonzero(chosen), np.nonzero(~chosen & informative)
    return log(user, item, values[user, item]), log(other_user, other_item, values[other_user, other_item])


def rmse(model: BayesianMF, train: Dataset, test: Dataset) -> float:
    assert test.value is not None
    predicted = model.predict(train.queries(test.user, k=1), test.item[:, None])[:, 0]
    return float(np.sqrt(np.mean((predicted - test.value) ** 2)))


EVERYONE = np.arange(USERS, dtype=np.int32)
EVERYTHING = np.broadcast_to(np.arange(ITEMS, dtype=np.int32), (USERS, ITEMS))
SMALL = BayesianMF(dimensions=3, epochs=40, burn_in=15, samples=10)


def small() -> BayesianMF:
    return replace(SMALL)


def test_the_conditional_is_the_textbook_one() -> None:
    rng = np.random.default_rng(3)
    table, prior_mean, normals = rng.normal(size=(5, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    others, values = np.array([4, 0, 2, 3], np.int32), rng.normal(size=4).astype(np.float32)
    precision, alpha = np.array([2.0, 1, 3]), 1.7
    own = np.tile(precision, (2, 1)), np.full(2, alpha)
    means, draws = conditional(np.array([0, 4, 4]), others, values, table, prior_mean, *own, normals)
    x = np.column_stack([np.ones(4), table[others, 1:]])
    whole = np.diag(precision) + alpha * x.T @ x
    expected = np.linalg.solve(whole, precision * prior_mean[0] + alpha * x.T @ (values - table[others, 0]))
    np.testing.assert_allclose(means[0], expected)
    np.testing.assert_allclose(draws[0], expected + np.linalg.solve(np.linalg.cholesky(whole).T, normals[0]))
    np.testing.assert_allclose(means[1], prior_mean[1])
    np.testing.assert_allclose(draws[1], prior_mean[1] + normals[1] / np.sqrt(precision))


def test_the_implicit_draw_is_one_sweep_of_exact_conditionals() -> None:
    rng = np.random.default_rng(4)
    design = (rng.random((8, 5)) < 0.6) * rng.random((8, 1))
    implicit, w, normals = rng.normal(size=(5, 2)), rng.normal(size=(8, 2)), rng.normal(size=(5, 2))
    precision, own_precision = np.array([2.0, 5]), np.array([1.0, 3])
    weight = design.max(axis=1)
    own = np.nonzero(design.T)[1].astype(np.int32)
    start = np.concatenate([[0], np.cumsum((design > 0).sum(axis=0))])
    expected = implicit.copy()
    for j in range(5):
        others = w - design @ expected + np.outer(design[:, j], expected[j])
        whole = precision * (design[:, j] @ design[:, j]) + own_precision
        expected[j] = precision * (design[:, j] @ others) / whole + normals[j] / np.sqrt(whole)
    rest = w - design @ implicit
    _draw_implicit(implicit, rest, start, own, weight[own], precision, own_precision, normals)
    np.testing.assert_allclose(implicit, expected)
    np.testing.assert_allclose(rest, w - design @ implicit)


def test_the_implicit_draw_knows_repeated_ratings() -> None:
    """An item that a user rated m times has the weight m / root of the number of ratings in the user's prior mean."""
    rng = np.random.default_rng(5)
    times = rng.integers(0, 4, (8, 5))
    times[:, 0] = 1
    user, item = np.nonzero(times)
    events = rng.permutation(np.repeat(np.column_stack([user, item]), times[user, item], axis=0)).astype(np.int32)
    side = _Side(events[:, 0], events[:, 1], np.zeros(len(events), np.float32), 8, 5, 1, rng)
    design = times / np.sqrt(times.sum(axis=1, keepdims=True))
    implicit, normals = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    w, precision, own_precision = rng.normal(size=(8, 2)), np.array([2.0, 5]), np.array([1.0, 3])
    side.implicit[:] = implicit
    np.testing.assert_allclose(side.prior(), design @ implicit)
    expected = implicit.copy()
    for j in range(5):
        others = w - design @ expected + np.outer(design[:, j], expected[j])
        whole = precision * (design[:, j] @ design[:, j]) + own_precision
        expected[j] = precision * (design[:, j] @ others) / whole + normals[j] / np.sqrt(whole)
    rest = w - design @ implicit
    _draw_implicit(implicit, rest, side.other_start, side.own, side.share, precision, own_precision, normals)
    np.testing.assert_allclose(implicit, expected)
    np.testing.assert_allclose(rest, w - design @ implicit)


def test_everything_rated_three_times_keeps_the_scale() -> None:
    """Ratings of 200 users of 20 items each, three times each, ended in a division by zero."""
    rng = np.random.default_rng(0)
    item = np.concatenate([np.repeat(rng.choice(ITEMS, 20, replace=False), 3) for _ in range(USERS)])
    data = log(np.repeat(np.arange(USERS), 60), item, rng.integers(1, 6, 60 * USERS).astype(np.float64))
    model = BayesianMF(dimensions=4, epochs=100).fit(data, rng=rng)
    queries = data.queries(EVERYONE, k=1)
    scores = model.score(queries, None)
    assert 0 < scores.min() < scores.max() < 6
    new_users = replace(queries, users=np.full(USERS, -1, np.int32))
    np.testing.assert_allclose(model.score(new_users, None), scores, atol=1e-4)


def test_scaled_sums_are_sums_over_roots() -> None:
    table = np.array([[1.0], [2], [4]])
    assert scaled_sums(np.array([0, 2, 2, 3]), np.array([0, 2, 1], np.int32), table).ravel() == pytest.approx(
        [5 / np.sqrt(2), 0, 2]
    )


def test_planted_ratings_are_recovered() -> None:
    data, truth = planted()
    assert data.value is not None
    model = small().fit(data, rng=np.random.default_rng(0))
    unseen = np.ones((USERS, ITEMS), np.bool_)
    unseen[data.user, data.item] = False
    predicted = model.predict(data.queries(EVERYONE, k=1), EVERYTHING)
    inside = np.clip(truth, data.value.min(), data.value.max())
    assert np.sqrt(np.mean((predicted - inside)[unseen] ** 2)) < 0.6 * NOISE
    # the draws find the level of the noise by themselves
    learnt = model.state()
    assert learnt["unit"][0] / np.sqrt(np.mean(learnt["alpha"])) == pytest.approx(NOISE, rel=0.15)
    assert len(model.curves()["train rmse"]) == 40


def test_the_set_of_rated_items_is_evidence_beside_the_ratings() -> None:
    train, rest = choosy()
    values_only = replace(SMALL, implicit=False).fit(train, rng=np.random.default_rng(0))
    with_sets = small().fit(train, rng=np.random.default_rng(0))
    assert rmse(with_sets, train, rest) < rmse(values_only, train, rest) - 0.02


def test_unknown_users_with_the_same_history_get_the_same_scores() -> None:
    data, _ = planted()
    model = small().fit(data, rng=np.random.default_rng(0))
    queries = data.queries(EVERYONE, k=1)
    unknown_users = replace(queries, users=np.full(USERS, -1, np.int32))
    np.testing.assert_allclose(model.score(unknown_users, None), model.score(queries, None), atol=1e-4)


def test_a_new_user_gains_from_ratings() -> None:
    data, truth = planted()
    model = small().fit(data.select(data.user >= 25), rng=np.random.default_rng(0))
    new = np.arange(25, dtype=np.int32)
    errors = [
        np.mean((model.predict(data.queries(new, k=1, upto=np.full(25, n)), EVERYTHING[:25]) - truth[:25]) ** 2)
        for n in (0, 3, 10, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


def test_unknown_users_and_items() -> None:
    data, _ = planted()
    model = small().fit(data.select(data.item != 7), rng=np.random.default_rng(0))
    queries = data.queries(np.array([-1, 0], np.int32), k=1)
    items = np.array([[3, -1, 7]] * 2, np.int32)
    predicted, scores = model.predict(queries, items), model.score(queries, items)
    assert np.isfinite(predicted).all()
    assert np.isneginf(scores[:, 1]).all()
    assert predicted.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, [0, 2]], model.score(queries, None)[:, [3, 7]], atol=1e-4)
    # item 7 has no ratings: it is an average item
    np.testing.assert_allclose(predicted[:, 2], predicted[:, 1], atol=0.02)


def test_the_unit_of_the_ratings_does_not_matter() -> None:
    stars, _ = planted()
    assert stars.value is not None
    scores = [
        small().fit(data, rng=np.random.default_rng(0)).score(data.queries(EVERYONE, k=1), None)
        for data in (stars, replace(stars, value=1000 * stars.value))
    ]
    np.testing.assert_allclose(scores[1] / 1000, scores[0], atol=0.01)


def test_same_seed_same_bits_and_state_round_trip() -> None:
    data, _ = planted()
    queries = data.queries(EVERYONE, k=1)
    one, two, other = (
        BayesianMF(dimensions=2, epochs=6, burn_in=3).fit(data, rng=np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert one.score(queries, None).tobytes() == two.score(queries, None).tobytes()
    assert one.score(queries, None).tobytes() != other.score(queries, None).tobytes()
    again = BayesianMF(dimensions=2, epochs=6, burn_in=3)
    again.load_state(one.state())
    assert again.score(queries, None).tobytes() == one.score(queries, None).tobytes()


def test_one_rating() -> None:
    data, _ = planted()
    one = data.select(slice(0, 1))
    model = small().fit(one, rng=np.random.default_rng(0))
    assert np.isfinite(model.score(one.queries(one.user, k=1), None)).all()


def test_mistakes_are_named() -> None:
    data, _ = planted()
    with pytest.raises(InputError, match="these data have none"):
        small().fit(replace(data, value=None, values="none"), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="burn_in must be at least 0 and less than epochs, got 9"):
        BayesianMF(epochs=9, burn_in=9)
