"""Losses of a positive's logit against the logits of other items; pure functions of tensors.

Shapes: B examples, n negatives of each, N items. A mask `false` marks false negatives, such as items that the user also
likes or the positive drawn again: they count as if they had not been drawn. Logits may be bfloat16; losses are
computed in float32. Temperature is the caller's: divide the logits. Every loss is a scalar, the mean over the
examples; that of no examples is 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(positive: Tensor, negatives: Tensor, *, false: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of all pairs, positives labelled 1 and negatives 0; (B,), (B, n).

    Each pair weighs the same (He et al., NCF, WWW 2017, equation 7), so n negatives weigh n times a positive.
    """
    liked, drawn = functional.softplus(-positive.float()), functional.softplus(negatives.float())
    if false is None:
        return (liked.sum() + drawn.sum()) / max(liked.numel() + drawn.numel(), 1)
    total = liked.sum() + drawn.masked_fill(false, 0).sum()
    return total / (liked.numel() + (~false).sum()).clamp(min=1)


def bpr(positive: Tensor, negatives: Tensor, *, false: Tensor | None = None) -> Tensor:
    """Return the mean of -log sigmoid(positive - negative) over all pairs that are left; (B,), (B, n).

    Rendle et al., BPR, UAI 2009, without the regularisation, which is the optimiser's.
    """
    losses = functional.softplus(negatives.float() - positive.float()[:, None])
    if false is None:
        return losses.sum() / max(losses.numel(), 1)
    return losses.masked_fill(false, 0).sum() / (~false).sum().clamp(min=1)


def sampled_softmax(
    positive: Tensor,
    negatives: Tensor,
    *,
    log_q: Tensor | None = None,
    positive_log_q: Tensor | None = None,
    false: Tensor | None = None,
) -> Tensor:
    """Return the mean of -log softmax of the positive among itself and its negatives; (B,), (B, n).

    `log_q`, (B, n) or (n,), and `positive_log_q`, (B,), are the log-probabilities with which items are drawn; given,
    they are subtracted from the logits (Bengio and Senecal, 2008; Yi et al., RecSys 2019, equation 3), which makes the
    true softmax the optimum as long as draws of the positive itself are left in: here they are not false. Without
    probabilities the draws have to be uniform, or popular items come out too low.
    """
    first, others = positive.float(), negatives.float()
    if positive_log_q is not None:
        first = first - positive_log_q
    if log_q is not None:
        others = others - log_q
    if false is not None:
        others = others.masked_fill(false, -math.inf)
    return _mean(torch.logaddexp(first, _total(others)) - first)


def refined_softmax(positive: Tensor, negatives: Tensor, log_q: Tensor, *, false: Tensor | None = None) -> Tensor:
    """Return the sampled softmax whose positive is not corrected, since it is not drawn; (B,), (B, n), (B, n) or (n,).

    `log_q` must be of one draw and add up to 1 over the catalogue: the mean of exp(logit) / q over the draws estimates
    what all items but the positive add to the softmax. Draws of the positive must be marked in `false`; they still
    count as draws. Khrylchenko et al., RecSys 2025 (arXiv 2507.09331) write the loss with a weight,
    (1 - p(positive)) (log of that mean - logit of the positive), and no gradient through the weight; the form here has
    the same gradient.
    """
    first = positive.float()
    others = negatives.float() - log_q - math.log(max(negatives.shape[-1], 1))
    if false is not None:
        others = others.masked_fill(false, -math.inf)
    return _mean(torch.logaddexp(first, _total(others)) - first)


def in_batch_softmax(
    logits: Tensor, *, log_q: Tensor | None = None, false: Tensor | None = None, refined: bool = False
) -> Tensor:
    """Return the softmax loss of each example's item among the batch's items, and more where given; (B, M), M >= B.

    The item of example b is column b; columns from B on are negatives for all. `log_q`, (M,), is the log-probability
    of each column's item in a batch: given, it is subtracted from the logits, from the positive's too unless `refined`.
    `false`, (B, M), must mark the columns with the example's own item (`duplicates`) if `refined`, and should not
    otherwise: see `refined_softmax` and `sampled_softmax`. What it says of column b in row b is ignored.
    """
    size = len(logits)
    own = torch.eye(size, logits.shape[1], dtype=torch.bool, device=logits.device)
    positive = logits.diagonal()
    false = own if false is None else false | own
    if log_q is None:
        return sampled_softmax(positive, logits, false=false)
    if refined:
        shift = math.log(logits.shape[1] / max(logits.shape[1] - 1, 1))  # column b is no draw of row b
        return refined_softmax(positive, logits, log_q - shift, false=false)
    return sampled_softmax(positive, logits, log_q=log_q, positive_log_q=log_q[:size], false=false)


def full_softmax(logits: Tensor, target: Tensor, *, false: Tensor | None = None) -> Tensor:
    """Return the mean of -log softmax of the target over the whole catalogue; (B, N), (B,) rows.

    `false`, (B, N), takes other liked items out of the denominator; at the target it is ignored.
    """
    logits = logits.float()
    positive = logits.gather(1, target[:, None])[:, 0]
    if false is not None:
        logits = logits.masked_fill(false.scatter(1, target[:, None], False), -math.inf)
    return _mean(_total(logits) - positive)


def duplicates(items: Tensor, columns: Tensor) -> Tensor:
    """Return where a column holds an example's own item, (B,), (M,) or (B, n) -> (B, M) or (B, n)."""
    return items[:, None] == columns


def _total(logits: Tensor) -> Tensor:
    """Return log of the sum of exp over the last axis; -inf, with no gradient, where there is nothing to add."""
    if not logits.shape[-1]:
        return logits.new_full(logits.shape[:-1], -math.inf)
    return torch.logsumexp(logits, dim=-1)


def _mean(losses: Tensor) -> Tensor:
    return losses.sum() / max(losses.numel(), 1)
