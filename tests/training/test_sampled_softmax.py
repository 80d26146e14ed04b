from __future__ import annotations

import pytest
import torch

from pasand.training import losses, sampled_softmax


@pytest.mark.parametrize("cells", [1, 7 * 10, 2**17])
def test_loss_and_gradients_are_those_of_the_plain_formula(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_softmax, "CELLS", cells)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(30, 5, generator=generator, dtype=torch.float64) * 2
    target = torch.randint(30, (17, 3), generator=generator)  # some are drawn, some are not
    weight = torch.rand(17, 3, generator=generator, dtype=torch.float64)
    weight[3:8, 2] = 0
    drawn = torch.tensor([0, 3, 5, 8, 13, 20, 21])
    states = torch.randn(len(target), 5, generator=generator, dtype=torch.float64) * 2
    false = ((target[:, :, None] == drawn) & (weight > 0)[:, :, None]).any(dim=1)
    assert false.any()
    assert not false.all(dim=1).any()

    def made(plain: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, vectors = states.clone().requires_grad_(), table.clone().requires_grad_()
        if plain:
            terms = [
                weight[t, k]
                * losses.sampled_softmax(
                    x[t : t + 1] @ vectors[target[t, k]], x[t : t + 1] @ vectors[drawn].T, false=false[t : t + 1]
                ).double()
                for t in range(17)
                for k in range(3)
            ]
            loss = torch.stack(terms).sum() / weight.sum()
        else:
            loss = sampled_softmax.softmax_loss(x, vectors[target], vectors[drawn], target, drawn, weight)
        (3 * loss).backward()
        assert x.grad is not None
        assert vectors.grad is not None
        return loss.detach(), x.grad, vectors.grad

    for ours, plain in zip(made(False), made(True), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)


def test_the_wanted_item_alone_costs_nothing() -> None:
    state = torch.ones(1, 2, requires_grad=True)
    one = torch.tensor([4])
    loss = sampled_softmax.softmax_loss(
        state, torch.ones(1, 1, 2), torch.ones(1, 2), one[:, None], one, torch.ones(1, 1)
    )
    loss.backward()
    assert loss.item() == 0
    assert state.grad is not None
    assert state.grad.abs().max().item() == 0


def test_large_scores_stay_finite() -> None:
    state = torch.full((1, 1), 1e4, requires_grad=True)
    zero, one = torch.tensor([[0]]), torch.tensor([1])
    loss = sampled_softmax.softmax_loss(
        state, torch.ones(1, 1, 1), torch.full((1, 1), 2.0), zero, one, torch.ones(1, 1)
    )
    assert loss.item() == 1e4


def test_under_autocast_it_is_computed_in_full_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    states, table = (torch.randn(6, 4, generator=generator).bfloat16().requires_grad_() for _ in range(2))
    target, drawn, weight = torch.tensor([[0], [5], [2], [0], [1], [4]]), torch.tensor([1, 3, 4]), torch.ones(6, 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = sampled_softmax.softmax_loss(states, table[target], table[drawn], target, drawn, weight)
    loss.backward()
    plain = sampled_softmax.softmax_loss(
        states.float(), table[target].float(), table[drawn].float(), target, drawn, weight
    )
    assert loss.dtype == torch.float32
    assert loss.item() == plain.item()
    assert states.grad is not None
    assert states.grad.isfinite().all()
