"""The training loop, the only one: every deep model is trained by `train`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import islice
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from pasand.errors import InputError
from pasand.progress import step
from pasand.training.checkpoints import Checkpoint
from pasand.training.optimiser import Optimiser
from pasand.types import Array

logger = logging.getLogger(__name__)

Batch: TypeAlias = Any
"""Whatever a task's `batches` yields and its `loss` takes; tensors on the device."""

REPORT = 0.1
"""Seconds between two reports of progress."""
KEEP = 10.0
"""Least seconds between two checkpoints; one is written at the end of an epoch."""
VALIDATION, LOSS = "validation ndcg@10", "train loss"


class Task(Protocol):
    """What a model supplies: a network, batches and a loss."""

    network: nn.Module
    n_batches: int
    """Batches in an epoch."""

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch, drawn by the generator alone."""

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch, a scalar; negatives are drawn by the generator."""


@runtime_checkable
class Describes(Protocol):
    """A task that names what is in a batch, for messages; without it, places in the batch are named."""

    def describe(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the batch's tensors by the names of the features that they hold."""


@runtime_checkable
class Remembers(Protocol):
    """A task that carries something from batch to batch, which a checkpoint has to hold."""

    def state(self) -> dict[str, Tensor]:
        """Return what it carries."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train; see the fields of `DeepTower` of the same names."""

    epochs: int
    learning_rate: float
    l2: float = 0.0
    warmup: int = 100
    """Steps over which the learning rate rises to its value, no more than the first epoch has."""
    clip: float = 5.0
    """Largest norm of a gradient."""
    patience: int = 0
    """Epochs without a better validation metric after which training stops; 0: never."""
    bf16: bool = False
    averaging: float = 0.0
    """Weight of the past in a moving average of the weights over steps, which validation and result take in their
    place; 0: the weights themselves."""
    metric: str = VALIDATION
    """What `validate` computes, as the learning curve is called."""


@dataclass
class Trained:
    """What came out of a training."""

    weights: dict[str, Tensor]
    """Of the best epoch where there was a validation, the earliest of equals; else of the last."""
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
    kind, _, number = name.partition(":")
    found = there.get(kind, False) and (not number or (number.isdigit() and int(number) < _count(kind)))
    if not found:
        raise InputError(
            "device",
            value=name,
            cause="not available on this machine",
            cure=f'use "auto" or one of: {", ".join(k for k, is_there in there.items() if is_there)}',
        )
    return torch.device(name)


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def train(
    task: Task,
    settings: Settings,
    *,
    seed: int,
    device: torch.device,
    validate: Callable[[], float] | None = None,
    label: str = "training",
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train a task's network and return its best weights and learning curves; the network is left with them.

    `validate` returns a metric that is better when higher; it is called after each epoch with the network in
    evaluation mode. With a checkpoint, training goes on from where it was left, with the result of an undisturbed run
    to the bit on a CPU (GPUs add in no fixed order); what was left finished is returned at once. Raises InputError
    where a loss, a gradient or a weight is not finite, naming epoch, batch and what is at fault, and as
    `Checkpoint.read` and `write`.
    """
    run = _Run(task, settings, seed, device, validate, label, checkpoint)
    try:
        while not run.finished:
            run.epoch()
    finally:
        run.optimiser.release()
    task.network.load_state_dict(run.weights)
    task.network.eval()
    step(label, 1, 1)
    return Trained(weights=run.weights, best_epoch=run.best_epoch, curves=run.curves)


class _Run:
    """A training and how far it has come."""

    def __init__(
        self,
        task: Task,
        settings: Settings,
        seed: int,
        device: torch.device,
        validate: Callable[[], float] | None,
        label: str,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.task, self.settings, self.device, self.validate = task, settings, device, validate
        self.label, self.checkpoint = label, checkpoint
        self.generator = torch.Generator(device="cpu").manual_seed(seed)
        self.optimiser = Optimiser(task.network, settings.l2, device)
        self.done, self.steps, self.best, self.best_epoch = 0, 0, -math.inf, 0
        self.weights: dict[str, Tensor] = {}
        self.average = _copied(task.network) if settings.averaging else {}
        self.curves: dict[str, list[float]] = {LOSS: []} if validate is None else {LOSS: [], settings.metric: []}
        self.watch = _Watch(task, label, every=1 if device.type == "cpu" else 16)
        self.reported = self.kept = time.perf_counter()
        left = None if checkpoint is None else checkpoint.read()
        if left is not None:
            self._restore(*left)

    @property
    def finished(self) -> bool:
        """Whether the last epoch is behind us, or the last that patience grants."""
        patience = self.settings.patience if self.validate is not None else 0
        out_of_patience = bool(patience) and self.done - self.best_epoch >= patience
        return self.done >= self.settings.epochs or out_of_patience

    def epoch(self) -> None:
        """Train for one epoch, validate, log, and keep what was reached."""
        began, network = time.perf_counter(), self.task.network
        network.train()
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(islice(self.task.batches(self.generator), self.task.n_batches), 1):
            total += self._step(batch, number)
            self._report(number)
        self.watch.look()
        self.done += 1
        self._check(self._broken(), "weights", "lower learning_rate")
        self.curves[LOSS].append(float(total) / max(self.task.n_batches, 1))
        told = f"{self.label}: epoch {self.done}, loss {self.curves[LOSS][-1]:.4f}"
        network.eval()
        latest = self._averaged()
        if self.validate is not None:
            value = self.validate()
            self._check("" if math.isfinite(value) else self.settings.metric, "metric", "mend the metric")
            self.curves[self.settings.metric].append(value)
            told += f", {self.settings.metric} {value:.4f}"
            if value > self.best:
                self.best, self.best_epoch, self.weights = value, self.done, _copied(network)
        elif self.finished:
            self.best_epoch, self.weights = self.done, _copied(network)
        if latest:
            network.load_state_dict(latest)
        logger.info("%s, %.1f s", told, time.perf_counter() - began)
        if self.validate is not None and self.best_epoch == self.settings.epochs > 1:
            logger.info("%s: the last epoch was the best one; more of them may be better still", self.label)
        self._keep()

    def _step(self, batch: Batch, number: int) -> Tensor:
        """Take one step and return the loss, detached."""
        settings = self.settings
        self.optimiser.zero()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.bf16):
            loss = self.task.loss(batch, self.generator)
        loss.backward()
        norm = self.optimiser.clip(settings.clip)
        self.watch.note(self.done + 1, number, batch, loss.detach() + norm)
        self.steps += 1
        warmup = max(min(settings.warmup, self.task.n_batches), 1)
        self.optimiser.step(settings.learning_rate * min(1.0, self.steps / warmup))
        if self.average:
            past = min(settings.averaging, (self.steps - 1) / (self.steps + 9))  # the first steps are soon forgotten
            for name, weight in self.task.network.named_parameters():
                self.average[name].lerp_(weight.detach(), 1 - past)
        return loss.detach()

    def _averaged(self) -> dict[str, Tensor]:
        """Give the network the average of its weights, where there is one, and return its own."""
        if not self.average:
            return {}
        network = self.task.network
        own = _copied(network)
        network.load_state_dict(self.average)
        return own

    def _broken(self) -> str:
        """Return the names of the weights that are not finite."""
        return ", ".join(name for name, weight in self.task.network.named_parameters() if not _finite(weight))

    def _check(self, broken: str, what: str, cure: str) -> None:
        if broken:
            raise InputError(f"{self.label}, epoch {self.done}", cause=f"{what} not finite: {broken}", cure=cure)

    def _report(self, number: int) -> None:
        now = time.perf_counter()
        if now - self.reported > REPORT:
            self.reported = now
            every, whole = self.task.n_batches, self.settings.epochs * self.task.n_batches
            step(self.label, min(self.done * every + number, whole - 1), whole)

    def _keep(self) -> None:
        """Write the checkpoint, unless one was written a moment ago; a finished training needs its weights alone."""
        if self.checkpoint is None or (time.perf_counter() - self.kept < KEEP and not self.finished):
            return
        numbers = {
            "done": self.done,
            "steps": self.steps,
            "best": self.best if self.best_epoch and self.validate is not None else None,
            "best_epoch": self.best_epoch,
            "curves": self.curves,
        }
        arrays = _arrays("weights.", self.weights)
        if not self.finished:
            arrays |= _arrays("network.", self.task.network.state_dict()) | _arrays("random.", self._random())
            arrays |= _arrays("optimiser.", self.optimiser.state())
            arrays |= _arrays("average.", self.average)
            if isinstance(self.task, Remembers):
                arrays |= _arrays("task.", self.task.state())
        self.checkpoint.write(arrays, numbers)
        self.kept = time.perf_counter()

    def _restore(self, arrays: Mapping[str, Array], numbers: Mapping[str, Any]) -> None:
        """Go on from what `_keep` wrote."""
        self.done, self.steps, self.best_epoch = numbers["done"], numbers["steps"], numbers["best_epoch"]
        self.best = -math.inf if numbers["best"] is None else numbers["best"]
        self.curves, self.weights = numbers["curves"], _tensors("weights.", arrays)
        logger.info("%s: resuming after epoch %d", self.label, self.done)
        if self.finished:
            return
        self.task.network.load_state_dict(_tensors("network.", arrays))
        self.optimiser.load_state(_tensors("optimiser.", arrays))
        self.average = {name: value.to(self.device) for name, value in _tensors("average.", arrays).items()}
        if isinstance(self.task, Remembers):
            self.task.load_state(_tensors("task.", arrays))
        random = _tensors("random.", arrays)
        self.generator.set_state(random["batches"])
        torch.set_rng_state(random["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(random["device"], self.device)
        if self.device.type == "mps":
            torch.mps.set_rng_state(random["device"])

    def _random(self) -> dict[str, Tensor]:
        """Return the states of all generators: that of batches and negatives, and those of dropout."""
        states = {"batches": self.generator.get_state(), "cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["device"] = torch.cuda.get_rng_state(self.device)
        if self.device.type == "mps":
            states["device"] = torch.mps.get_rng_state()
        return states


class _Watch:
    """Stops a training at the first batch whose loss or gradient is not finite.

    Asking a GPU for a number makes it wait, so there it is asked for `every` batches at once.
    """

    def __init__(self, task: Task, label: str, every: int) -> None:
        self._task, self._label, self._every = task, label, every
        self._noted: list[tuple[int, int, Batch, Tensor]] = []

    def note(self, epoch: int, number: int, batch: Batch, value: Tensor) -> None:
        """Take note of a batch and of a number, (), that is finite if loss and gradient are; look when it is time."""
        self._noted.append((epoch, number, batch, value))
        if len(self._noted) >= self._every:
            self.look()

    def look(self) -> None:
        """Raise InputError for the first batch noted that is at fault."""
        noted, self._noted = self._noted, []
        values = [float(noted[0][3])] if len(noted) == 1 else torch.stack([n[3] for n in noted] or [torch.zeros(1)[0]])
        for (epoch, number, batch, _), value in zip(noted, map(float, values), strict=False):
            if not math.isfinite(value):
                raise InputError(
                    f"{self._label}, epoch {epoch}, batch {number}",
                    cause=f"loss or gradient is not finite ({self._at_fault(batch)})",
                    cure="mend nan and infinite values in that feature; if it has none, lower learning_rate",
                )

    def _at_fault(self, batch: Batch) -> str:
        """Return what is not finite: an input, else a table of the network, else the gradient of one."""
        tensors = self._task.describe(batch) if isinstance(self._task, Describes) else dict(_inside("batch", batch))
        network = self._task.network
        gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
        for what, found in (
            ("input", tensors),
            ("table", dict(network.named_buffers())),
            ("weights", dict(network.named_parameters())),
            ("gradient of", gradients),
        ):
            names = [name for name, values in found.items() if not _finite(values)]
            if names:
                return f"{what} {', '.join(names)}"
        return "the loss alone"


def _finite(values: Tensor) -> bool:
    values = values.coalesce().values() if values.is_sparse else values
    return bool(values.isfinite().all())


def _inside(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a batch with the names of their places in it."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _inside(str(key), one)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for n, one in enumerate(value):
            yield from _inside(f"{name}[{n}]", one)
    elif is_dataclass(value):
        for one in fields(value):
            yield from _inside(one.name, getattr(value, one.name))


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: values.detach().clone() for name, values in network.state_dict().items()}


def _arrays(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {prefix + name: values.detach().cpu().contiguous().numpy() for name, values in tensors.items()}


def _tensors(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith(prefix)}
