"""Retrieval examples and histories equal those of a plain loop over the log; losses equal their formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pasand.data.dataset import Dataset
from pasand.features import encoding
from pasand.layers.embeddings import CodeEmbedding
from pasand.layers.towers import Tower, TwoTowers
from pasand.training.tasks.retrieval import RetrievalExamples, RetrievalObjective, RetrievalTask
from tests.models.test_contract import dataset

CPU = torch.device("cpu")
LENGTH = 3


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def codes(data: Dataset) -> np.ndarray:
    used = np.zeros(data.n_items, np.bool_)
    used[data.positives().item] = True
    return encoding.consecutive_codes(used)


events = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([1.0, 5.0])), min_size=1, max_size=40)


@settings(max_examples=60)
@given(events)
def test_histories_are_the_events_before_and_never_hold_the_label(log: list[tuple[int, int, float]]) -> None:
    user, item, value = (np.array(column) for column in zip(*log, strict=True))
    data = dataset(user, item, value.astype(np.float32), n_items=6, n_users=4)
    code = codes(data)
    examples = RetrievalExamples(data, code, LENGTH, CPU)
    every = torch.arange(len(examples))
    read = examples.history(every, drawn()).numpy()
    others = examples.others(every).numpy()
    expected = []
    for u in range(4):
        liked: list[int] = []
        rest: list[int] = []
        for event_user, event_item, rating in log:
            if event_user != u:
                continue
            if rating < 4:
                rest.append(int(code[event_item]))
            else:
                if code[event_item] not in liked:
                    expected.append(
                        (u, int(code[event_item]), ([0] * LENGTH + liked)[-LENGTH:], ([0] * LENGTH + rest)[-LENGTH:])
                    )
                liked.append(int(code[event_item]))
    found = [
        (int(u), int(c), h.tolist(), o.tolist())
        for u, c, h, o in zip(examples.user, examples.code, read, others, strict=True)
    ]
    assert found == expected
    assert not (read == examples.code.numpy()[:, None]).any()


def test_without_an_order_histories_are_drawn_from_all_other_positives() -> None:
    data = replace(dataset([0] * 5, [0, 1, 2, 3, 4]), order="none", time=np.zeros(5, np.int64))
    examples = RetrievalExamples(data, codes(data), 100, CPU)
    read = examples.history(torch.arange(5), drawn())
    for code, history in zip(examples.code.tolist(), read.tolist(), strict=True):
        assert set(history) - {0} == {1, 2, 3, 4, 5} - {code}


def test_age_is_in_days_and_their_logarithm() -> None:
    data = replace(dataset([0, 0, 1], [0, 1, 2]), time=np.array([0, 9, 10]) * 86_400)
    expected = [[1, 1], [0.1, np.log(2) / np.log(11)], [0, 0]]
    np.testing.assert_allclose(RetrievalExamples(data, codes(data), 2, CPU).age, expected, rtol=1e-6)


def towers(data: Dataset) -> nn.Module:
    torch.manual_seed(0)
    user, item = CodeEmbedding(data.n_users, 4), CodeEmbedding(data.n_items, 4)
    nn.init.normal_(user.table.weight)
    nn.init.normal_(item.table.weight)
    return TwoTowers(Tower({"user": user}, 4, ()), Tower({"item": item}, 4, ()), normalise=False)


def task(data: Dataset, batch_size: int = 64, **options: object) -> RetrievalTask:
    objective = replace(RetrievalObjective(loss="full_softmax", negatives=50), **options)  # type: ignore[arg-type]
    examples = RetrievalExamples(data, codes(data), LENGTH, CPU)
    items = {"item": np.arange(1, 1 + int(codes(data).max()))}
    users = {"user": np.arange(1, data.n_users + 1)}
    return RetrievalTask(examples, towers(data), users, items, set(), objective, batch_size, CPU)


DATA = dataset([0, 0, 0, 1, 1, 2], [0, 1, 2, 0, 3, 4])


def logits_and_positives() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the logits of each example for all items, the mask of its user's positives, and the labels."""
    network = towers(DATA)
    assert isinstance(network, TwoTowers)
    user, item = torch.from_numpy(DATA.user).long(), torch.from_numpy(DATA.item).long()
    logits = network.query({"user": user + 1}) @ network.item({"item": torch.arange(1, 6)}).T
    positives = torch.zeros(3, 5, dtype=torch.bool)
    positives[user, item] = True
    return logits, positives[user], item


def test_full_softmax_leaves_other_positives_out() -> None:
    logits, false_negatives, item = logits_and_positives()
    false_negatives[torch.arange(6), item] = False
    expected = functional.cross_entropy(logits.masked_fill(false_negatives, -torch.inf), item)
    torch.testing.assert_close(task(DATA).loss(torch.arange(6), drawn()), expected)


def test_sampled_softmax_tends_to_the_full_one() -> None:
    full = task(DATA).loss(torch.arange(6), drawn())
    for sampling in ("uniform", "popularity"):
        sampled = task(DATA, loss="sampled_softmax", negative_sampling=sampling, negatives=200_000).loss(
            torch.arange(6), drawn()
        )
        torch.testing.assert_close(sampled, full, rtol=2e-2, atol=0)


@pytest.mark.parametrize("loss", ["binary", "bpr"])
def test_pairwise_losses_use_items_that_are_no_positives_of_the_user(loss: str) -> None:
    logits, false_negatives, item = logits_and_positives()
    positive = logits[torch.arange(6), item]
    found = task(DATA, loss=loss, negatives=100_000).loss(torch.arange(6), drawn())
    free = [row[~mask] for row, mask in zip(logits, false_negatives, strict=True)]
    if loss == "bpr":
        # all pairs have the same weight, so users with more items to draw from count more
        weight = torch.tensor([float(len(row)) for row in free])
        each = torch.stack([functional.softplus(row - p).mean() for row, p in zip(free, positive, strict=True)])
        torch.testing.assert_close(found, (each * weight).sum() / weight.sum(), rtol=2e-2, atol=0)
    else:
        weight = torch.tensor([float(len(row)) for row in free])
        each = torch.stack([functional.softplus(row).mean() for row in free])
        torch.testing.assert_close(found, (each * weight).sum() / weight.sum(), rtol=2e-2, atol=0)


def test_each_example_occurs_once_per_epoch() -> None:
    examples = torch.cat(list(task(DATA, batch_size=4).batches(drawn())))
    assert sorted(examples.tolist()) == list(range(6))


def test_per_user_gives_all_users_the_same_weight() -> None:
    model_task = task(DATA, batch_size=7, per_user=10)
    batches = list(model_task.batches(drawn()))
    assert len(batches) == model_task.n_batches == 5
    users = torch.tensor([0, 0, 0, 1, 1, 2])[torch.cat(batches)]
    assert torch.bincount(users).tolist() == [10, 10, 10]
    assert set(torch.cat(batches).tolist()) == set(range(6))


def test_ids_are_dropped_only_where_the_tower_reads_other_inputs() -> None:
    model_task = task(DATA, id_dropout=0.5)
    alone = {"item": torch.arange(1, 1001)}
    with_more = alone | {"item.genres": torch.ones(1000, 1)}
    assert model_task._drop_ids("item", alone, drawn()) is alone
    dropped = model_task._drop_ids("item", with_more, drawn())["item"]
    assert 400 < int((dropped == 0).sum()) < 600
    assert set(dropped.tolist()) - {0} <= set(range(1, 1001))


def test_a_checkpoint_holds_the_streaming_frequencies() -> None:
    first, second = (task(DATA, loss="in_batch", log_q="streaming", batch_size=2) for _ in range(2))
    for batch in first.batches(drawn()):
        first.loss(batch, drawn())
    second.load_state({name: values.clone() for name, values in first.state().items()})
    batch = torch.tensor([0, 5])
    torch.testing.assert_close(second.loss(batch, drawn()), first.loss(batch, drawn()), rtol=0, atol=0)
