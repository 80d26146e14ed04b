"""The training loop of all deep models: epochs, validation, early stopping, checkpoints."""

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
"""The type that a task's `batches` yields and its `loss` takes; tensors on the device."""

REPORT = 0.1
"""Seconds between two progress reports."""
CHECKPOINT_INTERVAL = 10.0
"""Minimum seconds between two checkpoints, which are written at the end of epochs."""
VALIDATION, LOSS = "validation ndcg@10", "train loss"


class Task(Protocol):
    """What the loop trains: a network, with batches and a loss."""

    network: nn.Module
    n_batches: int
    """Batches in an epoch."""

    def batches(self, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch; all random draws use the generator."""

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the mean loss of a batch, a scalar; negatives are drawn by the generator."""


@runtime_checkable
class DescribesBatches(Protocol):
    """A task that names the tensors of a batch, for messages; without it, they are named by position."""

    def describe(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the batch's tensors by the names of the features that they hold."""


@runtime_checkable
class HasState(Protocol):
    """A task with state that changes from batch to batch, which a checkpoint has to save."""

    def state(self) -> dict[str, Tensor]:
        """Return the state."""

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore a `state`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hyper-parameters of the training; see the fields of `DeepModel` of the same names."""

    epochs: int
    learning_rate: float
    l2: float = 0.0
    warmup: int = 100
    """Steps over which the learning rate rises linearly to its value, at most the steps of an epoch."""
    clip: float = 5.0
    """Largest norm of the gradient, to which larger ones are scaled down."""
    patience: int = 0
    """Epochs without a better validation metric after which training stops; 0: never."""
    bf16: bool = False
    """Whether the forward pass runs under bfloat16 autocast."""
    averaging: float = 0.0
    """Decay of an exponential moving average of the weights over steps, which is validated and returned in place of
    the weights; 0: the weights themselves."""
    metric: str = VALIDATION
    """Name of the metric that `validate` computes, and of its learning curve."""


@dataclass
class TrainingResult:
    """Best weights and learning curves of a training."""

    weights: dict[str, Tensor]
    """Weights of the best epoch if there was a validation, the earliest of equals, otherwise of the last epoch."""
    best_epoch: int
    """Counted from 1."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """A value for each epoch, by name."""


def device_of(name: str) -> torch.device:
    """Return the device of that name; "auto": the first available of CUDA, MPS and the CPU.

    Raises InputError where the named device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, exists in available.items() if exists))
    kind, _, number = name.partition(":")
    found = available.get(kind, False) and (not number or (number.isdigit() and int(number) < _count(kind)))
    if not found:
        raise InputError(
            "device",
            value=name,
            cause="not available on this machine",
            cure=f'use "auto" or one of: {", ".join(kind for kind, exists in available.items() if exists)}',
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
) -> TrainingResult:
    """Train a task's network and return its best weights and learning curves; the network keeps the best weights.

    `validate` returns a metric that is better when higher; it is called after each epoch with the network in
    evaluation mode. With a checkpoint, an interrupted training resumes, and its result equals that of an uninterrupted
    run to the bit on a CPU (GPUs add in no fixed order); the result of a finished training is returned at once. Raises
    InputError where a loss, a gradient or a weight is not finite, naming the epoch, the batch and the tensor, and
    errors of `Checkpoint.read` and `write`.
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
    return TrainingResult(weights=run.weights, best_epoch=run.best_epoch, curves=run.curves)


class _Run:
    """The state of a training."""

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
        self.epochs_done, self.steps, self.best, self.best_epoch = 0, 0, -math.inf, 0
        self.weights: dict[str, Tensor] = {}
        self.average = _copied(task.network) if settings.averaging else {}
        self.curves: dict[str, list[float]] = {LOSS: []} if validate is None else {LOSS: [], settings.metric: []}
        self.monitor = _Monitor(task, label, every=1 if device.type == "cpu" else 16)
        self.reported = self.saved = time.perf_counter()
        stored = None if checkpoint is None else checkpoint.read()
        if stored is not None:
            self._restore(*stored)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or early stopping ended the training."""
        patience = self.settings.patience if self.validate is not None else 0
        out_of_patience = bool(patience) and self.epochs_done - self.best_epoch >= patience
        return self.epochs_done >= self.settings.epochs or out_of_patience

    def epoch(self) -> None:
        """Train for one epoch, validate, log, and save a checkpoint."""
        started, network = time.perf_counter(), self.task.network
        network.train()
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(islice(self.task.batches(self.generator), self.task.n_batches), 1):
            total += self._step(batch, number)
            self._report(number)
        self.monitor.check()
        self.epochs_done += 1
        self._check(self._not_finite(), "weights", "lower learning_rate")
        self.curves[LOSS].append(float(total) / max(self.task.n_batches, 1))
        message = f"{self.label}: epoch {self.epochs_done}, loss {self.curves[LOSS][-1]:.4f}"
        network.eval()
        current = self._use_average()
        if self.validate is not None:
            value = self.validate()
            self._check("" if math.isfinite(value) else self.settings.metric, "metric", "correct the metric")
            self.curves[self.settings.metric].append(value)
            message += f", {self.settings.metric} {value:.4f}"
            if value > self.best:
                self.best, self.best_epoch, self.weights = value, self.epochs_done, _copied(network)
        elif self.finished:
            self.best_epoch, self.weights = self.epochs_done, _copied(network)
        if current:
            network.load_state_dict(current)
        logger.info("%s, %.1f s", message, time.perf_counter() - started)
        if self.validate is not None and self.best_epoch == self.settings.epochs > 1:
            logger.info("%s: the last epoch was the best; a larger number of epochs may be better still", self.label)
        self._save()

    def _step(self, batch: Batch, number: int) -> Tensor:
        """Do one optimisation step and return the loss, detached."""
        settings = self.settings
        self.optimiser.zero()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.bf16):
            loss = self.task.loss(batch, self.generator)
        loss.backward()
        norm = self.optimiser.clip(settings.clip)
        self.monitor.add(self.epochs_done + 1, number, batch, loss.detach() + norm)
        self.steps += 1
        warmup = max(min(settings.warmup, self.task.n_batches), 1)
        self.optimiser.step(settings.learning_rate * min(1.0, self.steps / warmup))
        if self.average:
            decay = min(settings.averaging, (self.steps - 1) / (self.steps + 9))  # smaller at the start of the training
            for name, weight in self.task.network.named_parameters():
                self.average[name].lerp_(weight.detach(), 1 - decay)
        return loss.detach()

    def _use_average(self) -> dict[str, Tensor]:
        """Load the average of the weights into the network, and return its current weights; {} without averaging."""
        if not self.average:
            return {}
        network = self.task.network
        current = _copied(network)
        network.load_state_dict(self.average)
        return current

    def _not_finite(self) -> str:
        """Return the names of the weights that are not finite."""
        return ", ".join(name for name, weight in self.task.network.named_parameters() if not _finite(weight))

    def _check(self, not_finite: str, what: str, cure: str) -> None:
        if not_finite:
            cause = f"{what} not finite: {not_finite}"
            raise InputError(f"{self.label}, epoch {self.epochs_done}", cause=cause, cure=cure)

    def _report(self, number: int) -> None:
        now = time.perf_counter()
        if now - self.reported > REPORT:
            self.reported = now
            per_epoch, total = self.task.n_batches, self.settings.epochs * self.task.n_batches
            step(self.label, min(self.epochs_done * per_epoch + number, total - 1), total)

    def _save(self) -> None:
        """Write the checkpoint, unless one was written shortly before; of a finished training only the best weights."""
        recent = time.perf_counter() - self.saved < CHECKPOINT_INTERVAL
        if self.checkpoint is None or (recent and not self.finished):
            return
        numbers = {
            "epochs": self.epochs_done,
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
            if isinstance(self.task, HasState):
                arrays |= _arrays("task.", self.task.state())
        self.checkpoint.write(arrays, numbers)
        self.saved = time.perf_counter()

    def _restore(self, arrays: Mapping[str, Array], numbers: Mapping[str, Any]) -> None:
        """Restore the state that `_save` wrote."""
        self.epochs_done, self.steps, self.best_epoch = numbers["epochs"], numbers["steps"], numbers["best_epoch"]
        self.best = -math.inf if numbers["best"] is None else numbers["best"]
        self.curves, self.weights = numbers["curves"], _tensors("weights.", arrays)
        logger.info("%s: resuming after epoch %d", self.label, self.epochs_done)
        if self.finished:
            return
        self.task.network.load_state_dict(_tensors("network.", arrays))
        self.optimiser.load_state(_tensors("optimiser.", arrays))
        self.average = {name: value.to(self.device) for name, value in _tensors("average.", arrays).items()}
        if isinstance(self.task, HasState):
            self.task.load_state(_tensors("task.", arrays))
        random = _tensors("random.", arrays)
        self.generator.set_state(random["batches"])
        torch.set_rng_state(random["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(random["device"], self.device)
        if self.device.type == "mps":
            torch.mps.set_rng_state(random["device"])

    def _random(self) -> dict[str, Tensor]:
        """Return the states of all random generators: of batches and negatives, and of dropout."""
        states = {"batches": self.generator.get_state(), "cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["device"] = torch.cuda.get_rng_state(self.device)
        if self.device.type == "mps":
            states["device"] = torch.mps.get_rng_state()
        return states


class _Monitor:
    """Stops a training at the first batch whose loss or gradient is not finite.

    Reading a number from a GPU makes the program wait for it, so there batches are checked `every` at once.
    """

    def __init__(self, task: Task, label: str, every: int) -> None:
        self._task, self._label, self._every = task, label, every
        self._pending: list[tuple[int, int, Batch, Tensor]] = []

    def add(self, epoch: int, number: int, batch: Batch, value: Tensor) -> None:
        """Add a batch and a number, (), that is finite if loss and gradient are; check when there are enough."""
        self._pending.append((epoch, number, batch, value))
        if len(self._pending) >= self._every:
            self.check()

    def check(self) -> None:
        """Raise InputError for the first pending batch whose number is not finite."""
        pending, self._pending = self._pending, []
        stacked = [entry[3] for entry in pending] or [torch.zeros(1)[0]]
        values = [float(pending[0][3])] if len(pending) == 1 else torch.stack(stacked)
        for (epoch, number, batch, _), value in zip(pending, map(float, values), strict=False):
            if not math.isfinite(value):
                raise InputError(
                    f"{self._label}, epoch {epoch}, batch {number}",
                    cause=f"loss or gradient is not finite ({self._not_finite(batch)})",
                    cure="correct nan and infinite values in that feature; if it has none, lower learning_rate",
                )

    def _not_finite(self, batch: Batch) -> str:
        """Return the names of what is not finite: inputs, else tables or weights of the network, else gradients."""
        tensors = (
            self._task.describe(batch) if isinstance(self._task, DescribesBatches) else dict(_inside("batch", batch))
        )
        network = self._task.network
        gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
        for what, named in (
            ("input", tensors),
            ("table", dict(network.named_buffers())),
            ("weights", dict(network.named_parameters())),
            ("gradient of", gradients),
        ):
            names = [name for name, values in named.items() if not _finite(values)]
            if names:
                return f"{what} {', '.join(names)}"
        return "the loss alone"


def _finite(values: Tensor) -> bool:
    values = values.coalesce().values() if values.is_sparse else values
    return bool(values.isfinite().all())


def _inside(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors inside a value, named by their keys, positions or fields."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _inside(str(key), entry)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for n, entry in enumerate(value):
            yield from _inside(f"{name}[{n}]", entry)
    elif is_dataclass(value):
        for column in fields(value):
            yield from _inside(column.name, getattr(value, column.name))


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: values.detach().clone() for name, values in network.state_dict().items()}


def _arrays(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {prefix + name: values.detach().cpu().contiguous().numpy() for name, values in tensors.items()}


def _tensors(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith(prefix)}
