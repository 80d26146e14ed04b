"""SLIT against its closed form, cut by cut, in double precision."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.data import memory_estimate
from pasand.errors import InputError
from pasand.models.classical import positive_definite
from pasand.models.classical.slit import SLIT
from pasand.types import Array
from tests.models.test_contract import dataset

RNG = np.random.default_rng(3)
HISTORIES = [RNG.integers(0, 7, length).tolist() for length in (1, 2, 5, 9, 0, 12)]
USER = np.repeat(np.arange(6), [len(history) for history in HISTORIES]).astype(np.int32)
ITEM = np.concatenate([np.array(history, np.int32) for history in HISTORIES])


def decayed(items: list[int], decay_length: float) -> Array:
    """Return the weight of each of 8 items, 1 for the first one."""
    out = np.zeros(8)
    for position, item in enumerate(items):
        out[item] += np.exp(-position / decay_length)
    return out


def closed_form(history_decay: float, horizon_decay: float, l2: float) -> Array:
    cuts = [(history[:at][::-1], history[at:]) for history in HISTORIES for at in range(1, len(history))]
    past = np.array([decayed(earlier, history_decay) for earlier, _ in cuts])
    future = np.array([decayed(later, horizon_decay) for _, later in cuts])
    return np.asarray(np.linalg.solve(past.T @ past + l2 * np.eye(8), past.T @ future))


@pytest.mark.parametrize(("history", "horizon", "l2"), [(10.0, 5.0, 2.0), (1.5, 0.5, 0.01), (3.0, 3.0, 50.0)])
def test_scores_are_the_closed_form(history: float, horizon: float, l2: float) -> None:
    data = dataset(USER, ITEM, n_items=8)
    model = SLIT(history_decay_length=history, horizon_decay_length=horizon, l2=l2).fit(data, rng=RNG)
    users = np.array([0, 1, 2, 3, 5], np.int32)
    expected = np.array([decayed(HISTORIES[u][::-1], history) for u in users]) @ closed_form(history, horizon, l2)
    queries = data.queries(users, k=1)
    np.testing.assert_allclose(model.score(queries, None), expected, rtol=1e-3, atol=1e-5)
    some = np.array([[3, -1, 0]] * 5, np.int32)
    scores = model.score(queries, some)
    np.testing.assert_allclose(scores[:, [0, 2]], expected[:, [3, 0]], rtol=1e-3, atol=1e-5)
    assert np.isneginf(scores[:, 1]).all()


def test_reasons_add_up_to_the_score() -> None:
    data = dataset(USER, ITEM, n_items=8)
    model = SLIT(l2=2.0).fit(data, rng=RNG)
    queries = data.queries(np.array([3], np.int32), k=1)
    why = model.reasons(queries, np.arange(7, dtype=np.int32)[None])[0]
    added = decayed(HISTORIES[3][::-1], 10.0)[:, None] * closed_form(10.0, 5.0, 2.0)
    for item, reasons in enumerate(why):
        expected = {other: added[other, item] for other in range(8) if added[other, item] > 1e-9}
        assert {reason.item: reason.weight for reason in reasons} == pytest.approx(expected, rel=1e-3)


def test_the_next_item_of_a_circle_is_predicted() -> None:
    histories = [[(first + step) % 10 for step in range(6)] for first in range(10)]
    data = dataset(np.repeat(np.arange(10), 6).astype(np.int32), np.concatenate(histories).astype(np.int32))
    model = SLIT(history_decay_length=1.0, horizon_decay_length=1.0, l2=0.1).fit(data, rng=RNG)
    scores = model.score(data.queries(np.arange(10, dtype=np.int32), k=1), None)
    np.testing.assert_array_equal(scores.argmax(axis=1), (np.arange(10) + 6) % 10)


def test_a_history_unknown_at_training_has_no_scores() -> None:
    data = dataset([0, 0, 1], [0, 1, 0], n_items=3)
    model = SLIT().fit(data, rng=RNG)
    unknown_history = dataset([0], [2], n_items=3).queries(np.array([0], np.int32), k=1)
    assert np.isneginf(model.score(unknown_history, None)).all()
    assert SLIT().fit(data.select(slice(0, 0)), rng=RNG).score(unknown_history, None).shape == (1, 3)


def test_too_many_items_and_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda: 100)
    with pytest.raises(InputError, match=r"items squared, 100 bytes are free.*Cure: use item_knn or sasrec"):
        SLIT().fit(dataset(USER, ITEM), rng=RNG)
    with pytest.raises(ValueError, match="history_decay_length must be positive and finite, got 0"):
        SLIT(history_decay_length=0)


def test_the_smallest_penalty_suffices() -> None:
    """Every cut adds an item to the history, so that S'S is regular but for items that are never in a history."""
    data = dataset([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
    assert np.isfinite(SLIT(l2=1e-17).fit(data, rng=RNG).state()["weights"]).all()
    with pytest.raises(ValueError, match="l2 must be positive and finite, got inf"):
        SLIT(l2=np.inf)


def test_blocks_give_the_weights_of_the_direct_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    data = dataset(rng.integers(0, 90, 900).astype(np.int32), rng.integers(0, 50, 900).astype(np.int32))
    direct = SLIT(l2=2.0).fit(data, rng=RNG).state()["weights"]
    monkeypatch.setattr(positive_definite, "DIRECT", 0)
    monkeypatch.setattr(positive_definite.factorise, "__defaults__", (16,))
    monkeypatch.setattr(positive_definite.solve, "__defaults__", (16,))
    np.testing.assert_allclose(SLIT(l2=2.0).fit(data, rng=RNG).state()["weights"], direct, rtol=1e-5, atol=1e-7)
