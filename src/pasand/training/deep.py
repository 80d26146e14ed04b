"""The training loop, the only one: every deep model is trained by `train`."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from pasand.errors import InputError
from pasand.progress import step

logger = logging.getLogger(__name__)

Batch: TypeAlias = Any
"""Whatever a task's `batches` yields and its `loss` takes; tensors on the device."""


class Task(Protocol):
    """What a model supplies: a network, batches and a loss."""

    network: nn.Module
    n_batches: int
    """Batches in an epoch."""

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch, drawn by the generator alone."""

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch, a scalar; negatives are drawn by the generator."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train; see the fields of `DeepTower` of the same names."""

    epochs: int
    learning_rate: float
    l2: float = 0.0
    warmup: int = 100
    """Steps over which the learning rate rises to its value."""
    clip: float = 5.0
    """Largest norm of a gradient."""
    patience: int = 0
    """Epochs without a better validation metric after which training stops; 0: never."""
    bf16: bool = False


@dataclass
class Trained:
    """What came out of a training."""

    weights: dict[str, Tensor]
    """Of the best epoch where there was a validation, else of the last."""
    best_epoch: int
    """Counted from 1."""
    curves: dict[str, list[float]] = field(default_factory=dict)


def device_of(name: str) -> torch.device:
    """Return the device of that name; "auto": CUDA, then MPS, then the CPU, whichever is there first.

    Raises InputError where the named one is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    kind = name.partition(":")[0]
    if not there.get(kind, False):
        raise InputError(
            "device",
            value=name,
            cause="not available on this machine",
            cure=f'use "auto" or one of: {", ".join(k for k, found in there.items() if found)}',
        )
    return torch.device(name)


def train(
    task: Task,
    settings: Settings,
    *,
    seed: int,
    device: torch.device,
    validate: Callable[[], float] | None = None,
    label: str = "training",
) -> Trained:
    """Train a task's network and return its best weights and learning curves; the network is left with them.

    `validate` returns a metric that is better when higher; it is called after each epoch with the network in
    evaluation mode.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    optimiser = torch.optim.AdamW(
        task.network.parameters(), lr=settings.learning_rate, weight_decay=settings.l2, fused=device.type != "mps"
    )
    warm = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda n: min(1.0, (n + 1) / max(settings.warmup, 1)))
    curves: dict[str, list[float]] = {"train loss": []}
    if validate is not None:
        curves["validation ndcg@10"] = []
    best, best_epoch, weights = -1.0, 0, None
    for epoch in range(1, settings.epochs + 1):
        began, total = time.perf_counter(), torch.zeros((), device=device)
        task.network.train()
        for done, batch in enumerate(task.batches(generator), 1):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
                loss = task.loss(batch, generator)
            loss.backward()
            nn.utils.clip_grad_norm_(task.network.parameters(), settings.clip)
            optimiser.step()
            warm.step()
            total += loss.detach()
            step(label, (epoch - 1) * task.n_batches + done, settings.epochs * task.n_batches)
        curves["train loss"].append(float(total) / max(task.n_batches, 1))
        told = f"{label}: epoch {epoch}, loss {curves['train loss'][-1]:.4f}"
        if validate is not None:
            task.network.eval()
            value = validate()
            curves["validation ndcg@10"].append(value)
            told += f", validation ndcg@10 {value:.4f}"
            if value > best:
                best, best_epoch, weights = value, epoch, copy.deepcopy(task.network.state_dict())
        logger.info("%s, %.1f s", told, time.perf_counter() - began)
        if validate is not None and settings.patience and epoch - best_epoch >= settings.patience:
            break
    if weights is None:
        best_epoch, weights = settings.epochs, task.network.state_dict()
    task.network.load_state_dict(weights)
    task.network.eval()
    step(label, 1, 1)
    return Trained(weights=weights, best_epoch=best_epoch, curves=curves)
