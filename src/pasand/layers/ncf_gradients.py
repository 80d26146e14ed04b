"""Loss and gradients of neural collaborative filtering by hand, for users with several items each.

What a user's items share is computed once: the user's vectors, their product with the first layer, and the gradients of
both. Single passes in Numba stand for what would be several operations each. The result is that of automatic
differentiation of `ncf.NCF`, up to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pasand.types import Array

PART = 2048
"""Pairs that are computed at once, so that what lies between the layers stays in the processor's cache."""


class Vectors(NamedTuple):
    """What the network begins with, for B users with M items each; widths may be 0 where a path is not there."""

    user: Tensor
    """(B, D) of the product."""
    item: Tensor
    """(B M, D) of the product."""
    user_layers: Tensor
    """(B, U) of the layers."""
    item_layers: Tensor
    """(B M, I) of the layers."""


class _Rows(torch.autograd.Function):
    """Rows of a table; gradients of the same row are added in their order."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.shape = table.shape
        return table.index_select(0, codes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        into = gradient.new_zeros(ctx.shape)
        _add_rows(into.numpy(), codes.numpy(), gradient.numpy())
        return into, None


def rows(table: nn.Embedding, codes: Tensor) -> Tensor:
    """Return the vectors of codes, (n,) -> (n, D); on a CPU the gradient takes a fraction of the usual time."""
    by_hand = codes.device.type == "cpu" and not table.sparse
    found: Tensor = _Rows.apply(table.weight, codes) if by_hand else table(codes)
    return found


class _Loss(torch.autograd.Function):
    """The summed cross-entropy; gradients are computed together with it."""

    @staticmethod
    def forward(ctx: Any, label: Tensor, counts: Tensor, *given: Tensor) -> Tensor:
        vectors, (weight, bias), layers = Vectors(*given[:4]), given[4:6], given[6:]
        gradients = [torch.empty_like(one) for one in vectors] + [torch.zeros_like(one) for one in given[4:]]
        total, many = 0.0, label.shape[1]
        step = max(1, PART // many)
        for at in range(0, len(label), step):
            users, pairs = slice(at, at + step), slice(at * many, (at + step) * many)
            part = Vectors(*(one[pairs if n % 2 else users] for n, one in enumerate(vectors)))
            into = Vectors(*(one[pairs if n % 2 else users] for n, one in enumerate(gradients[:4])))
            total += _part(part, into, label[users], counts[users], (weight, bias), layers, gradients[4:])
        ctx.gradients = gradients
        return torch.tensor(total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if gradient != 1:
            torch._foreach_mul_(ctx.gradients, gradient)
        return None, None, *ctx.gradients


def cross_entropy(
    vectors: Vectors, label: Tensor, counts: Tensor, output: tuple[Tensor, Tensor], layers: list[Tensor]
) -> Tensor:
    """Return the sum of the cross-entropies of pairs, (B, M) labels, each as often as it counts, (B, M).

    `output`: the weights, (1, D + last width), and the bias, (1,), of the logit; `layers`: weights and biases of the
    ReLU layers, the first of which reads the user's vector and then the item's.
    """
    loss: Tensor = _Loss.apply(label, counts, *vectors, *output, *layers)
    return loss


def _part(
    vectors: Vectors,
    into: Vectors,
    label: Tensor,
    counts: Tensor,
    output: tuple[Tensor, Tensor],
    layers: tuple[Tensor, ...],
    sums: list[Tensor],
) -> float:
    """Return the loss of some users' pairs, write gradients of their vectors and add those of the weights to sums."""
    weight, bias = output
    wide, own = vectors.user.shape[1], vectors.user_layers.shape[1]
    outs = [vectors.item_layers]
    if layers:
        of_user = torch.addmm(layers[1], vectors.user_layers, layers[0][:, :own].t())
        outs.append(torch.mm(vectors.item_layers, layers[0][:, own:].t()))
        _add_users(outs[-1].numpy(), of_user.numpy())
    for n in range(2, len(layers), 2):
        outs.append(torch.addmm(layers[n + 1], outs[-1], layers[n].t()).relu_())
    ends = (vectors.user, vectors.item, outs[-1], weight[0, :wide], weight[0, wide:])
    arrays = [one.numpy() for one in ends]
    logits = torch.from_numpy(_logits(*arrays, bias.item())).view_as(label)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, label, counts, reduction="sum")
    slope = (torch.sigmoid(logits) - label) * counts
    behind = torch.empty_like(outs[-1])
    _slopes(*arrays, slope.numpy(), into.user.numpy(), into.item.numpy(), behind.numpy(), sums[0][0].numpy())
    sums[1].add_(slope.sum())
    for n in range(len(layers) - 2, 0, -2):
        _mask(behind.numpy(), outs[n // 2 + 1].numpy(), sums[2 + n + 1].numpy())
        sums[2 + n].addmm_(behind.t(), outs[n // 2])
        behind = torch.mm(behind, layers[n])
    if layers:
        users = torch.empty_like(of_user)
        _mask_users(behind.numpy(), outs[1].numpy(), users.numpy(), sums[3].numpy())
        sums[2][:, :own].addmm_(users.t(), vectors.user_layers)
        sums[2][:, own:].addmm_(behind.t(), vectors.item_layers)
        torch.mm(users, layers[0][:, :own], out=into.user_layers)
        torch.mm(behind, layers[0][:, own:], out=into.item_layers)
    return float(losses)


@njit(cache=True, nogil=True)
def _add_rows(table: Array, codes: Array, rows: Array) -> None:
    for n in range(len(codes)):
        for d in range(table.shape[1]):
            table[codes[n], d] += rows[n, d]


@njit(cache=True, nogil=True, fastmath=True)
def _add_users(pairs: Array, users: Array) -> None:
    """Add each user's row to those of their pairs, (B M, W) and (B, W), and set what is negative to 0."""
    many = len(pairs) // len(users)
    for b in range(len(users)):
        for n in range(b * many, (b + 1) * many):
            for w in range(pairs.shape[1]):
                pairs[n, w] = max(pairs[n, w] + users[b, w], np.float32(0))


@njit(cache=True, nogil=True, fastmath=True)
def _logits(user: Array, item: Array, last: Array, of_product: Array, of_last: Array, bias: float) -> Array:
    many = len(item) // len(user)
    logits = np.empty(len(item), np.float32)
    for n in range(len(item)):
        total = np.float32(bias)
        for d in range(user.shape[1]):
            total += of_product[d] * user[n // many, d] * item[n, d]
        for w in range(last.shape[1]):
            total += of_last[w] * last[n, w]
        logits[n] = total
    return logits


@njit(cache=True, nogil=True, fastmath=True)
def _slopes(
    user: Array,
    item: Array,
    last: Array,
    of_product: Array,
    of_last: Array,
    slope: Array,
    to_user: Array,
    to_item: Array,
    to_last: Array,
    to_output: Array,
) -> None:
    """Write the gradients of a logit's parts, and add those of its weights to the last."""
    wide, many = user.shape[1], slope.shape[1]
    added = np.zeros_like(to_output)
    for b in range(len(user)):
        to_user[b] = 0
        for m in range(many):
            n, by = b * many + m, slope[b, m]
            for d in range(wide):
                scaled = by * item[n, d]
                to_user[b, d] += scaled * of_product[d]
                to_item[n, d] = by * user[b, d] * of_product[d]
                added[d] += scaled * user[b, d]
            for w in range(last.shape[1]):
                added[wide + w] += by * last[n, w]
                to_last[n, w] = by * of_last[w]
    to_output += added


@njit(cache=True, nogil=True, fastmath=True)
def _mask(gradient: Array, out: Array, sums: Array) -> None:
    """Set a gradient, (n, W), to 0 where the layer's output is, and add its columns to their sums, (W,)."""
    for n in range(len(gradient)):
        for w in range(gradient.shape[1]):
            passed = gradient[n, w] if out[n, w] > 0 else np.float32(0)
            gradient[n, w] = passed
            sums[w] += passed


@njit(cache=True, nogil=True, fastmath=True)
def _mask_users(gradient: Array, out: Array, users: Array, sums: Array) -> None:
    """As `_mask`, and write the sum of each user's pairs, (B, W)."""
    many = len(gradient) // len(users)
    for b in range(len(users)):
        users[b] = 0
        for n in range(b * many, (b + 1) * many):
            for w in range(gradient.shape[1]):
                passed = gradient[n, w] if out[n, w] > 0 else np.float32(0)
                gradient[n, w] = passed
                users[b, w] += passed
        for w in range(gradient.shape[1]):
            sums[w] += users[b, w]
