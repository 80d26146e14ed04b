from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.features.rating_histories import fold_in, hold_out
from pasand.models.ratings.biased_mf import BiasedMF
from pasand.models.ratings.sgd import ITEM_CODES, USER_CODES, run_epoch, run_parallel_epoch, sort_by_block, update
from pasand.types import Queries

USERS, ITEMS, NOISE = 120, 80, 0.3
POOL = ThreadPoolExecutor(2)


def planted(seed: int = 0, n: int = 5000, order: str = "time") -> tuple[Dataset, NDArray[np.float64]]:
    """Ratings of rank 3 plus biases and noise, and the noiseless table."""
    rng = np.random.default_rng(seed)
    truth = (
        3.5
        + rng.normal(0, 0.4, (USERS, 1))
        + rng.normal(0, 0.4, (1, ITEMS))
        + rng.normal(0, 0.6, (USERS, 3)) @ rng.normal(0, 0.6, (3, ITEMS))
    )
    cells = rng.choice(USERS * ITEMS, n, replace=False)
    user, item = (cells // ITEMS).astype(np.int32), (cells % ITEMS).astype(np.int32)
    data = Dataset(
        name="planted",
        users=Vocabulary([f"{u:03}" for u in range(USERS)]),
        items=Vocabulary([f"{i:03}" for i in range(ITEMS)]),
        user=user,
        item=item,
        time=np.arange(n, dtype=np.int64) * (order == "time"),
        value=(truth[user, item] + rng.normal(0, NOISE, n)).astype(np.float32),
        values="rating",
        order=order,  # type: ignore[arg-type]
    )
    return data, truth


def as_unknown_users(queries: Queries) -> Queries:
    return replace(queries, users=np.full(len(queries), -1, np.int32))


def error(predicted: NDArray[np.float32], truth: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


EVERYONE = np.arange(USERS, dtype=np.int32)
EVERYTHING = np.broadcast_to(np.arange(ITEMS, dtype=np.int32), (USERS, ITEMS))
SMALL: dict[str, Any] = {"dimensions": 3, "epochs": 60, "learning_rate": 0.02, "l2": 0.02, "init_std": 0.1}


def test_the_worked_example() -> None:
    bias, other = np.zeros(1), np.zeros(1)
    p, q = np.array([[0.5, 0.3]]), np.array([[0.3, 0.7]])
    assert 4.43 + p[0] @ q[0] == pytest.approx(4.79, abs=1e-12)
    assert update(bias, other, p, q, 0, 0, 5.0, 4.43, 0.01, 0.02, 0.02) == pytest.approx(0.21, abs=1e-12)
    assert bias[0] == pytest.approx(0.0021, abs=1e-12)
    assert other[0] == pytest.approx(0.0021, abs=1e-12)
    # the exact values, which round to the (.5005, .3014) and (.3010, .7005) of the example
    np.testing.assert_allclose(p[0], [0.5 + 0.01 * (0.21 * 0.3 - 0.02 * 0.5), 0.3 + 0.01 * (0.21 * 0.7 - 0.02 * 0.3)])
    np.testing.assert_allclose(p[0].round(4), [0.5005, 0.3014])
    np.testing.assert_allclose(q[0].round(4), [0.3010, 0.7005])


def test_the_step_goes_down_the_numeric_gradient() -> None:
    rng = np.random.default_rng(1)
    at = rng.normal(0, 0.5, 12)
    rating, mean, rate, l2, l2_bias = 4.0, 3.5, 1e-3, 0.05, 0.02

    def loss(w: NDArray[np.float64]) -> float:
        e = rating - mean - w[0] - w[1] - w[2:7] @ w[7:]
        return float(e**2 + l2 * (w[2:] @ w[2:]) + l2_bias * (w[:2] @ w[:2])) / 2

    gradient = [(loss(at + 1e-6 * unit) - loss(at - 1e-6 * unit)) / 2e-6 for unit in np.eye(12)]
    bu, bi, p, q = at[:1].copy(), at[1:2].copy(), at[None, 2:7].copy(), at[None, 7:].copy()
    update(bu, bi, p, q, 0, 0, rating, mean, rate, l2, l2_bias)
    np.testing.assert_allclose((np.concatenate([bu, bi, p[0], q[0]]) - at) / rate, -np.array(gradient), atol=1e-7)


def test_an_epoch_is_the_plain_numpy_one() -> None:
    data, _ = planted(n=400)
    assert data.value is not None
    rng = np.random.default_rng(2)
    start = [rng.normal(0, 0.1, shape) for shape in (USERS, ITEMS, (USERS, 4), (ITEMS, 4))]
    ours, (bu, bi, p, q) = [a.copy() for a in start], [a.copy() for a in start]
    total = run_epoch(*ours, data.user, data.item, data.value, 3.5, 0.05, 0.03, 0.01)
    squares = 0.0
    for u, i, r in zip(data.user, data.item, data.value, strict=True):
        e = r - 3.5 - bu[u] - bi[i] - p[u] @ q[i]
        squares += e * e
        bu[u] += 0.05 * (e - 0.01 * bu[u])
        bi[i] += 0.05 * (e - 0.01 * bi[i])
        p[u], q[i] = p[u] + 0.05 * (e * q[i] - 0.03 * p[u]), q[i] + 0.05 * (e * p[u] - 0.03 * q[i])
    assert total == pytest.approx(squares)
    for own, theirs in zip(ours, (bu, bi, p, q), strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-12)


def test_sorting_keeps_every_rating_in_its_block() -> None:
    data, _ = planted()
    assert data.value is not None
    rng = np.random.default_rng(0)
    user_code = USER_CODES[rng.integers(0, 16, USERS)]
    item_code = ITEM_CODES[rng.integers(0, 16, ITEMS)]
    assert sorted(np.add.outer(USER_CODES, ITEM_CODES).ravel()) == list(range(256))
    (users, items, values), ends = sort_by_block(POOL, (data.user, data.item, data.value), user_code, item_code)
    block = user_code[data.user] + item_code[data.item]
    stable = np.argsort(block, kind="stable")
    np.testing.assert_array_equal(users, data.user[stable])
    np.testing.assert_array_equal(items, data.item[stable])
    np.testing.assert_array_equal(values, data.value[stable])
    np.testing.assert_array_equal(np.diff(ends), np.bincount(block, minlength=256))


def test_two_threads_are_one_thread() -> None:
    data, _ = planted()
    assert data.value is not None
    rng = np.random.default_rng(6)
    codes = USER_CODES[rng.integers(0, 16, USERS)], ITEM_CODES[rng.integers(0, 16, ITEMS)]
    ratings, ends = sort_by_block(POOL, (data.user, data.item, data.value), *codes)
    start = [rng.normal(0, 0.1, shape) for shape in (USERS, ITEMS, (USERS, 4), (ITEMS, 4))]
    ours, theirs = [a.copy() for a in start], [a.copy() for a in start]
    settings = (np.float32(3.5), np.float32(0.05), np.float32(0.03), np.float32(0.01))
    total = run_parallel_epoch(POOL, (ours[0], ours[1], ours[2], ours[3]), ratings, ends, settings)
    one = 0.0
    for half, other in ((0, 0), (1, 1), (0, 1), (1, 0)):
        chosen = (codes[0][ratings[0]] // 128 == half) & (codes[1][ratings[1]] // 64 == other)
        one += run_epoch(*theirs, *(column[chosen] for column in ratings), *settings)
    assert total == pytest.approx(one)
    for own, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_planted_ratings_are_recovered() -> None:
    data, truth = planted()
    model = BiasedMF(**SMALL, validation_share=0).fit(data, rng=np.random.default_rng(0))
    predicted = model.predict(data.queries(EVERYONE, k=1), EVERYTHING)
    unseen = np.ones((USERS, ITEMS), np.bool_)
    unseen[data.user, data.item] = False
    inside = np.clip(truth, data.value.min(), data.value.max())  # type: ignore[union-attr]
    # 42 ratings a user for 4 numbers: the error of the mean is well under the noise
    assert error(predicted[unseen], inside[unseen]) < 0.6 * NOISE
    biases = BiasedMF(**{**SMALL, "dimensions": 0}, validation_share=0).fit(data, rng=np.random.default_rng(0))
    assert error(biases.predict(data.queries(EVERYONE, k=1), EVERYTHING)[unseen], inside[unseen]) > 1.5 * NOISE


def test_same_seed_same_bits() -> None:
    data, _ = planted()
    queries = data.queries(EVERYONE, k=1)
    one, two, other = (
        BiasedMF(epochs=3).fit(data, rng=np.random.default_rng(s)).score(queries, None) for s in (3, 3, 4)
    )
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()


def test_folding_in_a_known_history_approximates_the_learnt_user() -> None:
    data, _ = planted()
    model = BiasedMF(**SMALL, validation_share=0).fit(data, rng=np.random.default_rng(0))
    queries = data.queries(EVERYONE, k=1)
    learnt = model.state()
    bias, vectors = model.user_parameters(queries)
    np.testing.assert_array_equal(bias, learnt["user_bias"])
    np.testing.assert_array_equal(vectors, learnt["user_vectors"])
    folded = model.predict(as_unknown_users(queries), EVERYTHING)
    assert not np.array_equal(folded, model.predict(queries, EVERYTHING))
    assert error(folded, model.predict(queries, EVERYTHING).astype(np.float64)) < 0.1


def test_fold_in_is_the_ridge_regression() -> None:
    rng = np.random.default_rng(5)
    item_bias, item_vectors = rng.normal(size=6).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)
    prior = np.array([[2.0, 0.3, 0], [0.3, 1, 0], [0, 0, 0.5]])
    history, values = (
        np.array([[-1, 2, 4, 5], [-1, -1, -1, -1]], np.int32),
        np.array([[np.nan, 3, 4, 1]] * 2, np.float32),
    )
    bias, vectors = fold_in(history, values, 3.0, item_bias, item_vectors, prior)
    x = np.column_stack([np.ones(3), item_vectors[[2, 4, 5]]])
    expected = np.linalg.solve(prior + x.T @ x, x.T @ (values[0, 1:] - 3 - item_bias[[2, 4, 5]]))
    np.testing.assert_allclose(np.r_[bias[0], vectors[0]], expected, rtol=1e-5)
    assert not bias[1]
    assert not vectors[1].any()


def test_a_new_user_gains_from_each_rating() -> None:
    data, truth = planted()
    old = data.select(data.user >= 30)
    model = BiasedMF(**SMALL, validation_share=0).fit(old, rng=np.random.default_rng(0))
    new = np.arange(30, dtype=np.int32)
    errors = [
        error(model.predict(data.queries(new, k=1, upto=np.full(30, n)), EVERYTHING[:30]), truth[:30])
        for n in (0, 1, 4, 12, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_a_user_who_rated_since_is_folded_in() -> None:
    data, _ = planted()
    model = BiasedMF(**SMALL, validation_share=0).fit(data, rng=np.random.default_rng(0))
    queries = data.queries(EVERYONE[:1], k=1)
    more = replace(
        queries,
        history=np.column_stack([queries.history, [7]]).astype(np.int32),
        history_time=np.column_stack([queries.history_time, [10**6]]),
        history_value=np.column_stack([queries.history_value, [1]]).astype(np.float32),
    )
    assert np.array_equal(model.score(more, None), model.score(as_unknown_users(more), None))
    recent = replace(
        queries,
        history=queries.history[:, -5:],
        history_time=queries.history_time[:, -5:],
        history_value=queries.history_value[:, -5:],
    )
    assert np.array_equal(model.score(recent, None), model.score(queries, None))


def test_unknown_users_and_items() -> None:
    data, _ = planted()
    model = BiasedMF(epochs=5).fit(data, rng=np.random.default_rng(0))
    learnt = model.state()
    with_unknown_user = data.queries(np.array([-1, 0], np.int32), k=1)
    items = np.array([[3, -1], [3, -1]], np.int32)
    predicted = model.predict(with_unknown_user, items)
    mean = learnt["mean"][0]
    assert predicted[0] == pytest.approx([mean + learnt["item_bias"][3], mean], abs=1e-5)
    assert predicted[1, 1] == pytest.approx(mean + learnt["user_bias"][0], abs=1e-5)
    scores = model.score(with_unknown_user, items)
    assert np.isneginf(scores[:, 1]).all()
    assert scores.dtype == predicted.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0], model.score(with_unknown_user, None)[:, 3], rtol=1e-5)


@pytest.mark.parametrize("order", ["time", "none"])
def test_early_stopping_stops(order: str) -> None:
    data, _ = planted(n=1500, order=order)
    model = BiasedMF(dimensions=16, epochs=400, l2=0, learning_rate=0.05, learning_rate_decay=1, patience=4)
    curves = model.fit(data, rng=np.random.default_rng(0)).curves()
    validation = curves["validation rmse"]
    assert len(validation) == len(curves["train rmse"]) == int(np.argmin(validation)) + 1 + 4 < 400
    assert curves["train rmse"][-1] < curves["train rmse"][0]


def test_without_refit_the_best_epoch_is_kept() -> None:
    data, _ = planted()
    assert data.value is not None
    model = BiasedMF(**SMALL, validation_share=0.2, refit=False).fit(data, rng=np.random.default_rng(0))
    kept, held = hold_out(data, 0.2, np.random.default_rng(0))
    assert held.value is not None
    predicted = model.score(kept.queries(held.user, k=1), held.item[:, None])[:, 0]
    assert error(predicted, held.value.astype(np.float64)) == pytest.approx(
        min(model.curves()["validation rmse"]), abs=1e-4
    )


def test_state_round_trip() -> None:
    data, _ = planted()
    model = BiasedMF(epochs=3).fit(data, rng=np.random.default_rng(0))
    again = BiasedMF(epochs=3)
    again.load_state(model.state())
    queries = data.queries(np.array([5, -1], np.int32), k=1)
    assert again.score(queries, None).tobytes() == model.score(queries, None).tobytes()
    assert again.curves() == model.curves()


def test_one_user_one_item() -> None:
    data, _ = planted()
    one = data.select(slice(0, 1))
    model = BiasedMF().fit(one, rng=np.random.default_rng(0))
    assert np.isfinite(model.score(one.queries(one.user, k=1), None)).all()


def test_mistakes_are_named() -> None:
    data, _ = planted(n=300)
    with pytest.raises(InputError, match="these data have none"):
        BiasedMF().fit(replace(data, value=None, values="none"), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"strengths, such as counts. Cure: .*ials"):
        BiasedMF().fit(replace(data, values="strength"), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="no event has a rating"):
        BiasedMF().fit(data.select(slice(0)), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="lower learning_rate"):
        BiasedMF(learning_rate=50.0, validation_share=0).fit(data, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="epochs must be positive, got 0"):
        BiasedMF(epochs=0)
    with pytest.raises(ValueError, match=r"validation_share must be in \[0, 1\), got 1"):
        BiasedMF(validation_share=1)


def test_the_last_ratings_of_every_user_are_held_out() -> None:
    data, _ = planted(n=300)
    kept, held = hold_out(data, 0.3, np.random.default_rng(0))
    assert len(kept) + len(held) <= len(data)
    for user in np.unique(held.user):
        assert kept.time[kept.user == user].max() <= held.time[held.user == user].min()
    assert np.isin(held.item, kept.item).all()
    assert hold_out(data, 0.0, np.random.default_rng(0))[0].time.tolist() == data.time.tolist()


@pytest.mark.parametrize("factor", [0.01, 20, 250])
def test_the_range_of_the_ratings_does_not_matter(factor: float) -> None:
    stars, _ = planted()
    assert stars.value is not None
    low = stars.value.min()
    four = replace(stars, value=(stars.value - low) * np.float32(4 / (stars.value.max() - low)))
    wide = replace(stars, value=np.asarray(four.value) * np.float32(factor))
    everyone = np.arange(stars.n_users, dtype=np.int32)
    models = [BiasedMF(dimensions=3).fit(data, rng=np.random.default_rng(0)) for data in (four, wide)]
    for users in (everyone, np.full_like(everyone, -1)):  # of the training, and folded in
        scores = [
            model.score(replace(data.queries(everyone, k=1), users=users), None)
            for model, data in zip(models, (four, wide), strict=True)
        ]
        np.testing.assert_allclose(scores[1] / factor, scores[0], atol=0.01)
    one, other = (model.curves()["validation rmse"] for model in models)
    np.testing.assert_allclose(np.array(other) / factor, one, rtol=0.01)
