"""Base class of all deep models: training hyper-parameters, fitting, state and ONNX graphs.

`towers.tower` and `rankers.ranker` build on it: models that an index can search, and models that score each pair of
query and item. A network runs on torch after `fit`, and on ONNX Runtime in a bundle that contains its graphs. Importing
it, and scoring with ONNX Runtime, needs no torch.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.features import encoding
from pasand.layouts import Entry, Layout, check
from pasand.models.hyperparameters import check_numbers
from pasand.training import checkpoints
from pasand.training.validation import ValidationSplit, split_latest
from pasand.types import Array, Arrays, Queries, Rows, Vectors

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task, TrainingResult

logger = logging.getLogger(__name__)

CHUNK = 4096
"""Examples in one call of a network."""
WEIGHTS = "weights."
"""Prefix of the names of learnt arrays that are weights of the network."""
LAYOUT: Layout = {
    "known": Entry("bool", "N"),
    "items": Entry("float32", "N D", optional=True),
    "item_code": Entry("int64", "n", lowest=0, below="n+1", optional=True),  # items added later have no code
    "user_code": Entry("int64", "U", lowest=0, below="U+1", optional=True),
    "known_users": Entry("bool", "U", optional=True),
    "positive_from": Entry("number", "...", infinite=True, optional=True),
    "layers": Entry("int64", "*", lowest=1, below=1 << 16, optional=True),
    "others": Entry("bool", "1", optional=True),
    "label_scale": Entry("float32", "4", optional=True),
    "item.*": Entry("any", "N ...", gaps=True, infinite=True),
    f"{WEIGHTS}*": Entry("any", "..."),
    **encoding.LAYOUT,
}
"""Layout of what deep models learn; each learns a part of it."""
TRAIN, SERVE = "pip install 'pasand[train]'", "pip install 'pasand[serve]'"


@dataclass(kw_only=True)
class DeepModel(ABC):
    """Scores by a network that `loop.train` trains.

    One seed gives one model, bit for bit, with one number of threads (`torch.set_num_threads`) on one kind of device;
    another number changes the order of sums, and so the last bits of the weights and, after epochs, more than these.
    """

    uses_training_weights: ClassVar[bool] = True
    dimensions: int | None = None
    """Width of the vectors; None: a default by the number of items (see `models.dimensions`)."""
    epochs: int = 50
    """Number of passes over the data, at most: validation may stop training earlier."""
    batch_size: int = 1024
    """Number of examples in a step."""
    learning_rate: float = 1e-3
    """Learning rate of Adam after its warm-up."""
    l2: float = 0.0
    """Weight decay, decoupled from the gradient (AdamW)."""
    patience: int = 5
    """Epochs without a better validation metric after which training stops; 0: all epochs, no validation."""
    refit: bool = True
    """Whether to train again from scratch on all events, once validation has chosen the number of epochs."""
    device: str = "auto"
    """Device to train on: "cpu", "cuda", "cuda:1", "mps"; "auto": the fastest one available."""
    averaging: float = 0.0
    """Decay of an exponential moving average of the weights over steps, which replaces them; below 1; 0: none."""
    bf16: bool = False
    """Whether matrix products are computed in bfloat16: faster on recent processors, and less exact."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _curves: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _network: Any = field(default=None, init=False, repr=False, compare=False)
    _graphs: Any = field(default=None, init=False, repr=False, compare=False)
    _graph_bytes: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.dimensions is not None and self.dimensions < 1:
            raise ValueError(f"dimensions must be positive, got {self.dimensions}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging must be at least 0 and below 1, got {self.averaging}")
        for name in ("l2", "patience"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        check_numbers(self)

    # implemented by each model

    @abstractmethod
    def _prepare(self, data: Dataset) -> dict[str, Array]:
        """Return the arrays that inputs and network need: sizes, tables of features, scales.

        They become part of `_learnt`, and must contain "known", (N,): the items that the model can score.
        """

    @abstractmethod
    def _build(self) -> nn.Module:
        """Return the network for `_learnt`, with the methods that `_run` calls: inputs by name -> (B, D)."""

    @abstractmethod
    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        """Return the training task for `loop.train`: the network, the batches of the data, the loss."""

    @abstractmethod
    def _validation(self, split: ValidationSplit) -> Callable[[], float]:
        """Return a function that computes the validation metric, higher is better."""

    def _validation_split(self, data: Dataset, rng: Generator) -> ValidationSplit | None:
        """Return the validation split by which the number of epochs is chosen; None: the data allow none."""
        return split_latest(data, rng)

    def _finish(self) -> None:  # noqa: B027
        """Add what the fitted network computes for all items to `_learnt`, after the training."""

    @abstractmethod
    def _trace_inputs(self, queries: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        """Return example inputs of each method of the network by name, for 3 queries and 3 items, to trace it."""

    # provided to each model

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Train the network; inside `checkpoints.saving_to`, resume an earlier fit that was interrupted.

        The number of epochs is chosen on the latest positives (`validation.split_latest`). With `refit`, the network is
        then trained again from scratch on all events for that number of epochs. Raises InputError for a device that is
        not available, for a loss that is not finite, and for checkpoints of another training.
        """
        require_torch("training needs torch", TRAIN)
        split = self._validation_split(data, rng) if self.patience else None
        seed = int(rng.integers(2**62))
        dependencies = checkpoints.dependencies(self, data, seed)
        trained = self._train(data if split is None else split.train, seed, self.epochs, split, dependencies)
        self._curves = trained.curves
        if split is not None and self.refit:
            trained = self._train(data, seed, trained.best_epoch, None, dependencies)
        self._learnt |= {WEIGHTS + name: values.float().numpy() for name, values in trained.weights.items()}
        self._finish()
        return self

    def _train(
        self, data: Dataset, seed: int, epochs: int, split: ValidationSplit | None, dependencies: Mapping[str, Any]
    ) -> TrainingResult:
        """Train a new network, with early stopping if there is a validation split."""
        import torch

        from pasand.training import loop

        device, label = loop.device_of(self.device), self._label
        settings = loop.Settings(
            epochs=epochs,
            learning_rate=self.learning_rate,
            l2=self.l2,
            patience=self.patience,
            bf16=self.bf16,
            averaging=self.averaging,
            metric=self._metric,
        )
        self._learnt = self._prepare(data)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            self._network = self._build().to(device)
            trained = loop.train(
                self._task(data, self._network, device),
                settings,
                seed=seed,
                device=device,
                validate=None if split is None else self._validation(split),
                label=f"{label}, all events" if split is None and self.patience else label,
                checkpoint=checkpoints.checkpoint(label, {**dependencies, "events": len(data), "epochs": epochs}),
            )
        self._network.to("cpu")
        trained.weights = {name: values.cpu() for name, values in trained.weights.items()}
        return trained

    def _run(self, method: str, inputs: Mapping[str, Array]) -> Vectors:
        """Return the output of a method of the network, such as "query" or "item", (B, D) float32.

        Raises InputError if neither ONNX Runtime nor torch is installed.
        """
        run = partial(self._graphs.run, method) if self._graphs is not None and self._network is None else None
        run = run or partial(_run_on_torch, self._torch(), method)
        n = len(next(iter(inputs.values())))
        parts = [run({k: v[at : at + CHUNK] for k, v in inputs.items()}) for at in range(0, n, CHUNK)]
        vectors: Vectors = np.concatenate(parts) if parts else np.zeros((0, self._width()), np.float32)
        return vectors

    def _torch(self) -> nn.Module:
        """Return the network with the learnt weights, in evaluation mode."""
        if self._network is None:
            require_torch("scoring needs onnxruntime or torch, and neither is installed", SERVE)
            import torch

            network = self._build()
            network.load_state_dict({name: torch.tensor(values) for name, values in self._weights().items()})
            self._network = network.eval()
        loaded: nn.Module = self._network
        return loaded

    def _weights(self) -> dict[str, Array]:
        """Return the learnt weights by their names in the network."""
        return {k[len(WEIGHTS) :]: values for k, values in self._learnt.items() if k.startswith(WEIGHTS)}

    def curves(self) -> dict[str, list[float]]:
        """Return "train loss" and, with validation, "validation ndcg@10"."""
        return self._curves

    @property
    def _metric(self) -> str:
        """Name of the validation metric."""
        return "validation ndcg@10"

    @property
    def _label(self) -> str:
        """Name of the training in progress displays, logs and checkpoints."""
        return type(self).__name__.lower()

    def _width(self) -> int:
        """Return the width of the network's output, 0 if it is not known."""
        return 0

    def state(self) -> Arrays:
        """Return the weights ("weights...") and the arrays that the inputs need."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt, self._network, self._graphs, self._graph_bytes = dict(arrays), None, None, {}

    def export(self) -> dict[str, bytes]:
        """Return the methods of the network as ONNX graphs by name; large weights stay in the state.

        {} before `fit`, for an empty catalogue, and, with a warning, if onnx or onnxscript is not installed. It takes
        seconds, unless the graphs were passed to `use`.
        """
        if not len(self._learnt.get("known", ())):
            return {}
        if self._network is None and self._graph_bytes:
            return dict(self._graph_bytes)
        missing = [name for name in ("onnx", "onnxscript") if not _installed(name)]
        if missing:
            message = "%s: saved without ONNX graphs, so that scoring will need torch; %s is not installed (%s)"
            logger.warning(message, type(self).__name__, " and ".join(missing), TRAIN)
            return {}
        from pasand.training import export

        network, three = self._torch(), np.arange(3, dtype=np.int32)
        rows = three % np.int32(len(self._learnt["known"]))
        queries = Queries(
            users=three - np.int32(1),
            history=np.tile(rows, (3, 1)),
            history_time=np.zeros((3, 3), np.int64),
            history_value=np.full((3, 3), np.nan, np.float32),
            time=np.zeros(3, np.int64),
            k=1,
        )
        examples = self._trace_inputs(queries, rows)
        return {name: export.export_method(network, name, inputs) for name, inputs in examples.items()}

    def use(self, graphs: Mapping[str, bytes]) -> None:
        """Score with these graphs from `export` on ONNX Runtime; on torch if ONNX Runtime is not installed."""
        self._graph_bytes = dict(graphs)
        if graphs and _installed("onnxruntime"):
            from pasand.training.onnx_graphs import Graphs

            self._graphs, self._network = Graphs(graphs, self._weights()), None


def require_torch(cause: str, cure: str) -> None:
    """Raise InputError with this cause and cure if torch is not installed."""
    if not _installed("torch"):
        raise InputError("torch", cause=cause, cure=cure)


def _installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def _run_on_torch(network: nn.Module, method: str, inputs: Mapping[str, Array]) -> Vectors:
    import torch

    device = next(network.parameters()).device
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(np.asarray(values)).to(device) for name, values in inputs.items()}
        vectors: Vectors = getattr(network, method)(tensors).float().cpu().numpy()
    return vectors
