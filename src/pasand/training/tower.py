"""What every deep tower model shares: hyper-parameters of training, fitting, scoring, state. Needs no torch to answer.

A model file inherits `DeepTower` and supplies the inputs of its towers, its network and its task. The towers run on
torch after `fit`, and on ONNX Runtime in a bundle that carries their graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.training.withheld import Withheld, latest
from pasand.types import Array, Arrays, Mask, Queries, Rows, Scores, Vectors

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.deep import Task, Trained

CHUNK = 4096
"""Queries or items embedded at once."""


@dataclass(kw_only=True)
class DeepTower(ABC):
    """Scores an item by the inner product of its vector with the query's; both come out of networks."""

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
    bf16: bool = False
    """Whether products are computed in bfloat16: faster on new processors, and less exact."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _curves: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _network: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.dimensions is not None and self.dimensions < 1:
            raise ValueError(f"dimensions must be positive, got {self.dimensions}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
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
    def _inputs(self, queries: Queries) -> dict[str, Array]:
        """Return what the query tower reads: int64 codes and float32 numbers, (B, ...) each; no dict is empty."""

    @abstractmethod
    def _answerable(self, queries: Queries) -> Mask:
        """Return which queries hold what the model needs, (B,)."""

    @abstractmethod
    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        """Return what the item tower reads of catalogue rows: (n, ...) each."""

    @abstractmethod
    def _build(self) -> nn.Module:
        """Return the network for `_learnt`, with methods `query` and `item`: inputs by name -> (B, D), (n, D)."""

    @abstractmethod
    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        """Return what `deep.train` trains: the network, the batches of the data's likings, the loss."""

    # what a model gets

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Train the towers; raises InputError for a device that is not there and for a loss that is not finite."""
        first = latest(data, rng) if self.patience else None
        seed = int(rng.integers(2**62))
        self._curves = {}
        if first is not None:
            trained = self._train(first.train, seed, self.epochs, first)
            self._curves = trained.curves
            if self.refit:
                trained = self._train(data, seed, trained.best_epoch, None)
        else:
            trained = self._train(data, seed, self.epochs, None)
            self._curves = trained.curves
        weights = {f"weights.{name}": values.float().numpy() for name, values in trained.weights.items()}
        self._learnt |= weights
        self._learnt["items"] = self._embed_all(len(self._learnt["known"]))
        return self

    def _train(self, data: Dataset, seed: int, epochs: int, validation: Withheld | None) -> Trained:
        import torch

        from pasand.training import deep

        where = deep.device_of(self.device)
        self._learnt = self._prepare(data)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = self._build().to(where)
            self._network = network
            settings = deep.Settings(
                epochs=epochs,
                learning_rate=self.learning_rate,
                l2=self.l2,
                patience=self.patience if validation is not None else 0,
                bf16=self.bf16,
            )
            task = self._task(data, network, where)
            validate = None if validation is None else lambda: self._ndcg(validation)
            trained = deep.train(
                task, settings, seed=seed, device=where, validate=validate, label=type(self).__name__.lower()
            )
        network.to("cpu")
        trained.weights = {name: values.cpu() for name, values in trained.weights.items()}
        return trained

    def _ndcg(self, held: Withheld) -> float:
        """Return the mean NDCG@10 of the withheld likings, one a query, over the whole catalogue without history."""
        items = self._embed_all(len(self._learnt["known"]))
        total = 0.0
        for at in range(0, len(held.query), CHUNK // 4):
            which = slice(at, at + CHUNK // 4)
            queries = held.queries.take(held.query[which])
            scores = self._run("query", self._inputs(queries)) @ items.T
            rows = np.arange(len(scores))
            target = scores[rows, held.item[which]]
            b, j = np.nonzero(queries.history >= 0)
            scores[b, queries.history[b, j]] = -np.inf
            rank = (scores > target[:, None]).sum(axis=1)
            total += float((1 / np.log2(rank[rank < 10] + 2)).sum())
        return total / len(held.query)

    def _run(self, tower: str, inputs: Mapping[str, Array]) -> Vectors:
        """Return what a tower ("query", "item") makes of its inputs, (B, D) float32."""
        import torch

        if self._network is None:
            self._network = self._build()
            prefix = "weights."
            weights = {k[len(prefix) :]: torch.tensor(v) for k, v in self._learnt.items() if k.startswith(prefix)}
            self._network.load_state_dict(weights)
            self._network.eval()
        where = next(self._network.parameters()).device
        whole = len(next(iter(inputs.values())))
        parts = []
        with torch.inference_mode():
            for at in range(0, whole, CHUNK):
                tensors = {name: torch.from_numpy(v[at : at + CHUNK]).to(where) for name, v in inputs.items()}
                parts.append(getattr(self._network, tower)(tensors).float().cpu().numpy())
        vectors: Vectors = np.concatenate(parts) if parts else np.zeros((0, self._width()), np.float32)
        return vectors

    def _width(self) -> int:
        return int(self._learnt["items"].shape[1]) if "items" in self._learnt else 0

    def _embed_all(self, n_items: int) -> Vectors:
        vectors = self._run("item", self._item_inputs(np.arange(n_items, dtype=np.int32)))
        vectors[~self._learnt["known"]] = 0
        return vectors

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return inner products; -inf where the query lacks what the model needs."""
        vectors, table = self.embed_queries(queries), self._learnt["items"]
        if items is None:
            out: Scores = vectors @ table.T
        else:
            out = np.einsum("bd,bkd->bk", vectors, self.embed_items(items))
            out[items < 0] = -np.inf
        out[~self._answerable(queries)] = -np.inf
        return out

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the queries' vectors; 0 where the query lacks what the model needs."""
        vectors = self._run("query", self._inputs(queries))
        vectors[~self._answerable(queries)] = 0
        return vectors

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' vectors; 0 at row -1 and for items that the model knows nothing of."""
        table = self._learnt["items"]
        if not len(table):
            return np.zeros((*items.shape, table.shape[1]), np.float32)
        vectors: Vectors = np.where((items >= 0)[..., None], table[items], np.float32(0))
        return vectors

    def curves(self) -> dict[str, list[float]]:
        """Return "train loss" and, where there was a validation, "validation ndcg@10"."""
        return self._curves

    def state(self) -> Arrays:
        """Return the weights ("weights..."), the item vectors ("items") and what the inputs need."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt, self._network = dict(arrays), None
