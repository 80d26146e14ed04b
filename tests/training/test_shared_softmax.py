"""The softmax in parts against the plain one, to the gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pasand.training import losses, shared_softmax

B, M, D = 40, 30, 5


def made() -> tuple[list[Tensor], Tensor, Tensor]:
    """Vectors that learn, the columns' bias and which columns are false."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((B, D), (B, D), (M, D))
    vectors = [(2 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]
    false = torch.rand((B, M), generator=generator) < 0.3
    false[3] = True  # one with nothing to be told from
    false[4] = False
    return vectors, torch.randn(M, generator=generator), false


def plain(vectors: list[Tensor], bias: Tensor, false: Tensor) -> Tensor:
    queries, wanted, columns = vectors
    return losses.sampled_softmax((queries * wanted).sum(-1), queries @ columns.T, log_q=-bias, false=false)


def pairs(false: Tensor) -> tuple[Tensor, Tensor]:
    row, column = false.nonzero(as_tuple=True)
    return row, column


@pytest.mark.parametrize("cells", [1, 7 * M, 10_000])
def test_loss_and_gradients_are_those_of_the_plain_softmax(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_softmax, "CELLS", cells)
    vectors, bias, false = made()
    expected = plain(vectors, bias, false)
    wanted = torch.autograd.grad(expected * 3, vectors)
    found = shared_softmax.shared_softmax(vectors[0], vectors[1], vectors[2], bias, pairs(false))
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found * 3, vectors), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bfloat16_is_near() -> None:
    vectors, bias, false = made()
    expected = plain(vectors, bias, false)
    with torch.autocast("cpu", torch.bfloat16):
        found = shared_softmax.shared_softmax(vectors[0], vectors[1], vectors[2], bias, pairs(false))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=0)
    assert found.dtype == torch.float32


def test_large_scores_stay_finite() -> None:
    vectors, bias, false = made()
    far = [vector.detach() * 1e3 for vector in vectors]
    assert math.isfinite(shared_softmax.shared_softmax(far[0], far[1], far[2], bias, pairs(false)))


def test_no_queries_cost_nothing() -> None:
    nothing = torch.zeros((0, D))
    none = torch.zeros(0, dtype=torch.int64)
    assert float(shared_softmax.shared_softmax(nothing, nothing, torch.ones(M, D), torch.zeros(M), (none, none))) == 0
