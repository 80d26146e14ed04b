"""The next-item and Cloze tasks on small logs: batches, drawn items, masks and losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pasand.data.dataset import Dataset
from pasand.layers.attention import ClozeTower, HistoryTower
from pasand.training.tasks.next_item import ClozeTask, NextItemTask
from tests.models.test_contract import dataset


def task(
    data: Dataset, batch_size: int = 4, history_length: int = 5, negatives: int = 3, horizon: int = 1
) -> NextItemTask:
    network = HistoryTower(data.n_items, 8, history_length, 1, 1, 0.0, True)
    known = torch.from_numpy(np.unique(data.item).astype(np.int64))
    return NextItemTask(
        data,
        network,
        batch_size=batch_size,
        history_length=history_length,
        negatives=negatives,
        horizon=horizon,
        horizon_decay=0.5,
        known=known,
        device=torch.device("cpu"),
    )


def histories(n_users: int = 30, n_items: int = 12) -> Dataset:
    """User u has 1 to 9 events."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(n_users), rng.integers(1, 10, n_users)).astype(np.int32)
    return dataset(user, rng.integers(0, n_items, len(user)).astype(np.int32), n_items=n_items)


def test_an_epoch_holds_the_latest_part_of_each_history_once() -> None:
    data = histories()
    made = task(data)
    found = []
    for items, count in made.batches(torch.Generator().manual_seed(0)):
        found += [tuple(row[:n].tolist()) for row, n in zip(items, count.tolist(), strict=True)]
    whole = [data.item[data.user == user].tolist() for user in range(data.n_users)]
    assert sorted(found) == sorted(tuple(items[-6:]) for items in whole if len(items) >= 2)


def test_histories_of_similar_length_share_a_batch() -> None:
    made = task(histories(200), batch_size=8)
    real = cells = 0
    for items, count in made.batches(torch.Generator().manual_seed(0)):
        real, cells = real + int(count.sum()), cells + items.numel()
    assert real / cells > 0.95


def test_batches_have_similar_numbers_of_positions() -> None:
    made = task(histories(200), batch_size=20)
    positions = [int((count - 1).sum()) for _, count in made.batches(torch.Generator().manual_seed(0))]
    assert len(positions) == made.n_batches
    assert sum(positions[:-1]) / (made.n_batches - 1) == pytest.approx(20, abs=1)
    assert max(positions) <= 20 + 4  # a history has at most five positions


def test_the_generator_decides_the_order() -> None:
    made = task(histories())

    def order(seed: int) -> list[list[int]]:
        return [items[0].tolist() for items, _ in made.batches(torch.Generator().manual_seed(seed))]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_the_loss_is_the_mean_over_all_positions_for_any_batches() -> None:
    """With every item drawn nothing is random, and batches of several lengths add up to single histories."""
    data = dataset([0, 0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 3, 4, 0, 1, 1, 2], n_items=5)
    generator = torch.Generator()
    together = task(data, batch_size=100, negatives=100)
    [(items, count)] = list(together.batches(generator))
    alone = [
        (int(n) - 1, together.loss((items[b : b + 1, :n], n[None]), generator).item())
        for b, n in enumerate(count)  # the positions of each history, and their loss
    ]
    expected = sum(n * loss for n, loss in alone) / sum(n for n, _ in alone)
    np.testing.assert_allclose(together.loss((items, count), generator).item(), expected, rtol=1e-5)


def test_items_after_the_next_one_count_half_as_much_as_the_one_before() -> None:
    """One history a, b, c: position 1 has the targets b and c, position 2 has c."""
    data = dataset([0, 0, 0], [3, 1, 2], n_items=5)
    made = task(data, negatives=100, horizon=2)
    [(items, count)] = list(made.batches(torch.Generator()))
    with torch.no_grad():
        table = made.network.items.weight
        states = made.network.states(table[items[:, :2]], torch.tensor([[1, 0]]))[0]
        first, second = (states @ table[1:4].T).exp()  # the known items 1, 2, 3
        expected = -(  # at the first position both targets are left out of each other's sum
            (first[0] / (first[0] + first[2])).log()
            + (first[1] / (first[1] + first[2])).log() / 2
            + (second[1] / second.sum()).log()
        ) / (1 + 0.5 + 1)
        np.testing.assert_allclose(made.loss((items, count), torch.Generator()).item(), expected, rtol=1e-5)


def test_drawn_items_are_known_and_different() -> None:
    data = dataset([0, 0, 1, 1], [1, 3, 5, 7], n_items=9)
    made = task(data, negatives=3)
    generator = torch.Generator().manual_seed(0)
    draws = [made._drawn(generator).tolist() for _ in range(200)]
    assert all(draw == sorted(set(draw)) and len(draw) <= 3 for draw in draws)
    assert set().union(*map(set, draws)) == {1, 3, 5, 7}
    assert task(data, negatives=4)._drawn(generator).tolist() == [1, 3, 5, 7]


def test_without_a_user_with_two_positives_there_is_no_batch() -> None:
    made = task(dataset([0, 1, 2], [0, 1, 0]))
    assert made.n_batches == 0
    assert list(made.batches(torch.Generator())) == []


class Recording(ClozeTower):
    """Records the masked positions."""

    recorded: torch.Tensor

    def masked_states(
        self, vectors: torch.Tensor, positions: torch.Tensor, masked: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        self.recorded = masked
        return super().masked_states(vectors, positions, masked, real)


@pytest.mark.parametrize(("share", "last"), [(0.4, 0.0), (0.4, 0.5), (0.01, 0.0)])
def test_every_history_has_a_mask_at_one_of_its_items(share: float, last: float) -> None:
    data = histories(400)
    network = Recording(data.n_items, 8, 9, 1, 1, 0.0, True)
    known = torch.arange(data.n_items)
    options = {"batch_size": 10_000, "history_length": 9, "negatives": 5, "known": known, "device": torch.device("cpu")}
    made = ClozeTask(data, network, mask_share=share, mask_last_share=last, **options)
    generator = torch.Generator().manual_seed(0)
    [(items, count)] = list(made.batches(generator))
    loss = made.loss((items, count), generator)
    assert torch.isfinite(loss)
    masked = network.recorded
    assert masked.any(dim=1).all()
    assert not masked[torch.arange(items.shape[1]) >= count[:, None]].any()
    ends = torch.arange(items.shape[1]) == count[:, None] - 1
    only_last = (masked == ends).all(dim=1).double().mean().item()
    alone = (1 - share) ** (count - 1.0)  # no other position by chance, and the last one in any case
    assert only_last == pytest.approx(last + (1 - last) * alone.mean().item(), abs=0.06)


def test_the_loss_of_a_masked_position_is_that_of_the_reference() -> None:
    """The last of two items is always masked; nothing is random, since all items are negatives."""
    data = dataset([0, 0], [2, 1], n_items=3)
    network = ClozeTower(3, 8, 4, 1, 1, 0.0, True)
    options = {
        "batch_size": 9,
        "history_length": 4,
        "negatives": 5,
        "known": torch.arange(3),
        "device": torch.device("cpu"),
    }
    made = ClozeTask(data, network, mask_share=0.5, mask_last_share=1.0, **options)
    [batch] = list(made.batches(torch.Generator()))
    with torch.no_grad():
        query = network.query({"history": torch.tensor([[3, 3, 3, 2]])})
        share = torch.softmax(query @ network.items.weight[:3].T, dim=1)
        assert made.loss(batch, torch.Generator()).item() == pytest.approx(-share[0, 1].log().item(), rel=1e-5)
