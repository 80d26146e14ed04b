"""EASE against its closed form in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.data import memory_estimate
from pasand.errors import InputError
from pasand.models.classical import positive_definite
from pasand.models.classical.ease import EASE
from tests.models.test_contract import dataset

RNG = np.random.default_rng(3)
LIKED = RNG.random((30, 8)) < 0.3
USER, ITEM = (side.astype(np.int32) for side in np.nonzero(LIKED))


def closed_form(l2: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    x = LIKED.astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + l2 * np.eye(8))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("l2", [1e-3, 2.0, 500.0])
def test_scores_are_the_closed_form(l2: float) -> None:
    data = dataset(USER, ITEM, n_users=30)
    model = EASE(l2=l2).fit(data, rng=RNG)
    users = np.unique(USER)
    scores = model.score(data.queries(users, k=1), None)
    np.testing.assert_allclose(scores, LIKED[users] @ closed_form(l2), rtol=2e-3, atol=1e-5)


def test_reasons_are_the_weights_and_items_seen_twice_count_once() -> None:
    data = dataset(np.append(USER, USER[:1]), np.append(ITEM, ITEM[:1]), n_users=30)
    model = EASE(l2=2.0).fit(data, rng=RNG)
    user, weights = int(USER[0]), closed_form(2.0)
    queries = data.queries(np.array([user], np.int32), k=1)
    np.testing.assert_allclose(model.score(queries, None)[0], LIKED[user] @ weights, rtol=1e-4, atol=1e-6)
    for item, why in enumerate(model.reasons(queries, np.arange(8, dtype=np.int32)[None])[0]):
        expected = {i: weights[i, item] for i in np.flatnonzero(LIKED[user]) if weights[i, item] > 0}
        assert {reason.item: reason.weight for reason in why} == pytest.approx(expected, rel=1e-4)


def test_a_history_unknown_at_training_has_no_scores() -> None:
    data = dataset([0, 0, 1], [0, 1, 0], n_items=3)
    model = EASE().fit(data, rng=RNG)
    unknown_history = dataset([0], [2], n_items=3).queries(np.array([0], np.int32), k=1)
    assert np.isneginf(model.score(unknown_history, None)).all()


def test_too_many_items_are_refused_before_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda: 100)
    with pytest.raises(InputError, match=r"items squared, 100 bytes are free.*Cure: use item_knn or ials"):
        EASE().fit(dataset(USER, ITEM), rng=RNG)


def test_l2_is_positive() -> None:
    with pytest.raises(ValueError, match="l2 must be positive and finite, got 0"):
        EASE(l2=0)


@pytest.mark.parametrize("value", [0, -1, np.inf, np.nan])
def test_l2_out_of_range_is_named(value: float) -> None:
    with pytest.raises(ValueError, match=f"l2 must be positive and finite, got {value}"):
        EASE(l2=value)


@pytest.mark.parametrize("value", [1e-17, 1e-14])
def test_a_singular_matrix_is_refused_with_the_value_and_a_cure(value: float) -> None:
    """Items 0 and 1 have the same users, so that without l2 there is no inverse."""
    data = dataset([0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 2, 2])
    with pytest.raises(InputError, match=rf"ease.l2: {value} is wrong: .*no inverse.*Cure: raise l2"):
        EASE(l2=value).fit(data, rng=RNG)
    scores = EASE(l2=1e-6).fit(data, rng=RNG).score(data.queries(np.array([0], np.int32), k=1), None)
    np.testing.assert_allclose(scores[0], [1, 1, 0], atol=1e-3)


@pytest.mark.parametrize("l2", [1e-3, 2.0, 500.0])
def test_blocks_give_the_weights_of_the_direct_inverse(l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    data = dataset(rng.integers(0, 90, 900).astype(np.int32), rng.integers(0, 50, 900).astype(np.int32))
    direct = EASE(l2=l2).fit(data, rng=RNG).state()["weights"]
    monkeypatch.setattr(positive_definite, "DIRECT", 0)
    monkeypatch.setattr(positive_definite.factorise, "__defaults__", (16,))
    monkeypatch.setattr(positive_definite.invert, "__defaults__", (16,))
    by_blocks = EASE(l2=l2).fit(data, rng=RNG).state()["weights"]
    np.testing.assert_allclose(by_blocks, direct, rtol=2e-3, atol=1e-5)
    assert by_blocks.flags.c_contiguous


def test_items_without_a_positive_cost_nothing_and_score_0() -> None:
    rows = np.array([1, 2, 4, 5, 6, 8, 9, 11])
    small, large = dataset(USER, ITEM, n_users=30), dataset(USER, rows[ITEM].astype(np.int32), n_users=30, n_items=13)
    few, many = EASE(l2=2.0).fit(small, rng=RNG), EASE(l2=2.0).fit(large, rng=RNG)
    users = np.unique(USER)
    expected = np.zeros((len(users), 13), np.float32)
    expected[:, rows] = few.score(small.queries(users, k=1), None)
    queries = large.queries(users, k=1)
    assert np.array_equal(many.score(queries, None), expected)
    items = np.broadcast_to(np.array([4, 0, -1, 12, 13, 1], np.int32), (len(users), 6))
    cells = many.score(queries, items)
    assert np.isneginf(cells[:, [2, 4]]).all()
    np.testing.assert_allclose(cells[:, [0, 1, 3, 5]], expected[:, [4, 0, 12, 1]], rtol=1e-5)
    reasons = many.reasons(queries, np.array([[4, 0]] * len(users), np.int32))
    of_few = few.reasons(small.queries(users, k=1), np.array([[2]] * len(users), np.int32))
    for (why, nothing), (same,) in zip(reasons, of_few, strict=True):
        assert nothing == []
        assert [(r.item, r.weight) for r in why] == [(rows[r.item], r.weight) for r in same]
    assert many.memory_needed(large) == few.memory_needed(small)
    state = many.state()
    assert state["weights"].shape == (8, 8)
    older = EASE(l2=2.0)
    weights = np.zeros((13, 13), np.float32)
    weights[np.ix_(rows, rows)] = state["weights"]
    older.load_state({**state, "weights": weights})
    assert np.array_equal(older.score(queries, None), expected)
    with pytest.raises(ValueError, match="weights must be of the 8 known items, and are of 7"):
        older.load_state({**state, "weights": state["weights"][:7, :7].copy()})
