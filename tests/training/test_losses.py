"""Losses against hand-computed values, and against a catalogue whose softmax is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pasand.training import losses
from pasand.training.negatives import InBatch, Mixed, Popularity, Uniform

LN2, LN3 = math.log(2), math.log(3)
POSITIVE = torch.tensor([0.0, 1.0])
NEGATIVES = torch.tensor([[0.0, LN2], [1.0, 5.0]])
FALSE = torch.tensor([[False, False], [False, True]])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_binary_cross_entropy_is_the_mean_over_pairs() -> None:
    pairs = [LN2, softplus(-1), LN2, softplus(LN2), softplus(1)]
    assert losses.binary_cross_entropy(POSITIVE, NEGATIVES, false_negatives=FALSE).item() == pytest.approx(
        sum(pairs) / 5
    )
    whole = (sum(pairs) + softplus(5)) / 6
    assert losses.binary_cross_entropy(POSITIVE, NEGATIVES).item() == pytest.approx(whole)


def test_bpr_is_the_mean_over_pairs() -> None:
    pairs = [LN2, softplus(LN2), LN2]
    assert losses.bpr(POSITIVE, NEGATIVES, false_negatives=FALSE).item() == pytest.approx(sum(pairs) / 3)
    assert losses.bpr(POSITIVE, NEGATIVES).item() == pytest.approx((sum(pairs) + softplus(4)) / 4)


def test_sampled_softmax_by_hand() -> None:
    first, second = math.log(4), LN2  # 1 / (1 + 1 + 2); e / (e + e)
    assert losses.sampled_softmax(POSITIVE, NEGATIVES, false_negatives=FALSE).item() == pytest.approx(
        (first + second) / 2
    )
    log_q = torch.log(torch.tensor([0.5, 0.25]))
    corrected = losses.sampled_softmax(
        POSITIVE[:1], NEGATIVES[:1], log_q=log_q, positive_log_q=torch.log(torch.tensor([0.2]))
    )
    assert corrected.item() == pytest.approx(-math.log(5 / (5 + 2 + 8)), abs=1e-6)


def test_refined_softmax_by_hand_and_by_the_papers_weight() -> None:
    log_q = torch.log(torch.tensor([0.5, 0.25]))
    by_hand = -math.log(1 / (1 + (1 / 0.5 + 2 / 0.25) / 2))
    assert losses.refined_softmax(POSITIVE[:1], NEGATIVES[:1], log_q).item() == pytest.approx(by_hand, abs=1e-6)
    ours = [POSITIVE.clone().requires_grad_(), NEGATIVES.clone().requires_grad_()]
    losses.refined_softmax(ours[0], ours[1], log_q).backward()
    theirs = [POSITIVE.clone().requires_grad_(), NEGATIVES.clone().requires_grad_()]
    others = torch.logsumexp(theirs[1] - log_q, dim=1) - math.log(2)
    weight = (1 - torch.sigmoid(theirs[0] - others)).detach()
    (weight * (others - theirs[0])).mean().backward()
    for mine, paper in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, paper.grad)


def test_in_batch_softmax_is_cross_entropy_of_the_diagonal() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    log_q = torch.randn(6, generator=torch.Generator().manual_seed(2))
    target = torch.arange(4)
    torch.testing.assert_close(losses.in_batch_softmax(logits), functional.cross_entropy(logits, target))
    torch.testing.assert_close(
        losses.in_batch_softmax(logits, log_q=log_q), functional.cross_entropy(logits - log_q, target)
    )
    false_negatives = torch.zeros(4, 6, dtype=torch.bool)
    false_negatives[0, 3] = false_negatives[1, 1] = True
    gone = logits.clone()
    gone[0, 3] = -math.inf
    torch.testing.assert_close(
        losses.in_batch_softmax(logits, false_negatives=false_negatives), functional.cross_entropy(gone, target)
    )


def test_full_softmax_is_cross_entropy() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([4, 0, 2])
    torch.testing.assert_close(losses.full_softmax(logits, target), functional.cross_entropy(logits, target))
    false_negatives = torch.zeros(3, 5, dtype=torch.bool)
    false_negatives[0, 4] = false_negatives[1, 1] = True
    gone = logits.clone()
    gone[1, 1] = -math.inf
    torch.testing.assert_close(
        losses.full_softmax(logits, target, false_negatives=false_negatives), functional.cross_entropy(gone, target)
    )


def test_duplicates() -> None:
    items = torch.tensor([3, 5, 3])
    assert losses.duplicates(items, items).tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert losses.duplicates(items, torch.tensor([[5], [5], [3]])).tolist() == [[False], [True], [True]]


ALL: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
    lambda p, n, f: losses.binary_cross_entropy(p, n, false_negatives=f),
    lambda p, n, f: losses.bpr(p, n, false_negatives=f),
    lambda p, n, f: losses.sampled_softmax(p, n, false_negatives=f),
    lambda p, n, f: losses.refined_softmax(p, n, torch.full(n.shape[1:], -1.0), false_negatives=f),
    lambda p, n, f: losses.in_batch_softmax(torch.cat([torch.diag(p), n], dim=1), false_negatives=None),
]


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (2, 3)])
def test_empty_or_all_false_is_finite_with_finite_gradients(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], shape: tuple[int, int]
) -> None:
    positive = torch.ones(shape[0], requires_grad=True)
    negatives = torch.ones(shape, requires_grad=True)
    for false_negatives in (torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)):
        value = loss(positive, negatives, false_negatives)
        assert math.isfinite(value.item())
        for gradient in torch.autograd.grad(value, [positive, negatives], allow_unused=True):
            assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize("loss", ALL[:4])
def test_false_negatives_get_no_gradient(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    negatives = NEGATIVES.clone().requires_grad_()
    loss(POSITIVE, negatives, FALSE).backward()
    assert negatives.grad is not None
    assert ((negatives.grad == 0) == FALSE).all()


@pytest.mark.parametrize("loss", ALL)
def test_bfloat16_is_raised_to_float32(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    assert loss(POSITIVE.bfloat16(), NEGATIVES.bfloat16(), FALSE).dtype == torch.float32


# a catalogue whose softmax is known: 3 contexts, 20 items, the most popular 100 times as frequent as the rarest

N, CONTEXTS, BATCH = 20, 3, 256
TRUE = torch.linspace(0, LN2 * 6, N).expand(CONTEXTS, N) + torch.randn(
    CONTEXTS, N, generator=torch.Generator().manual_seed(7)
)
TRUTH = torch.softmax(TRUE, dim=1)
POPULAR = TRUTH.mean(dim=0)


def learnt(loss: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor], steps: int = 300) -> Tensor:
    """Return the log-softmax of a table of logits, (CONTEXTS, N), learnt from draws of the truth, context by context.

    `loss` gets the batch's logits for all items, (B, N), its items and its contexts.
    """
    generator = torch.Generator().manual_seed(3)
    table = torch.zeros(CONTEXTS, N, requires_grad=True)
    optimiser = torch.optim.Adam([table], lr=0.1, betas=(0.9, 0.99))
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.01, steps)
    for _ in range(steps):
        contexts = torch.randint(CONTEXTS, (BATCH,), generator=generator)
        items = torch.multinomial(TRUTH[contexts], 1, generator=generator)[:, 0]
        optimiser.zero_grad()
        loss(table[contexts], items, contexts, generator).backward()
        optimiser.step()
        falling.step()
    return torch.log_softmax(table.detach(), dim=1)


def divergence(log_p: Tensor) -> float:
    """Return the Kullback-Leibler divergence of what was learnt from the truth, the mean over contexts, in nats."""
    return float((TRUTH * (TRUTH.log() - log_p)).sum(dim=1).mean())


def softmax_of(sampler: InBatch | Mixed, *, corrected: bool, refined: bool = False) -> Tensor:
    """Return what is learnt from the items of the batch."""

    def loss(logits: Tensor, items: Tensor, contexts: Tensor, generator: torch.Generator) -> Tensor:
        columns, log_q = sampler.candidates(items, generator)
        false_negatives = losses.duplicates(items, columns) if refined else None
        return losses.in_batch_softmax(
            logits[:, columns], log_q=log_q if corrected else None, false_negatives=false_negatives, refined=refined
        )

    return learnt(loss)


def test_log_q_correction_recovers_the_true_softmax_and_in_batch_negatives_alone_do_not() -> None:
    sampler = InBatch(Popularity(POPULAR))
    alone = softmax_of(sampler, corrected=False)
    assert divergence(alone) > 0.5
    wrong = (alone - TRUTH.log()).mean(dim=0)  # what is left out is log q: popular items come out too low
    assert torch.corrcoef(torch.stack([wrong, POPULAR.log()]))[0, 1] < -0.95
    assert divergence(softmax_of(sampler, corrected=True)) < 0.005
    assert divergence(softmax_of(sampler, corrected=True, refined=True)) < 0.005


@pytest.mark.parametrize("refined", [False, True])
def test_mixed_negatives_recover_the_true_softmax(refined: bool) -> None:
    sampler = Mixed(Popularity(POPULAR), N, uniform=64)
    assert divergence(softmax_of(sampler, corrected=True, refined=refined)) < 0.005


def drawn_softmax(sampler: Uniform | Popularity, *, corrected: bool, refined: bool = False) -> Tensor:
    """Return what is learnt from 64 draws for each example."""

    def loss(logits: Tensor, items: Tensor, contexts: Tensor, generator: torch.Generator) -> Tensor:
        drawn, log_q = sampler.draw((len(items), 64), generator)
        positive, negatives = logits.gather(1, items[:, None])[:, 0], logits.gather(1, drawn)
        if refined:
            return losses.refined_softmax(positive, negatives, log_q, false_negatives=losses.duplicates(items, drawn))
        if corrected:
            return losses.sampled_softmax(positive, negatives, log_q=log_q, positive_log_q=sampler.log_q(items))
        return losses.sampled_softmax(positive, negatives)

    return learnt(loss)


@pytest.mark.parametrize("refined", [False, True])
def test_sampled_softmax_recovers_the_true_softmax(refined: bool) -> None:
    assert divergence(drawn_softmax(Popularity(POPULAR, 0.5), corrected=True, refined=refined)) < 0.005


def test_uniform_draws_need_no_correction_and_popular_ones_do() -> None:
    assert divergence(drawn_softmax(Uniform(N), corrected=False)) < 0.005
    assert divergence(drawn_softmax(Popularity(POPULAR), corrected=False)) > 0.5


def test_full_softmax_recovers_the_true_softmax() -> None:
    assert divergence(learnt(lambda logits, items, contexts, generator: losses.full_softmax(logits, items))) < 0.01
