"""Hand-written loss and gradients of neural collaborative filtering, for users with several items each.

What a user's items share is computed once: the user's vectors, their product with the first layer, and the gradients of
both. Single passes in Numba replace several torch operations each. The result is that of automatic differentiation of
`ncf.NCF`, up to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pasand.types import Array

CHUNK = 2048
"""Pairs that are computed at once, so that the layers' activations stay in the processor's cache."""


class Vectors(NamedTuple):
    """The embedded inputs of both paths, for B users with M items each; the width of a missing path is 0."""

    user: Tensor
    """(B, D) of the product path."""
    item: Tensor
    """(B M, D) of the product path."""
    user_layers: Tensor
    """(B, U) of the dense path."""
    item_layers: Tensor
    """(B M, I) of the dense path."""


class _Rows(torch.autograd.Function):
    """Looks up rows of a table; gradients of the same row are added in their order."""

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
    """Return the vectors of codes, (n,) -> (n, D); on a CPU the gradient takes a fraction of torch's time."""
    manual = codes.device.type == "cpu" and not table.sparse
    vectors: Tensor = _Rows.apply(table.weight, codes) if manual else table(codes)
    return vectors


class _Loss(torch.autograd.Function):
    """The summed cross-entropy; the gradients are computed together with it."""

    @staticmethod
    def forward(ctx: Any, label: Tensor, counts: Tensor, *inputs: Tensor) -> Tensor:
        vectors, (weight, bias), layers = Vectors(*inputs[:4]), inputs[4:6], inputs[6:]
        gradients = [torch.empty_like(x) for x in vectors] + [torch.zeros_like(x) for x in inputs[4:]]
        total, n_items = 0.0, label.shape[1]
        step = max(1, CHUNK // n_items)
        for at in range(0, len(label), step):
            users, pairs = slice(at, at + step), slice(at * n_items, (at + step) * n_items)
            chunk = Vectors(*(x[pairs if n % 2 else users] for n, x in enumerate(vectors)))
            into = Vectors(*(x[pairs if n % 2 else users] for n, x in enumerate(gradients[:4])))
            total += _chunk_loss(chunk, into, label[users], counts[users], (weight, bias), layers, gradients[4:])
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
    """Return the summed cross-entropy of pairs with labels (B, M), weighted by their counts, (B, M).

    `output`: the weights, (1, D + last width), and the bias, (1,), of the logit. `layers`: weights and biases of the
    ReLU layers, the first of which reads the user's vector and then the item's.
    """
    loss: Tensor = _Loss.apply(label, counts, *vectors, *output, *layers)
    return loss


def _chunk_loss(
    vectors: Vectors,
    into: Vectors,
    label: Tensor,
    counts: Tensor,
    output: tuple[Tensor, Tensor],
    layers: tuple[Tensor, ...],
    sums: list[Tensor],
) -> float:
    """Return the loss of some users' pairs, write the gradients of their vectors, add those of the weights to sums."""
    weight, bias = output
    product_width, user_width = vectors.user.shape[1], vectors.user_layers.shape[1]
    outs = [vectors.item_layers]
    if layers:
        of_user = torch.addmm(layers[1], vectors.user_layers, layers[0][:, :user_width].t())
        outs.append(torch.mm(vectors.item_layers, layers[0][:, user_width:].t()))
        _add_users(outs[-1].numpy(), of_user.numpy())
    for n in range(2, len(layers), 2):
        outs.append(torch.addmm(layers[n + 1], outs[-1], layers[n].t()).relu_())
    ends = (vectors.user, vectors.item, outs[-1], weight[0, :product_width], weight[0, product_width:])
    arrays = [tensor.numpy() for tensor in ends]
    logits = torch.from_numpy(_logits(*arrays, bias.item())).view_as(label)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, label, counts, reduction="sum")
    of_logit = (torch.sigmoid(logits) - label) * counts
    gradient = torch.empty_like(outs[-1])
    arrays += [tensor.numpy() for tensor in (of_logit, into.user, into.item, gradient, sums[0][0])]
    _logit_gradients(*arrays)
    sums[1].add_(of_logit.sum())
    for n in range(len(layers) - 2, 0, -2):
        _through_relu(gradient.numpy(), outs[n // 2 + 1].numpy(), sums[2 + n + 1].numpy())
        sums[2 + n].addmm_(gradient.t(), outs[n // 2])
        gradient = torch.mm(gradient, layers[n])
    if layers:
        users = torch.empty_like(of_user)
        _users_through_relu(gradient.numpy(), outs[1].numpy(), users.numpy(), sums[3].numpy())
        sums[2][:, :user_width].addmm_(users.t(), vectors.user_layers)
        sums[2][:, user_width:].addmm_(gradient.t(), vectors.item_layers)
        torch.mm(users, layers[0][:, :user_width], out=into.user_layers)
        torch.mm(gradient, layers[0][:, user_width:], out=into.item_layers)
    return float(losses)


@njit(cache=True, nogil=True)
def _add_rows(table: Array, codes: Array, rows: Array) -> None:
    for n in range(len(codes)):
        for d in range(table.shape[1]):
            table[codes[n], d] += rows[n, d]


@njit(cache=True, nogil=True, fastmath=True)
def _add_users(pairs: Array, users: Array) -> None:
    """Add each user's row, (B, W), to the rows of their pairs, (B M, W), and apply ReLU, in place."""
    n_items = len(pairs) // len(users)
    for b in range(len(users)):
        for n in range(b * n_items, (b + 1) * n_items):
            for w in range(pairs.shape[1]):
                pairs[n, w] = max(pairs[n, w] + users[b, w], np.float32(0))


@njit(cache=True, nogil=True, fastmath=True)
def _logits(user: Array, item: Array, last: Array, of_product: Array, of_last: Array, bias: float) -> Array:
    """Return the logits of pairs, (B M,), from the vectors of both paths and the output layer's weights."""
    n_items = len(item) // len(user)
    logits = np.empty(len(item), np.float32)
    for n in range(len(item)):
        total = np.float32(bias)
        for d in range(user.shape[1]):
            total += of_product[d] * user[n // n_items, d] * item[n, d]
        for w in range(last.shape[1]):
            total += of_last[w] * last[n, w]
        logits[n] = total
    return logits


@njit(cache=True, nogil=True, fastmath=True)
def _logit_gradients(
    user: Array,
    item: Array,
    last: Array,
    of_product: Array,
    of_last: Array,
    of_logit: Array,
    to_user: Array,
    to_item: Array,
    to_last: Array,
    to_output: Array,
) -> None:
    """Write the gradients of the logits' inputs, and add those of the output layer's weights to `to_output`."""
    width, n_items = user.shape[1], of_logit.shape[1]
    added = np.zeros_like(to_output)
    for b in range(len(user)):
        to_user[b] = 0
        for m in range(n_items):
            n, by = b * n_items + m, of_logit[b, m]
            for d in range(width):
                scaled = by * item[n, d]
                to_user[b, d] += scaled * of_product[d]
                to_item[n, d] = by * user[b, d] * of_product[d]
                added[d] += scaled * user[b, d]
            for w in range(last.shape[1]):
                added[width + w] += by * last[n, w]
                to_last[n, w] = by * of_last[w]
    to_output += added


@njit(cache=True, nogil=True, fastmath=True)
def _through_relu(gradient: Array, out: Array, sums: Array) -> None:
    """Set a gradient, (n, W), to 0 where the layer's output is 0, in place, and add its column sums to `sums`, (W,)."""
    for n in range(len(gradient)):
        for w in range(gradient.shape[1]):
            passed = gradient[n, w] if out[n, w] > 0 else np.float32(0)
            gradient[n, w] = passed
            sums[w] += passed


@njit(cache=True, nogil=True, fastmath=True)
def _users_through_relu(gradient: Array, out: Array, users: Array, sums: Array) -> None:
    """Do as `_through_relu`, and write the sum over each user's pairs to `users`, (B, W)."""
    n_items = len(gradient) // len(users)
    for b in range(len(users)):
        users[b] = 0
        for n in range(b * n_items, (b + 1) * n_items):
            for w in range(gradient.shape[1]):
                passed = gradient[n, w] if out[n, w] > 0 else np.float32(0)
                gradient[n, w] = passed
                users[b, w] += passed
        for w in range(gradient.shape[1]):
            sums[w] += users[b, w]
