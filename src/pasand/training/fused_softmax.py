"""Softmax losses against negatives that a whole batch shares, with hand-written gradients, several times as fast.

Both equal `losses.sampled_softmax` with shared negatives, but compute the loss and its gradients together, in chunks
whose scores stay in the cache. `single_positive_softmax` (retrieval tasks) has one positive per query, a bias per
negative for the log-Q correction, and products in bfloat16 under autocast. `multi_positive_softmax` (next-item tasks)
has several weighted positives per state, each against the negatives alone, and always computes in full precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CELLS = 2**17
"""Scores held at once on a CPU: half a megabyte."""


def single_positive_softmax(
    queries: Tensor, positives: Tensor, negatives: Tensor, bias: Tensor, excluded: tuple[Tensor, Tensor]
) -> Tensor:
    """Return the mean of -log softmax of the positive's inner product among itself and the negatives, a scalar.

    Queries and positives are vectors (B, D), negatives (M, D). `bias`, (M,), is added to the negatives' scores: the
    logarithm of how often each counts. `excluded`, two of (P,), rows rising, are the rows and columns of false
    negatives. Products are computed in bfloat16 under such autocast, all else in float32. The loss of no queries is 0.
    """
    kind = queries.device.type
    half = torch.is_autocast_enabled(kind)
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _SinglePositive.apply(
            queries.float(), positives.float(), negatives.float(), bias, *excluded, half
        )
    return loss


def multi_positive_softmax(
    states: Tensor, positives: Tensor, negatives: Tensor, target: Tensor, drawn: Tensor, weight: Tensor
) -> Tensor:
    """Return the weighted mean of -log softmax of each positive's inner product among itself and the negatives.

    Vectors of states (T, D), of K positives each (T, K, D) and of negatives (M, D); the items of the positives,
    `target` (T, K), with weights (T, K), and of the negatives, `drawn` (M,), different and rising. A negative that is a
    positive of the state, with a weight above 0, is left out there. The loss is 0 where all weights are. Everything is
    computed in the precision of the weights, under autocast too.
    """
    at = torch.searchsorted(drawn, target).clamp(max=len(drawn) - 1)
    row, which = ((drawn[at] == target) & (weight > 0)).nonzero(as_tuple=True)
    with torch.autocast(states.device.type, enabled=False):
        vectors = (values.to(weight.dtype) for values in (states, positives, negatives))
        total = weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        loss: Tensor = _MultiPositive.apply(*vectors, weight / total, row, at[row, which])
    return loss


class _SinglePositive(torch.autograd.Function):
    """Computes the gradients along with the loss, while the scores of a chunk are in the cache."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        positives: Tensor,
        negatives: Tensor,
        bias: Tensor,
        row: Tensor,
        column: Tensor,
        half: bool,
    ) -> Tensor:
        score = (queries * positives).sum(-1, keepdim=True)
        by_query, by_negative = torch.empty_like(queries), torch.zeros_like(negatives)
        share, total = torch.empty_like(score), queries.new_zeros(())
        left, right = (queries.bfloat16(), negatives.bfloat16()) if half else (queries, negatives)
        for chunk, excluded in _chunks(queries, negatives, row):
            scores = left[chunk] @ right.T + bias if half else torch.addmm(bias, left[chunk], right.T)
            scores[row[excluded] - chunk.start, column[excluded]] = -torch.inf
            top = torch.maximum(scores.amax(-1, keepdim=True), score[chunk])
            scores.sub_(top).exp_()
            own = (score[chunk] - top).exp_()
            denominator = scores.sum(-1, keepdim=True) + own
            total += (denominator.log() + top - score[chunk]).sum()
            share[chunk] = own / denominator - 1
            shares = scores.to(left.dtype)
            by_query[chunk] = (shares @ right) / denominator
            by_negative += shares.T @ (queries[chunk] / denominator).to(left.dtype)
        by_query.addcmul_(share, positives)
        ctx.save_for_backward(by_query, share * queries, by_negative)
        return total / max(len(queries), 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        by_query, by_positive, by_negative = ctx.saved_tensors
        scale = gradient / max(len(by_query), 1)
        return by_query * scale, by_positive * scale, by_negative * scale, None, None, None, None


class _MultiPositive(torch.autograd.Function):
    """Computes the gradients along with the loss, while the scores of a chunk are in the cache."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, positives: Tensor, negatives: Tensor, weight: Tensor, row: Tensor, column: Tensor
    ) -> Tensor:
        score = (positives @ states[:, :, None])[:, :, 0]
        by_state, by_negative = torch.empty_like(states), torch.zeros_like(negatives)
        share, total = torch.empty_like(score), states.new_zeros(())
        for chunk, excluded in _chunks(states, negatives, row):
            scores = states[chunk] @ negatives.T
            scores[row[excluded] - chunk.start, column[excluded]] = -torch.inf
            top = torch.maximum(scores.amax(-1), score[chunk].amax(-1))[:, None]
            scores.sub_(top).exp_()
            own = (score[chunk] - top).exp_()
            denominator = scores.sum(-1, keepdim=True) + own  # one for each positive
            total += (weight[chunk] * (denominator.log() + top - score[chunk])).sum()
            share[chunk] = weight[chunk] * (own / denominator - 1)
            scores.mul_((weight[chunk] / denominator).sum(-1, keepdim=True))
            torch.mm(scores, negatives, out=by_state[chunk])
            by_negative.addmm_(scores.T, states[chunk])
        by_state += (share[:, None] @ positives)[:, 0]
        ctx.save_for_backward(by_state, share, states, by_negative)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        by_state, share, states, by_negative = ctx.saved_tensors
        by_positive = (share * gradient)[:, :, None] * states[:, None]
        return by_state * gradient, by_positive, by_negative * gradient, None, None, None


def _chunks(rows: Tensor, negatives: Tensor, row: Tensor) -> list[tuple[slice, slice]]:
    """Return the chunks of rows, (B, ...), each with its slice of `row`, which rises; a single chunk on a GPU."""
    n = len(rows)
    size = max(1, CELLS // max(len(negatives), 1)) if rows.device.type == "cpu" else max(n, 1)
    bounds = torch.searchsorted(row, torch.arange(0, n + size, size, device=row.device)).tolist()
    return [(slice(begin, begin + size), slice(*bounds[i : i + 2])) for i, begin in enumerate(range(0, n, size))]
