"""The fused softmax losses equal the plain softmax, with its gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pasand.training import fused_softmax, losses

B, M, D = 40, 30, 5


def inputs() -> tuple[list[Tensor], Tensor, Tensor]:
    """Return trainable vectors, the bias of the negatives and the mask of false negatives."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((B, D), (B, D), (M, D))
    vectors = [(2 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]
    false_negatives = torch.rand((B, M), generator=generator) < 0.3
    false_negatives[3] = True  # a query without negatives
    false_negatives[4] = False
    return vectors, torch.randn(M, generator=generator), false_negatives


def plain(vectors: list[Tensor], bias: Tensor, false_negatives: Tensor) -> Tensor:
    queries, positives, negatives = vectors
    return losses.sampled_softmax(
        (queries * positives).sum(-1), queries @ negatives.T, log_q=-bias, false_negatives=false_negatives
    )


def pairs(false_negatives: Tensor) -> tuple[Tensor, Tensor]:
    row, column = false_negatives.nonzero(as_tuple=True)
    return row, column


@pytest.mark.parametrize("cells", [1, 7 * M, 10_000])
def test_loss_and_gradients_are_those_of_the_plain_softmax(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_softmax, "CELLS", cells)
    vectors, bias, false_negatives = inputs()
    expected = plain(vectors, bias, false_negatives)
    gradients = torch.autograd.grad(expected * 3, vectors)
    found = fused_softmax.single_positive_softmax(vectors[0], vectors[1], vectors[2], bias, pairs(false_negatives))
    torch.testing.assert_close(found, expected)
    for fused, plain_ in zip(torch.autograd.grad(found * 3, vectors), gradients, strict=True):
        torch.testing.assert_close(fused, plain_)


def test_bfloat16_is_near() -> None:
    vectors, bias, false_negatives = inputs()
    expected = plain(vectors, bias, false_negatives)
    with torch.autocast("cpu", torch.bfloat16):
        found = fused_softmax.single_positive_softmax(vectors[0], vectors[1], vectors[2], bias, pairs(false_negatives))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=0)
    assert found.dtype == torch.float32


def test_large_scores_stay_finite() -> None:
    vectors, bias, false_negatives = inputs()
    far = [vector.detach() * 1e3 for vector in vectors]
    assert math.isfinite(fused_softmax.single_positive_softmax(far[0], far[1], far[2], bias, pairs(false_negatives)))


def test_no_queries_cost_nothing() -> None:
    no_queries = torch.zeros((0, D))
    no_pairs = torch.zeros(0, dtype=torch.int64)
    no_loss = fused_softmax.single_positive_softmax(
        no_queries, no_queries, torch.ones(M, D), torch.zeros(M), (no_pairs, no_pairs)
    )
    assert float(no_loss) == 0


@pytest.mark.parametrize("cells", [1, 7 * 10, 2**17])
def test_several_positives_have_the_loss_and_gradients_of_the_plain_softmax(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_softmax, "CELLS", cells)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(30, 5, generator=generator, dtype=torch.float64) * 2
    target = torch.randint(30, (17, 3), generator=generator)  # some are drawn, some are not
    weight = torch.rand(17, 3, generator=generator, dtype=torch.float64)
    weight[3:8, 2] = 0
    drawn = torch.tensor([0, 3, 5, 8, 13, 20, 21])
    states = torch.randn(len(target), 5, generator=generator, dtype=torch.float64) * 2
    false_negatives = ((target[:, :, None] == drawn) & (weight > 0)[:, :, None]).any(dim=1)
    assert false_negatives.any()
    assert not false_negatives.all(dim=1).any()

    def loss_and_gradients(plain: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, vectors = states.clone().requires_grad_(), table.clone().requires_grad_()
        if plain:
            terms = [
                weight[t, k]
                * losses.sampled_softmax(
                    x[t : t + 1] @ vectors[target[t, k]],
                    x[t : t + 1] @ vectors[drawn].T,
                    false_negatives=false_negatives[t : t + 1],
                ).double()
                for t in range(17)
                for k in range(3)
            ]
            loss = torch.stack(terms).sum() / weight.sum()
        else:
            loss = fused_softmax.multi_positive_softmax(x, vectors[target], vectors[drawn], target, drawn, weight)
        (3 * loss).backward()
        assert x.grad is not None
        assert vectors.grad is not None
        return loss.detach(), x.grad, vectors.grad

    for fused, plain in zip(loss_and_gradients(False), loss_and_gradients(True), strict=True):
        torch.testing.assert_close(fused, plain, atol=1e-6, rtol=1e-5)


def test_a_positive_without_negatives_costs_nothing() -> None:
    state = torch.ones(1, 2, requires_grad=True)
    one = torch.tensor([4])
    loss = fused_softmax.multi_positive_softmax(
        state, torch.ones(1, 1, 2), torch.ones(1, 2), one[:, None], one, torch.ones(1, 1)
    )
    loss.backward()
    assert loss.item() == 0
    assert state.grad is not None
    assert state.grad.abs().max().item() == 0


def test_large_scores_of_several_positives_stay_finite() -> None:
    state = torch.full((1, 1), 1e4, requires_grad=True)
    zero, one = torch.tensor([[0]]), torch.tensor([1])
    loss = fused_softmax.multi_positive_softmax(
        state, torch.ones(1, 1, 1), torch.full((1, 1), 2.0), zero, one, torch.ones(1, 1)
    )
    assert loss.item() == 1e4


def test_several_positives_are_computed_in_full_precision_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    states, table = (torch.randn(6, 4, generator=generator).bfloat16().requires_grad_() for _ in range(2))
    target, drawn, weight = torch.tensor([[0], [5], [2], [0], [1], [4]]), torch.tensor([1, 3, 4]), torch.ones(6, 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = fused_softmax.multi_positive_softmax(states, table[target], table[drawn], target, drawn, weight)
    loss.backward()
    plain = fused_softmax.multi_positive_softmax(
        states.float(), table[target].float(), table[drawn].float(), target, drawn, weight
    )
    assert loss.dtype == torch.float32
    assert loss.item() == plain.item()
    assert states.grad is not None
    assert states.grad.isfinite().all()
