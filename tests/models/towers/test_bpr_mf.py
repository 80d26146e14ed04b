"""Matrix factorisation by BPR, and what every deep tower does when it is fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.errors import InputError
from pasand.models.towers.bpr_mf import BPRMF
from pasand.training.validation import ValidationSplit
from pasand.types import Rows
from tests.models.test_contract import clusters, dataset


def test_a_checkerboard_is_learnt() -> None:
    """Even users like even items, one of which is held out; odd users like odd ones."""
    events = [(user, item) for user in range(20) for item in range(12) if (user + item) % 2 == 0]
    held_out = [(user, (user % 2) + 2 * (user % 5)) for user in range(20)]
    user, item = np.array([pair for pair in events if pair not in held_out], np.int32).T
    model = BPRMF(dimensions=8, epochs=30, batch_size=32, learning_rate=0.05, patience=0)
    model.fit(dataset(user, item), rng=np.random.default_rng(0))
    queries = dataset(user, item).queries(np.arange(20, dtype=np.int32), k=1)
    scores = model.score(queries, None)
    scores[user, item] = -np.inf
    assert scores.argmax(axis=1).tolist() == [item for _, item in held_out]


def test_unknown_users_have_no_scores() -> None:
    data = clusters()[0]
    model = BPRMF(epochs=1).fit(data, rng=np.random.default_rng(0))
    scores = model.score(data.queries(np.array([-1, 0, 160, 999], np.int32).clip(max=159), k=1), None)
    assert np.isneginf(scores[0]).all()
    assert np.isfinite(scores[1:]).all()
    beyond = replace(data.queries(np.array([0], np.int32), k=1), users=np.array([500], np.int32))
    assert np.isneginf(model.score(beyond, None)).all()


def test_curves_stop_with_patience_and_refit_uses_all_events() -> None:
    data = clusters()[0]
    model = BPRMF(epochs=40, batch_size=128, learning_rate=0.05, patience=2, refit=False)
    model.fit(data, rng=np.random.default_rng(1))
    validation = model.curves()["validation ndcg@10"]
    assert len(validation) == min(int(np.argmax(validation)) + 1 + 2, 40)
    assert len(model.curves()["train loss"]) == len(validation)
    again = replace(model, refit=True).fit(data, rng=np.random.default_rng(1))
    assert again.curves() == model.curves()
    users = np.arange(160, dtype=np.int32)
    assert not np.array_equal(again.score(data.queries(users, k=1), None), model.score(data.queries(users, k=1), None))
    assert set(BPRMF(epochs=2, patience=0).fit(data, rng=np.random.default_rng(1)).curves()) == {"train loss"}


def model_of(users: list[list[float]], items: list[list[float]]) -> BPRMF:
    """Return a model with these vectors and no biases."""
    model = BPRMF(dimensions=len(items[0]))
    unknown = np.zeros((1, len(items[0])), np.float32)
    vectors = np.pad(np.array(items, np.float32), ((0, 0), (0, 1)))
    model.load_state(
        {
            "known": np.ones(len(items), np.bool_),
            "known_users": np.ones(len(users), np.bool_),
            "weights.users.weight": np.concatenate([np.array(users, np.float32), unknown]),
            "weights.items.weight": vectors,
            "items": vectors,
        }
    )
    model._torch()
    return model


def validation(model: BPRMF, user: list[int], history: list[list[int]], item: list[int]) -> float:
    data = dataset([], [], n_users=9, n_items=9)
    queries = data.queries(np.array(user, np.int32), k=10)
    rows: Rows = np.array(history, np.int32).reshape(len(user), -1)
    queries = replace(
        queries,
        history=rows,
        history_time=np.zeros(rows.shape, np.int64),
        history_value=np.full(rows.shape, np.nan, np.float32),
    )
    held = ValidationSplit(train=data, queries=queries, query=np.arange(len(user)), item=np.array(item, np.int32))
    return model._validation(held)()


def test_validation_is_ndcg_over_what_is_not_in_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of([[1.0], [-1.0]], [[float(n)] for n in range(20)])
    # user 0 has item 19: of 0..18 item 17 is second; user 1 ranks from 0 upwards and has 0, 1: item 4 is third, 15 out
    found = validation(model, [0, 1, 1], [[19, -1, -1], [0, 1, 1], [-1, -1, -1]], [17, 4, 15])
    expected = (1 / np.log2(3) + 1 / np.log2(4) + 0) / 3
    assert found == pytest.approx(expected)
    monkeypatch.setattr("pasand.models.towers.tower.CELLS", 1)
    assert validation(model, [0, 1, 1], [[19, -1, -1], [0, 1, 1], [-1, -1, -1]], [17, 4, 15]) == pytest.approx(expected)


def test_validation_is_0_for_equal_scores_and_unknown_users() -> None:
    assert validation(model_of([[1.0]], [[1.0]] * 20), [0], [[-1]], [3]) == 0
    assert validation(model_of([[1.0]], [[1.0]] * 20), [-1], [[-1]], [3]) == 0


def test_an_unavailable_device_is_refused() -> None:
    with pytest.raises(InputError, match="device: 'tpu' is wrong: not available on this machine"):
        BPRMF(device="tpu").fit(clusters()[0], rng=np.random.default_rng(0))


def test_divergence_is_explained() -> None:
    with pytest.raises(InputError, match=r"bprmf, epoch \d.*not finite.*users\.weight.*lower learning_rate"):
        BPRMF(learning_rate=1e38).fit(clusters()[0], rng=np.random.default_rng(0))
