"""Item and user kNN against brute force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pasand.errors import InputError
from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.user_knn import UserKNN
from tests.models.test_contract import dataset

RATED = np.where(
    np.random.default_rng(6).random((20, 9)) < 0.5, np.random.default_rng(7).integers(1, 6, (20, 9)), np.nan
)
USER, ITEM = (side.astype(np.int32) for side in np.nonzero(~np.isnan(RATED)))
DATA = dataset(USER, ITEM, RATED[USER, ITEM].astype(np.float32))
LIKED = RATED >= 4


def inside(rating: float) -> float:
    """Return a predicted rating within the scale."""
    return float(np.clip(rating, np.nanmin(RATED), np.nanmax(RATED)))


Matrix = NDArray[np.float64]
KINDS = ["cosine", "pearson", "adjusted"]


def similarities(rated: Matrix, kind: str, shrinkage: float) -> Matrix:
    """Similarity of every two columns, 0 on the diagonal and where negative."""
    n = rated.shape[1]
    out = np.zeros((n, n))
    centred = rated - np.nanmean(rated, axis=1, keepdims=True) if kind == "adjusted" else rated
    for i in range(n):
        for j in range(n):
            if kind == "cosine":
                x, y = rated[:, i] >= 4, rated[:, j] >= 4
                norm = np.sqrt(x.sum() * y.sum()) + shrinkage
                out[i, j] = (x & y).sum() / norm if norm else 0
            else:
                both = ~np.isnan(rated[:, i]) & ~np.isnan(rated[:, j])
                x, y = centred[both, i], centred[both, j]
                if kind == "pearson" and len(x):
                    x, y = x - x.mean(), y - y.mean()
                norm = np.sqrt((x @ x) * (y @ y))
                out[i, j] = x @ y / norm * len(x) / (len(x) + shrinkage) if norm > 1e-6 else 0
    np.fill_diagonal(out, 0)
    return np.maximum(out, 0).astype(np.float32).astype(np.float64)  # ties as they are in single precision


def nearest(row: Matrix, k: int) -> list[int]:
    return [int(j) for j in np.lexsort((np.arange(len(row)), -row))[:k] if row[j] > 0]


def everyone() -> Any:
    return DATA.queries(np.arange(20, dtype=np.int32), k=1)


@pytest.mark.parametrize("kind", KINDS)
def test_item_knn_ranks_as_brute_force(kind: Any) -> None:
    similar = similarities(RATED, kind, 1.5)
    kept = np.zeros_like(similar)
    for i in range(9):
        kept[i, nearest(similar[i], 4)] = similar[i, nearest(similar[i], 4)]
    model = ItemKNN(neighbours=4, similarity=kind, shrinkage=1.5).fit(DATA, rng=np.random.default_rng(0))
    scores = model.score(everyone(), None)
    preference = LIKED.any(axis=1)
    np.testing.assert_allclose(scores[preference], (LIKED @ kept)[preference], rtol=1e-4, atol=1e-6)
    assert np.isneginf(scores[~preference]).all()
    for item, why in enumerate(model.reasons(everyone(), np.tile(np.arange(9, dtype=np.int32), (20, 1)))[0]):
        expected = {i: kept[i, item] for i in np.flatnonzero(LIKED[0]) if kept[i, item] > 0}
        assert {reason.item: reason.weight for reason in why} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_item_knn_predicts_as_brute_force(kind: Any) -> None:
    similar, mean = similarities(RATED, kind, 1.5), np.nanmean(RATED, axis=0)
    model = ItemKNN(neighbours=4, similarity=kind, shrinkage=1.5).fit(DATA, rng=np.random.default_rng(0))
    predicted = model.predict(everyone(), np.tile(np.arange(9, dtype=np.int32), (20, 1)))
    for user in range(20):
        for item in range(9):
            rated = [i for i in np.flatnonzero(~np.isnan(RATED[user])) if item in nearest(similar[i], 4)]
            weight = similar[rated, item]
            expected = mean[item] + (weight @ (RATED[user, rated] - mean[rated]) / weight.sum() if rated else 0)
            assert predicted[user, item] == pytest.approx(inside(expected), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_user_knn_ranks_as_brute_force(kind: Any) -> None:
    similar = similarities(RATED.T, kind, 1.5)
    model = UserKNN(neighbours=5, similarity=kind, shrinkage=1.5).fit(DATA, rng=np.random.default_rng(0))
    scores = model.score(everyone(), None)
    for user in range(20):
        near = nearest(similar[user], 5)
        if near:
            np.testing.assert_allclose(scores[user], similar[user, near] @ LIKED[near], rtol=1e-4, atol=1e-6)
        else:
            assert np.isneginf(scores[user]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_user_knn_predicts_as_brute_force(kind: Any) -> None:
    similar, mean = similarities(RATED.T, kind, 1.5), np.nanmean(RATED, axis=1)
    model = UserKNN(neighbours=3, similarity=kind, shrinkage=1.5).fit(DATA, rng=np.random.default_rng(0))
    predicted = model.predict(everyone(), np.tile(np.arange(9, dtype=np.int32), (20, 1)))
    for user in range(20):
        for item in range(9):
            raters = np.where(np.isnan(RATED[:, item]), 0, similar[user])
            near = nearest(raters, 3)
            above = raters[near] @ (RATED[near, item] - mean[near]) / raters[near].sum() if near else 0
            assert predicted[user, item] == pytest.approx(inside(mean[user] + above), abs=1e-4)


def test_a_training_user_is_no_neighbour_of_itself() -> None:
    data = dataset([0, 0, 1, 1], [0, 1, 0, 2])
    scores = (
        UserKNN(shrinkage=0)
        .fit(data, rng=np.random.default_rng(0))
        .score(data.queries(np.array([0, -1], np.int32), k=1), None)
    )
    assert scores[0].tolist() == pytest.approx([0.5, 0, 0.5])
    assert np.isneginf(scores[1]).all()


def test_item_knn_by_hand() -> None:
    data = dataset([0, 0, 1, 1, 2], [0, 1, 0, 2, 0])
    model = ItemKNN(shrinkage=0).fit(data, rng=np.random.default_rng(0))
    scores = model.score(data.queries(np.array([2], np.int32), k=1), None)
    np.testing.assert_allclose(scores, [[0, 1 / np.sqrt(3), 1 / np.sqrt(3)]], rtol=1e-6)


def test_item_knn_decays_with_the_position_among_the_positives() -> None:
    """Item 3 was disliked and has no position; items 1 and 2 each share a user with 0, item 4 two with 2."""
    data = dataset([0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 2, 2, 4, 2, 4])
    model = ItemKNN(shrinkage=0, history_decay=0.5).fit(data, rng=np.random.default_rng(0))
    queries = data.queries(np.array([-1], np.int32), k=1)
    history = np.array([[-1, 0, 3, 2, 1]], np.int32)
    value = np.array([[np.nan, 1, -1, 1, 1]], np.float32)
    model._learnt["positive_from"] = np.array(0.0)
    queries = replace(queries, history=history, history_time=np.zeros((1, 5), np.int64), history_value=value)
    to_zero, to_two, to_four = 1 / np.sqrt(2), 1 / np.sqrt(6), 2 / np.sqrt(6)
    expected = [[to_zero + to_two / 2, to_zero / 4, to_two / 4, 0, to_four / 2]]
    np.testing.assert_allclose(model.score(queries, None), expected, rtol=1e-6)
    [[why, nothing]] = model.reasons(queries, np.array([[0, 3]], np.int32))
    assert [(reason.item, pytest.approx(reason.weight)) for reason in why] == [(1, to_zero), (2, to_two / 2)]
    assert nothing == []


def test_a_sparse_and_a_dense_catalogue_are_counted_alike() -> None:
    wide = dataset(USER, ITEM, RATED[USER, ITEM].astype(np.float32), n_items=4000)
    few, many = (ItemKNN(neighbours=4).fit(data, rng=np.random.default_rng(0)).state() for data in (DATA, wide))
    np.testing.assert_array_equal(few["neighbours"], many["neighbours"][:9])
    np.testing.assert_array_equal(few["weights"], many["weights"][:9])


@pytest.mark.parametrize("model", [ItemKNN, UserKNN])
def test_correlation_needs_ratings(model: Any) -> None:
    with pytest.raises(InputError, match="needs ratings"):
        model(similarity="pearson").fit(dataset([0], [0]), rng=np.random.default_rng(0))


@pytest.mark.parametrize("model", [ItemKNN, UserKNN])
def test_hyperparameters_are_checked(model: Any) -> None:
    with pytest.raises(ValueError, match="neighbours must be at least 1, got 0"):
        model(neighbours=0)
    with pytest.raises(ValueError, match="similarity must be"):
        model(similarity="jaccard")
    with pytest.raises(ValueError, match="shrinkage must not be negative, got -1"):
        model(shrinkage=-1)


def test_decay_is_checked() -> None:
    with pytest.raises(ValueError, match="history_decay must be above 0 and at most 1, got 0"):
        ItemKNN(history_decay=0)
