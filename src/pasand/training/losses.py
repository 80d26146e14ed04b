"""Losses of a positive's logit against the logits of negatives; pure functions of tensors.

Shapes: B examples, n negatives of each, N items. The mask `false_negatives` marks negatives that are other positives of
the user, or the positive drawn again: they count as if they had not been drawn. Logits may be bfloat16; losses are
computed in float32. The caller divides the logits by the temperature. Every loss is a scalar, the mean over the
examples; that of no examples is 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(positive: Tensor, negatives: Tensor, *, false_negatives: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of all pairs, positives labelled 1 and negatives 0; (B,), (B, n).

    Each pair weighs the same (He et al., NCF, WWW 2017, equation 7), so n negatives weigh n times a positive.
    """
    of_positives, of_negatives = functional.softplus(-positive.float()), functional.softplus(negatives.float())
    if false_negatives is None:
        return (of_positives.sum() + of_negatives.sum()) / max(of_positives.numel() + of_negatives.numel(), 1)
    total = of_positives.sum() + of_negatives.masked_fill(false_negatives, 0).sum()
    return total / (of_positives.numel() + (~false_negatives).sum()).clamp(min=1)


def bpr(positive: Tensor, negatives: Tensor, *, false_negatives: Tensor | None = None) -> Tensor:
    """Return the mean of -log sigmoid(positive - negative) over all pairs without false negatives; (B,), (B, n).

    Rendle et al., BPR, UAI 2009, without the regularisation, which the optimiser applies (weight decay).
    """
    losses = functional.softplus(negatives.float() - positive.float()[:, None])
    if false_negatives is None:
        return losses.sum() / max(losses.numel(), 1)
    return losses.masked_fill(false_negatives, 0).sum() / (~false_negatives).sum().clamp(min=1)


def sampled_softmax(
    positive: Tensor,
    negatives: Tensor,
    *,
    log_q: Tensor | None = None,
    positive_log_q: Tensor | None = None,
    false_negatives: Tensor | None = None,
) -> Tensor:
    """Return the mean of -log softmax of the positive among itself and its negatives; (B,), (B, n).

    `log_q`, (B, n) or (n,), and `positive_log_q`, (B,), are the log-probabilities of drawing the items. Where given,
    they are subtracted from the logits (log-Q correction: Bengio and Senecal, 2008; Yi et al., RecSys 2019, equation
    3). The optimum is then the full softmax, as long as draws of the positive itself are not marked as false negatives.
    Without probabilities the draws must be uniform, or scores of popular items are too low.
    """
    first, others = positive.float(), negatives.float()
    if positive_log_q is not None:
        first = first - positive_log_q
    if log_q is not None:
        others = others - log_q
    if false_negatives is not None:
        others = others.masked_fill(false_negatives, -math.inf)
    return _mean(torch.logaddexp(first, _log_sum_exp(others)) - first)


def refined_softmax(
    positive: Tensor, negatives: Tensor, log_q: Tensor, *, false_negatives: Tensor | None = None
) -> Tensor:
    """Return the sampled softmax whose positive is not corrected, since it is not drawn; (B,), (B, n), (B, n) or (n,).

    `log_q` must be that of a single draw and sum to 1 over the catalogue: the mean of exp(logit) / q over the draws
    estimates the sum of exp(logit) over all items but the positive. Draws of the positive must be marked in
    `false_negatives`; they still count as draws. Khrylchenko et al., RecSys 2025 (arXiv 2507.09331) write the loss with
    a weight, (1 - p(positive)) (log of that mean - logit of the positive), and no gradient through the weight; the form
    here has the same gradient.
    """
    first = positive.float()
    others = negatives.float() - log_q - math.log(max(negatives.shape[-1], 1))
    if false_negatives is not None:
        others = others.masked_fill(false_negatives, -math.inf)
    return _mean(torch.logaddexp(first, _log_sum_exp(others)) - first)


def in_batch_softmax(
    logits: Tensor, *, log_q: Tensor | None = None, false_negatives: Tensor | None = None, refined: bool = False
) -> Tensor:
    """Return the softmax loss of each example's item among the batch's items and further ones; (B, M), M >= B.

    The item of example b is column b; columns from B on are negatives for all examples. `log_q`, (M,), is the
    log-probability of each column's item in a batch. Where given, it is subtracted from the logits, and from the
    positive's too unless `refined`. `false_negatives`, (B, M), must mark the columns with the example's own item
    (`duplicates`) if `refined`, and should not otherwise: see `refined_softmax` and `sampled_softmax`. Its diagonal is
    ignored.
    """
    size = len(logits)
    own = torch.eye(size, logits.shape[1], dtype=torch.bool, device=logits.device)
    positive = logits.diagonal()
    false_negatives = own if false_negatives is None else false_negatives | own
    if log_q is None:
        return sampled_softmax(positive, logits, false_negatives=false_negatives)
    if refined:
        shift = math.log(logits.shape[1] / max(logits.shape[1] - 1, 1))  # column b is no draw of row b
        return refined_softmax(positive, logits, log_q - shift, false_negatives=false_negatives)
    return sampled_softmax(positive, logits, log_q=log_q, positive_log_q=log_q[:size], false_negatives=false_negatives)


def full_softmax(logits: Tensor, target: Tensor, *, false_negatives: Tensor | None = None) -> Tensor:
    """Return the mean of -log softmax of the target over the whole catalogue; (B, N), (B,) rows.

    `false_negatives`, (B, N), takes other positives out of the denominator; at the target it is ignored.
    """
    logits = logits.float()
    positive = logits.gather(1, target[:, None])[:, 0]
    if false_negatives is not None:
        logits = logits.masked_fill(false_negatives.scatter(1, target[:, None], False), -math.inf)
    return _mean(_log_sum_exp(logits) - positive)


def duplicates(items: Tensor, columns: Tensor) -> Tensor:
    """Return the mask of columns that hold an example's own item, (B,), (M,) or (B, n) -> (B, M) or (B, n)."""
    return items[:, None] == columns


def _log_sum_exp(logits: Tensor) -> Tensor:
    """Return the log of the sum of exp over the last axis; -inf, without a gradient, over an empty axis."""
    if not logits.shape[-1]:
        return logits.new_full(logits.shape[:-1], -math.inf)
    return torch.logsumexp(logits, dim=-1)


def _mean(losses: Tensor) -> Tensor:
    return losses.sum() / max(losses.numel(), 1)
