from __future__ import annotations

import pytest
import torch

from pasand.training import losses, softmax


@pytest.mark.parametrize("cells", [1, 7 * 10, 2**17])
def test_loss_and_gradients_are_those_of_the_plain_formula(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "CELLS", cells)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(30, 5, generator=generator, dtype=torch.float64) * 2
    target = torch.tensor([3, 3, 29, 0, 12, 13, 14, 29, 8, 5, 6, 7, 3, 1, 2, 4, 11])  # some are drawn, some are not
    drawn = torch.tensor([0, 3, 5, 8, 13, 20, 21])
    states = torch.randn(len(target), 5, generator=generator, dtype=torch.float64) * 2

    def made(plain: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, vectors = states.clone().requires_grad_(), table.clone().requires_grad_()
        if plain:
            false = losses.duplicates(target, drawn)
            loss = losses.sampled_softmax((x * vectors[target]).sum(-1), x @ vectors[drawn].T, false=false).double()
        else:
            loss = softmax.softmax_loss(x, vectors[target], vectors[drawn], target, drawn)
        (3 * loss).backward()
        assert x.grad is not None
        assert vectors.grad is not None
        return loss.detach(), x.grad, vectors.grad

    for ours, plain in zip(made(False), made(True), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)


def test_the_wanted_item_alone_costs_nothing() -> None:
    state = torch.ones(1, 2, requires_grad=True)
    one = torch.tensor([4])
    loss = softmax.softmax_loss(state, torch.ones(1, 2), torch.ones(1, 2), one, one)
    loss.backward()
    assert loss.item() == 0
    assert state.grad is not None
    assert state.grad.abs().max().item() == 0


def test_large_scores_stay_finite() -> None:
    state = torch.full((1, 1), 1e4, requires_grad=True)
    loss = softmax.softmax_loss(state, torch.ones(1, 1), torch.full((1, 1), 2.0), torch.tensor([0]), torch.tensor([1]))
    assert loss.item() == 1e4
