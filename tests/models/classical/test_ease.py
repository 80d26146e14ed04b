"""EASE against its closed form in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.models.classical import ease
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
    monkeypatch.setattr(ease, "memory_free", lambda: 100)
    with pytest.raises(InputError, match=r"items squared.*Cure: use item_knn or ials"):
        EASE().fit(dataset(USER, ITEM), rng=RNG)


def test_l2_is_positive() -> None:
    with pytest.raises(ValueError, match="l2 must be positive, got 0"):
        EASE(l2=0)
