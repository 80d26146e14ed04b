"""Softmax over one wanted item and items drawn for the whole batch, computed in parts that stay in the cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CELLS = 2**17
"""Scores held at once on a CPU: half a megabyte."""


def softmax_loss(states: Tensor, wanted: Tensor, others: Tensor, target: Tensor, drawn: Tensor) -> Tensor:
    """Return the mean of -log softmax of the wanted item's inner product among itself and the drawn ones, a scalar.

    States and wanted vectors (T, D), their items (T,); drawn vectors (M, D), their items (M,), different and rising.
    A drawn item that is the wanted one is left out.
    """
    at = torch.searchsorted(drawn, target).clamp(max=len(drawn) - 1)
    clash = (drawn[at] == target).nonzero().squeeze(1)
    loss: Tensor = _SoftmaxLoss.apply(states, wanted, others, clash, at[clash])
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    """Computes the gradients along with the loss, while the scores of a part are at hand."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, wanted: Tensor, others: Tensor, row: Tensor, column: Tensor) -> Tensor:
        n = len(states)
        part = max(1, CELLS // max(len(others), 1)) if states.device.type == "cpu" else n
        score = (states * wanted).sum(-1)
        by_state, by_other = torch.empty_like(states), torch.zeros_like(others)
        share, total = torch.empty_like(score), states.new_zeros(())
        bounds = torch.searchsorted(row, torch.arange(0, n + part, part, device=row.device)).tolist()
        for i, begin in enumerate(range(0, n, part)):
            chosen = slice(begin, begin + part)
            clash = slice(bounds[i], bounds[i + 1])
            scores = states[chosen] @ others.T
            scores[row[clash] - begin, column[clash]] = -torch.inf
            top = torch.maximum(scores.amax(-1), score[chosen])
            scores.sub_(top[:, None]).exp_()
            own = (score[chosen] - top).exp_()
            whole = scores.sum(-1).add_(own)
            total += (whole.log() + top - score[chosen]).sum()
            scores.div_(whole[:, None])
            share[chosen] = own / whole - 1
            torch.mm(scores, others, out=by_state[chosen])
            by_other.addmm_(scores.T, states[chosen])
        by_state.addcmul_(share[:, None], wanted)
        ctx.save_for_backward(by_state, share, states, by_other)
        return total / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        by_state, share, states, by_other = ctx.saved_tensors
        scale = gradient / len(states)
        return by_state * scale, states * (share * scale)[:, None], by_other * scale, None, None
