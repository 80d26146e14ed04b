"""What every deep model shares: hyper-parameters of training, fitting, state, graphs. Needs no torch to answer.

`tower` and `ranker` build on it: what can be searched by an index, and what scores each pair of query and item. A
network runs on torch after `fit`, and on ONNX Runtime in a bundle that carries its graphs.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.training import checkpoints
from pasand.training.validation import ValidationSplit, latest
from pasand.types import Array, Arrays, Queries, Rows, Vectors

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task, Trained

logger = logging.getLogger(__name__)

CHUNK = 4096
"""Examples that a network is given at once."""
WEIGHTS = "weights."
"""How the names of learnt arrays begin that are the network's."""
TRAIN, SERVE = "pip install 'pasand[train]'", "pip install 'pasand[serve]'"


@dataclass(kw_only=True)
class DeepModel(ABC):
    """A model whose answers come out of a network that `loop.train` trains."""

    dimensions: int | None = None
    """Width of the vectors; None: what the number of items can carry (see `width`)."""
    epochs: int = 50
    """Number of passes over the data, the most where validation stops earlier."""
    batch_size: int = 1024
    """Examples in a step."""
    learning_rate: float = 1e-3
    """Step of Adam, once warm."""
    l2: float = 0.0
    """Decay of the weights, decoupled from the gradient (AdamW)."""
    patience: int = 5
    """Epochs without a better validation NDCG@10 after which training stops; 0: all epochs, no validation."""
    refit: bool = True
    """Whether, once validation has chosen the number of epochs, training starts anew on all events."""
    device: str = "auto"
    """Where to train: "cpu", "cuda", "cuda:1", "mps"; "auto": the fastest that is there."""
    averaging: float = 0.0
    """Weight of the past in a moving average of the weights over steps, which takes their place; below 1, 0: none."""
    bf16: bool = False
    """Whether products are computed in bfloat16: faster on new processors, and less exact."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _curves: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _network: Any = field(default=None, init=False, repr=False, compare=False)
    _graphs: Any = field(default=None, init=False, repr=False, compare=False)
    _given: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

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

    # what a model supplies

    @abstractmethod
    def _prepare(self, data: Dataset) -> dict[str, Array]:
        """Return what the inputs and the network need to know of the data: sizes, tables of features, scales.

        It becomes part of `_learnt`, and must hold "known", (N,): the items whose vectors mean something.
        """

    @abstractmethod
    def _build(self) -> nn.Module:
        """Return the network for `_learnt`, with methods `query` and `item`: inputs by name -> (B, D), (n, D)."""

    @abstractmethod
    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        """Return what `loop.train` trains: the network, the batches of the data's likings, the loss."""

    @abstractmethod
    def _validation(self, held: ValidationSplit) -> Callable[[], float]:
        """Return what computes a metric of withheld likings, the higher the better."""

    def _validation_split(self, data: Dataset, rng: Generator) -> ValidationSplit | None:
        """Return what is withheld to choose the number of epochs by; None: nothing can be."""
        return latest(data, rng)

    def _finish(self) -> None:  # noqa: B027
        """Bring `_learnt` to completion after the training."""

    @abstractmethod
    def _examples(self, example: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        """Return inputs of each method of the network that answers, by name, for 3 queries and 3 items, to trace it."""

    # what a model gets

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Train the network; inside `checkpoints.keeping`, go on from where an earlier fit was interrupted.

        The number of epochs is chosen by the latest likings (`withheld.latest`); with `refit`, training then starts
        anew on all events for so many epochs, so that each event is seen as often. Raises InputError for a device that
        is not there, for a loss that is not finite, and for checkpoints of another training.
        """
        torch_for("training needs torch", TRAIN)
        held = self._validation_split(data, rng) if self.patience else None
        seed = int(rng.integers(2**62))
        depends = checkpoints.depends(self, data, seed)
        trained = self._train(data if held is None else held.train, seed, self.epochs, held, depends)
        self._curves = trained.curves
        if held is not None and self.refit:
            trained = self._train(data, seed, trained.best_epoch, None, depends)
        self._learnt |= {WEIGHTS + name: values.float().numpy() for name, values in trained.weights.items()}
        self._finish()
        return self

    def _train(
        self, data: Dataset, seed: int, epochs: int, held: ValidationSplit | None, depends: Mapping[str, Any]
    ) -> Trained:
        """Train a new network, which stops when it gets worse at what is withheld."""
        import torch

        from pasand.training import loop

        where, label = loop.device_of(self.device), self._label
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
        with torch.random.fork_rng([where] if where.type == "cuda" else []):
            torch.manual_seed(seed)
            self._network = self._build().to(where)
            trained = loop.train(
                self._task(data, self._network, where),
                settings,
                seed=seed,
                device=where,
                validate=None if held is None else self._validation(held),
                label=f"{label}, all events" if held is None and self.patience else label,
                checkpoint=checkpoints.checkpoint(label, {**depends, "events": len(data), "epochs": epochs}),
            )
        self._network.to("cpu")
        trained.weights = {name: values.cpu() for name, values in trained.weights.items()}
        return trained

    def _run(self, tower: str, inputs: Mapping[str, Array]) -> Vectors:
        """Return what a tower ("query", "item") makes of its inputs, (B, D) float32.

        Raises InputError where nothing is installed that could run it.
        """
        run = partial(self._graphs.run, tower) if self._graphs is not None and self._network is None else None
        run = run or partial(_on_torch, self._torch(), tower)
        whole = len(next(iter(inputs.values())))
        parts = [run({k: v[at : at + CHUNK] for k, v in inputs.items()}) for at in range(0, whole, CHUNK)]
        vectors: Vectors = np.concatenate(parts) if parts else np.zeros((0, self._width()), np.float32)
        return vectors

    def _torch(self) -> nn.Module:
        """Return the network with the learnt weights, ready to answer."""
        if self._network is None:
            torch_for("answering needs onnxruntime or torch, and neither is installed", SERVE)
            import torch

            network = self._build()
            network.load_state_dict({name: torch.tensor(values) for name, values in self._weights().items()})
            self._network = network.eval()
        found: nn.Module = self._network
        return found

    def _weights(self) -> dict[str, Array]:
        """Return the learnt weights under the names that the network gives them."""
        return {k[len(WEIGHTS) :]: values for k, values in self._learnt.items() if k.startswith(WEIGHTS)}

    def curves(self) -> dict[str, list[float]]:
        """Return "train loss" and, where there was a validation, "validation ndcg@10"."""
        return self._curves

    @property
    def _metric(self) -> str:
        """What the validation computes."""
        return "validation ndcg@10"

    @property
    def _label(self) -> str:
        """What its trainings are called in progress, logs and checkpoints."""
        return type(self).__name__.lower()

    def _width(self) -> int:
        """Return the width of what the network gives, where there is one."""
        return 0

    def state(self) -> Arrays:
        """Return the weights ("weights...") and what the inputs need."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt, self._network, self._graphs, self._given = dict(arrays), None, None, {}

    def export(self) -> dict[str, bytes]:
        """Return the methods of the network that answer as ONNX graphs, which take their large weights from the state.

        {} before `fit`, for an empty catalogue, and, with a warning, where onnx or onnxscript is not installed. Takes
        seconds, except where the graphs were given by `use`.
        """
        if not len(self._learnt.get("known", ())):
            return {}
        if self._network is None and self._given:
            return dict(self._given)
        missing = [name for name in ("onnx", "onnxscript") if not _installed(name)]
        if missing:
            told = "%s: saved without ONNX graphs, so that answering will need torch; %s is not installed (%s)"
            logger.warning(told, type(self).__name__, " and ".join(missing), TRAIN)
            return {}
        from pasand.training import export

        network, three = self._torch(), np.arange(3, dtype=np.int32)
        rows = three % np.int32(len(self._learnt["known"]))
        example = Queries(
            users=three - np.int32(1),
            history=np.tile(rows, (3, 1)),
            history_time=np.zeros((3, 3), np.int64),
            history_value=np.full((3, 3), np.nan, np.float32),
            time=np.zeros(3, np.int64),
            k=1,
        )
        return {name: export.graph(network, name, told) for name, told in self._examples(example, rows).items()}

    def use(self, graphs: Mapping[str, bytes]) -> None:
        """Answer on ONNX Runtime from graphs that `export` gave; on torch where ONNX Runtime is not installed."""
        self._given = dict(graphs)
        if graphs and _installed("onnxruntime"):
            from pasand.training.onnx_graphs import Graphs

            self._graphs, self._network = Graphs(graphs, self._weights()), None


def torch_for(cause: str, cure: str) -> None:
    """Raise InputError, saying what needs torch and how to get it, where torch is not installed."""
    if not _installed("torch"):
        raise InputError("torch", cause=cause, cure=cure)


def _installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def _on_torch(network: nn.Module, tower: str, inputs: Mapping[str, Array]) -> Vectors:
    import torch

    where = next(network.parameters()).device
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(np.asarray(values)).to(where) for name, values in inputs.items()}
        vectors: Vectors = getattr(network, tower)(tensors).float().cpu().numpy()
    return vectors
