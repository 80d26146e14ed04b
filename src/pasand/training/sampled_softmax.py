"""Softmax over wanted items and items drawn for the whole batch, computed in parts that stay in the cache.

It is `losses.sampled_softmax` for negatives that all examples share, several times as fast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CELLS = 2**17
"""Scores held at once on a CPU: half a megabyte."""


def softmax_loss(
    states: Tensor, wanted: Tensor, others: Tensor, target: Tensor, drawn: Tensor, weight: Tensor
) -> Tensor:
    """Return the weighted mean of -log softmax of each wanted item's inner product among itself and the drawn ones.

    States (T, D); vectors of K wanted items each (T, K, D), the items (T, K) and their weights (T, K), not all 0;
    vectors of drawn items (M, D) and the items (M,), different and rising. A drawn item that a state wants, with a
    weight above 0, is left out there. All is computed in the precision of the weights, under autocast too.
    """
    at = torch.searchsorted(drawn, target).clamp(max=len(drawn) - 1)
    row, which = ((drawn[at] == target) & (weight > 0)).nonzero(as_tuple=True)
    with torch.autocast(states.device.type, enabled=False):
        vectors = (values.to(weight.dtype) for values in (states, wanted, others))
        loss: Tensor = _SoftmaxLoss.apply(*vectors, weight / weight.sum(), row, at[row, which])
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    """Computes the gradients along with the loss, while the scores of a part are at hand."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, wanted: Tensor, others: Tensor, weight: Tensor, row: Tensor, column: Tensor
    ) -> Tensor:
        n = len(states)
        part = max(1, CELLS // max(len(others), 1)) if states.device.type == "cpu" else max(n, 1)
        score = (wanted @ states[:, :, None])[:, :, 0]
        by_state, by_other = torch.empty_like(states), torch.zeros_like(others)
        share, total = torch.empty_like(score), states.new_zeros(())
        bounds = torch.searchsorted(row, torch.arange(0, n + part, part, device=row.device)).tolist()
        for i, begin in enumerate(range(0, n, part)):
            chosen = slice(begin, begin + part)
            clash = slice(bounds[i], bounds[i + 1])
            scores = states[chosen] @ others.T
            scores[row[clash] - begin, column[clash]] = -torch.inf
            top = torch.maximum(scores.amax(-1), score[chosen].amax(-1))[:, None]
            scores.sub_(top).exp_()
            own = (score[chosen] - top).exp_()
            whole = scores.sum(-1, keepdim=True) + own  # one for each wanted item
            total += (weight[chosen] * (whole.log() + top - score[chosen])).sum()
            share[chosen] = weight[chosen] * (own / whole - 1)
            scores.mul_((weight[chosen] / whole).sum(-1, keepdim=True))
            torch.mm(scores, others, out=by_state[chosen])
            by_other.addmm_(scores.T, states[chosen])
        by_state += (share[:, None] @ wanted)[:, 0]
        ctx.save_for_backward(by_state, share, states, by_other)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        by_state, share, states, by_other = ctx.saved_tensors
        by_wanted = (share * gradient)[:, :, None] * states[:, None]
        return by_state * gradient, by_wanted, by_other * gradient, None, None, None
