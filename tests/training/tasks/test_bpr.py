"""The BPR task on a small log: batches, negatives and loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pasand.layers.towers import IdTowers
from pasand.training.tasks.bpr import BPRTask
from tests.models.test_contract import dataset

CPU = torch.device("cpu")


def pairs(negatives: int = 3, batch_size: int = 4) -> BPRTask:
    """User 0 likes items 0, 1 (twice) and 2; user 1 likes 3, 4 and rates 5 low; item 6 has no event."""
    value = np.array([5, 5, 5, 5, 5, 5, 1], np.float32)
    data = dataset([0, 0, 0, 0, 1, 1, 1], [0, 1, 2, 1, 3, 4, 5], value, n_items=7)
    torch.manual_seed(0)
    return BPRTask(data, IdTowers(2, 7, 8), batch_size, negatives, CPU)


def test_an_epoch_has_each_positive_as_often_as_the_log() -> None:
    task, generator = pairs(), torch.Generator().manual_seed(1)
    batches = list(task.batches(generator))
    assert [len(users) for users, _ in batches] == [4, 2]
    assert task.n_batches == 2
    seen = [pair for users, items in batches for pair in zip(users.tolist(), items.tolist(), strict=True)]
    assert sorted(seen) == [(0, 0), (0, 1), (0, 1), (0, 2), (1, 3), (1, 4)]
    assert [items.tolist() for _, items in task.batches(generator)] != [items.tolist() for _, items in batches]


def test_only_positives_of_other_users_are_negatives() -> None:
    task, generator = pairs(negatives=50), torch.Generator().manual_seed(1)
    users, items = torch.tensor([0]), torch.tensor([0])
    task.loss((users, items), generator).backward()
    assert isinstance(task.network, IdTowers)
    gradient = task.network.items.weight.grad
    assert gradient is not None
    assert gradient.abs().sum(dim=1).nonzero()[:, 0].tolist() == [0, 3, 4]


def test_the_loss_is_bpr_of_inner_products() -> None:
    task, generator = pairs(negatives=4), torch.Generator().manual_seed(1)
    assert isinstance(task.network, IdTowers)
    for table in (task.network.users, task.network.items):
        torch.nn.init.normal_(table.weight)
    query, items = task.network.query({"user": torch.tensor([0])}), task.network.item({"item": torch.arange(7)})
    score = (items @ query[0]).detach().tolist()
    drawn = torch.randint(5, (1, 4), generator=torch.Generator().manual_seed(1))[0].tolist()
    expected = [math.log1p(math.exp(score[item] - score[2])) for item in drawn if item in (3, 4)]
    assert 0 < len(expected) < 4
    loss = task.loss((torch.tensor([0]), torch.tensor([2])), generator)
    assert float(loss.detach()) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_without_positives_there_are_no_batches() -> None:
    task = BPRTask(dataset([], [], n_users=1, n_items=2), IdTowers(1, 2, 8), 4, 3, CPU)
    assert task.n_batches == 0
