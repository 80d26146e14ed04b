"""Softmax over an item and columns that a whole batch shares, computed in parts that stay in the cache.

It is `losses.sampled_softmax` for shared negatives with false ones told sparsely, several times as fast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CELLS = 2**17
"""Scores held at once on a CPU: half a megabyte."""


def shared_softmax(
    queries: Tensor, wanted: Tensor, columns: Tensor, bias: Tensor, without: tuple[Tensor, Tensor]
) -> Tensor:
    """Return the mean of -log softmax of the wanted item's inner product among itself and the columns, a scalar.

    Queries and wanted vectors (B, D), the columns' vectors (M, D). `bias`, (M,), is added to the columns' scores: the
    logarithm of how often each counts. `without`, two of (P,), rows rising, says which columns are left out of which
    rows. Products are taken in bfloat16 where autocast asks for it, all else in float32. That of no queries is 0.
    """
    kind = queries.device.type
    half = torch.is_autocast_enabled(kind)
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _SharedSoftmax.apply(queries.float(), wanted.float(), columns.float(), bias, *without, half)
    return loss


class _SharedSoftmax(torch.autograd.Function):
    """Computes the gradients along with the loss, while the scores of a part are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        wanted: Tensor,
        columns: Tensor,
        bias: Tensor,
        row: Tensor,
        column: Tensor,
        half: bool,
    ) -> Tensor:
        n = len(queries)
        part = max(1, CELLS // max(len(columns), 1)) if queries.device.type == "cpu" else max(n, 1)
        score = (queries * wanted).sum(-1, keepdim=True)
        by_query, by_column = torch.empty_like(queries), torch.zeros_like(columns)
        share, total = torch.empty_like(score), queries.new_zeros(())
        read, kept = (queries.bfloat16(), columns.bfloat16()) if half else (queries, columns)
        bounds = torch.searchsorted(row, torch.arange(0, n + part, part, device=row.device)).tolist()
        for i, begin in enumerate(range(0, n, part)):
            chosen, left = slice(begin, begin + part), slice(bounds[i], bounds[i + 1])
            scores = read[chosen] @ kept.T + bias if half else torch.addmm(bias, read[chosen], kept.T)
            scores[row[left] - begin, column[left]] = -torch.inf
            top = torch.maximum(scores.amax(-1, keepdim=True), score[chosen])
            scores.sub_(top).exp_()
            own = (score[chosen] - top).exp_()
            whole = scores.sum(-1, keepdim=True) + own
            total += (whole.log() + top - score[chosen]).sum()
            share[chosen] = own / whole - 1
            parts = scores.to(read.dtype)
            by_query[chosen] = (parts @ kept) / whole
            by_column += parts.T @ (queries[chosen] / whole).to(read.dtype)
        by_query.addcmul_(share, wanted)
        ctx.save_for_backward(by_query, share * queries, by_column)
        return total / max(n, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        by_query, by_wanted, by_column = ctx.saved_tensors
        scale = gradient / max(len(by_query), 1)
        return by_query * scale, by_wanted * scale, by_column * scale, None, None, None, None
