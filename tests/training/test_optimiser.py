"""Adam updates dense weights, and of large tables the rows that were read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pasand.training import optimiser
from pasand.training.optimiser import Optimiser

CPU = torch.device("cpu")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.line = nn.Embedding(10, 4), nn.Linear(4, 1)


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimiser, "LARGE", 40)


def steps(network: Network, batches: list[list[int]], l2: float = 0.0) -> Optimiser:
    """Do a step for each batch of rows, at a learning rate of 0.1; rows may repeat."""
    found = Optimiser(network, l2, CPU)
    for rows in batches:
        found.zero()
        network.line(network.table(torch.tensor(rows))).square().sum().backward()
        found.clip(1e9)
        found.step(0.1)
    return found


def test_small_networks_are_trained_by_adamw() -> None:
    ours, theirs = Network(), Network()
    steps(ours, [[1, 2, 2], [3, 1]], l2=0.3)
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.3)
    for rows in ([1, 2, 2], [3, 1]):
        adam.zero_grad()
        theirs.line(theirs.table(torch.tensor(rows))).square().sum().backward()
        adam.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_rows_of_a_large_table_are_updated_when_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, dense, before = Network(), Network(), Network().table.weight
    steps(dense, [[1, 2, 2]], l2=0.3)
    monkeypatch.setattr(optimiser, "LARGE", 40)
    steps(rows, [[1, 2, 2]], l2=0.3)
    assert rows.table.weight.grad is not None
    assert rows.table.weight.grad.is_sparse
    torch.testing.assert_close(rows.table.weight[1:3], dense.table.weight[1:3])
    torch.testing.assert_close(rows.line.weight, dense.line.weight)
    others = [0, *range(3, 10)]
    assert torch.equal(rows.table.weight[others], before[others])


@pytest.mark.usefixtures("small_is_large")
def test_a_table_that_is_also_read_without_look_up_is_updated_as_a_whole() -> None:
    network = Network()
    before = network.table.weight.detach().clone()
    found = Optimiser(network, 0.0, CPU)
    (network.table(torch.tensor([1])).sum() + network.table.weight.sum()).backward()
    found.clip(1e9)
    found.step(0.1)
    torch.testing.assert_close(network.table.weight.detach(), before - 0.1)
    found.release()
    assert not network.table.sparse
    assert network.table.weight.grad is None


@pytest.mark.usefixtures("small_is_large")
def test_clipping_includes_rows_and_dense_weights() -> None:
    network = Network()
    found = Optimiser(network, 0.0, CPU)
    (3 * network.table(torch.tensor([1, 1])).sum() + network.line.weight.sum()).backward()
    norm = found.clip(1.0)
    assert float(norm) == pytest.approx((4 * 36 + 4) ** 0.5)
    assert network.table.weight.grad is not None
    assert network.line.weight.grad is not None
    assert network.table.weight.grad.coalesce().values().tolist() == [pytest.approx([6 / float(norm)] * 4)]
    assert float(found.clip(1.0)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.usefixtures("small_is_large")
def test_its_state_is_restored() -> None:
    whole, parts = Network(), Network()
    steps(whole, [[1, 2], [2, 5], [1, 5]], l2=0.1)
    state = steps(parts, [[1, 2], [2, 5]], l2=0.1).state()
    found = Optimiser(parts, 0.1, CPU)
    found.load_state(state)
    found.zero()
    parts.line(parts.table(torch.tensor([1, 5]))).square().sum().backward()
    found.clip(1e9)
    found.step(0.1)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_network_without_gradients_does_not_change() -> None:
    network = Network()
    found = Optimiser(network, 0.1, CPU)
    assert float(found.clip(1.0)) == 0
    found.step(0.1)
    assert torch.equal(network.table.weight, Network().table.weight)
