from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.models.towers.sasrec import SASRec
from pasand.types import Queries
from tests.models.test_contract import dataset

N = 12


@cache
def chain() -> Dataset:
    """300 users walk from item i to i + 1 (mod 12), one step in ten to anywhere; each starts anywhere."""
    rng = np.random.default_rng(0)
    user, item = [], []
    for u in range(300):
        at = rng.integers(N)
        for _ in range(rng.integers(4, 9)):
            user.append(u)
            item.append(int(at))
            at = (at + 1) % N if rng.random() < 0.9 else rng.integers(N)
    return dataset(user, item)


@cache
def walker() -> SASRec:
    model = SASRec(
        dimensions=16, epochs=25, batch_size=200, history_length=6, learning_rate=0.01, dropout=0.1, patience=0
    )
    return model.fit(chain(), rng=np.random.default_rng(0))


def queries_of(histories: list[list[int]]) -> Queries:
    width = max(map(len, histories))
    history = np.array([[-1] * (width - len(h)) + h for h in histories], np.int32)
    return Queries(
        users=np.full(len(history), -1, np.int32),
        history=history,
        history_time=np.zeros(history.shape, np.int64),
        history_value=np.full(history.shape, np.nan, np.float32),
        time=np.zeros(len(history), np.int64),
        k=3,
    )


def test_the_next_item_of_a_markov_chain_is_learnt() -> None:
    scores = walker().score(queries_of([[(i - 2) % N, (i - 1) % N, i] for i in range(N)]), None)
    assert scores.argmax(axis=1).tolist() == [(i + 1) % N for i in range(N)]


def test_its_probabilities_are_the_chains() -> None:
    """The softmax over all items is fitted by likelihood: .9 + .1 / 12 to the next item, .1 / 12 to each other."""
    scores = walker().score(queries_of([[i] for i in range(N)] + [[0, 5, i] for i in range(N)]), None)
    share = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    following = np.tile((np.arange(N) + 1) % N, 2)
    np.testing.assert_allclose(share[np.arange(2 * N), following], 0.9 + 0.1 / N, atol=0.08)


def test_only_the_latest_items_are_read() -> None:
    model = walker()
    short, long = [4, 5, 6, 7, 8, 9], [1, 1, 2, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(model.score(queries_of([short]), None), model.score(queries_of([long]), None))


def test_unknown_items_and_dislikes_are_passed_over() -> None:
    """Item 12 came after training; item 5 was rated too low for a positive."""
    model = walker()
    queries = queries_of([[3, 12, 5, 4], [3, 4]])
    queries.history_value[0, 2] = 1.0
    rated = replace(chain(), values="rating", positive_from=3.0)
    other = SASRec(dimensions=8, epochs=1, patience=0).fit(rated, rng=np.random.default_rng(0))
    for scores in (other.score(queries, None),):
        np.testing.assert_array_equal(scores[0], scores[1])
    new = queries_of([[3, 12, 4], [3, 4]])
    scores = model.score(new, None)
    np.testing.assert_array_equal(scores[0], scores[1])


def test_early_stopping_keeps_its_curve() -> None:
    model = SASRec(dimensions=8, epochs=30, batch_size=200, learning_rate=0.02, patience=2)
    model.fit(chain(), rng=np.random.default_rng(0))
    curve = model.curves()["validation ndcg@10"]
    assert len(curve) < 30
    assert int(np.argmax(curve)) == len(curve) - 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 0}, "blocks must be positive, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dimensions": 10, "heads": 4}, "dimensions must be a multiple of heads \\(4\\), got 10"),
    ],
)
def test_impossible_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SASRec(**options)  # type: ignore[arg-type]
