"""Base class of neural collaborative filtering (He et al., WWW 2017): GMF, MLP, NeuMF. Importing it needs no torch."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.features import encoding
from pasand.models.rankers.ranker import DeepRanker
from pasand.training.validation import ValidationSplit
from pasand.types import Array, Mask, Queries, Rows

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task, TrainingResult

DIMENSIONS = 32
"""Default width of the vectors."""


@dataclass(kw_only=True)
class NeuralCF(DeepRanker, ABC):
    """Scores by a network over the embeddings of the user's and the item's id; histories are not read.

    A user who was not in training gets scores only from side features, and likewise an item.
    """

    batch_size: int = 4096
    objective: Literal["positives", "ratings"] = "positives"
    """Target of the prediction: "positives" against sampled items, by cross-entropy; or "ratings", by squared error.
    Ratings are trained for all epochs without validation, since the validation split consists of positives."""
    negatives: int = 4
    """Items sampled for each positive, without the user's positives."""
    user_features: tuple[str, ...] | None = ()
    """Features of users that dense layers read as well; None: all of a kind that can be read."""
    item_features: tuple[str, ...] | None = ()
    """Features of items that dense layers read as well; None: all of a kind that can be read."""
    _paths: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    _pretrained: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _pretrained_epochs: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    paths: ClassVar[tuple[str, ...]]
    """Paths of the network: "product", "layers" or both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in ("positives", "ratings"):
            raise ValueError(f"objective must be positives or ratings, got {self.objective}")
        if self.negatives < 1:
            raise ValueError(f"negatives must be positive, got {self.negatives}")
        self._paths = self.paths
        if self.objective == "ratings":  # an attribute, so that only this objective satisfies `PredictsRatings`
            self.predict = self._predict

    def _shape(self) -> tuple[tuple[int, ...], float, float]:
        """Return the widths of the layers, their dropout rate, and the initial weight of the product path."""
        return (), 0.0, 0.5

    def _pretraining(self) -> tuple[int, float]:
        """Return the number of epochs of each path by itself, and the factor on the learning rate afterwards."""
        return 0, 1.0

    def _validation_split(self, data: Dataset, rng: Generator) -> ValidationSplit | None:
        return super()._validation_split(data, rng) if self.objective == "positives" else None

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        ratings = self.objective == "ratings"
        if ratings and (data.values != "rating" or data.value is None):
            raise InputError(data.name, cause="no ratings to learn from", cure='set objective = "positives"')
        events = data if ratings else data.positives()
        users, items = np.zeros(data.n_users, np.bool_), np.zeros(data.n_items, np.bool_)
        users[events.user], items[events.item] = True, True
        learnt: dict[str, Array] = {
            "user_code": encoding.consecutive_codes(users),
            "item_code": encoding.consecutive_codes(items),
        }
        learnt |= _learn_side("user", data.user_features, self.user_features, np.flatnonzero(users).astype(np.int32))
        features = encoding.select_features(data.item_features, self.item_features, "item_features")
        learnt |= _learn_side("item", data.item_features, self.item_features, np.flatnonzero(items).astype(np.int32))
        all_items = np.arange(data.n_items, dtype=np.int32)
        tables = {f"item.{name}": feature.take(all_items) for name, feature in features.items()}
        inputs = encoding.encode("item", learnt, {k.removeprefix("item."): v for k, v in tables.items()}, data.n_items)
        scale = [0.0, 1.0, 0.0, 1.0]
        if ratings and data.value is not None and len(data):
            known = data.value[np.isfinite(data.value)]
            scale = [float(known.mean()), float(known.std()) or 1.0, float(known.min()), float(known.max())]
        return (
            learnt
            | tables
            | {"known": items | encoding.any_known(inputs, data.n_items), "label_scale": np.array(scale, np.float32)}
        )

    def _user_inputs(self, users: Rows, features: Mapping[str, Array]) -> dict[str, Array]:
        """Return the network's inputs of users by name, (n, ...) each."""
        inputs = encoding.encode("user", self._learnt, features, len(users))
        return inputs | {"user": encoding.codes_of(users, self._learnt["user_code"])}

    def _item_inputs(self, rows: Rows) -> dict[str, Array]:
        """Return the network's inputs of items by name, (n, ...) each."""
        tables = {k.removeprefix("item."): v for k, v in self._learnt.items() if k.startswith("item.")}
        n_items = len(self._learnt["known"])
        inside = np.where((rows >= 0) & (rows < n_items), rows, 0) if n_items else rows
        inputs = encoding.encode("item", self._learnt, {k: table[inside] for k, table in tables.items()}, len(rows))
        return inputs | {"item": encoding.codes_of(rows, self._learnt["item_code"])}

    def _inputs(self, queries: Queries, items: Rows) -> dict[str, Array]:
        user_inputs = self._user_inputs(queries.users, queries.features)
        repeated = {name: np.repeat(values, items.shape[1], axis=0) for name, values in user_inputs.items()}
        return repeated | self._item_inputs(items.reshape(-1))

    def _can_score(self, queries: Queries) -> Mask:
        inputs = self._user_inputs(queries.users, queries.features)
        known: Mask = (inputs.pop("user") > 0) | encoding.any_known(inputs, len(queries))
        return known

    def _build(self) -> nn.Module:
        from pasand.layers import ncf

        users, items = (int(self._learnt[f"{side}_code"].max(initial=0)) for side in ("user", "item"))
        dimensions = self.dimensions or DIMENSIONS
        layers, dropout, alpha = self._shape()
        sides = encoding.input_sizes("user", self._learnt) | encoding.input_sizes("item", self._learnt)
        paths: dict[str, ncf.ProductPath | ncf.DensePath] = {}
        if "product" in self._paths:
            paths["product"] = ncf.ProductPath(users, items, dimensions)
        if "layers" in self._paths:
            paths["layers"] = ncf.DensePath(users, items, sides, dimensions, layers, dropout)
        network = ncf.NCF(paths)
        if self._pretrained:
            network.load_pretrained(self._pretrained, {"product": alpha, "layers": 1 - alpha})
        return network

    def _train(
        self, data: Dataset, seed: int, epochs: int, split: ValidationSplit | None, dependencies: Mapping[str, Any]
    ) -> TrainingResult:
        """Train the network; with pretraining, first each path by itself, to the epoch that validation chose for it."""
        self._pretrained = {}
        path_epochs, rate_factor = self._pretraining() if len(self._paths) > 1 else (0, 1.0)
        for path in self._paths if path_epochs else ():
            part = copy.copy(self)
            part._paths, part._pretrained = (path,), {}
            most = path_epochs if split is not None else self._pretrained_epochs.get(path, path_epochs)
            trained = NeuralCF._train(part, data, seed, most, split, dependencies)
            if split is not None:
                self._pretrained_epochs[path] = trained.best_epoch
            self._pretrained[path] = trained.weights
        if path_epochs:
            tuned = copy.copy(self)
            tuned.learning_rate = rate_factor * self.learning_rate
            result = DeepRanker._train(tuned, data, seed, epochs, split, dependencies)
            self._learnt, self._network = tuned._learnt, tuned._network
        else:
            result = super()._train(data, seed, epochs, split, dependencies)
        self._pretrained = {}
        return result

    @property
    def _label(self) -> str:
        all_paths = self._paths == self.paths
        return super()._label if all_paths else f"{super()._label} {self._paths[0]}"

    def _task(self, data: Dataset, network: nn.Module, device: torch.device) -> Task:
        from pasand.training.tasks.pointwise import PointwiseTask

        all_users = np.arange(data.n_users, dtype=np.int32)
        features = {name: feature.take(all_users) for name, feature in data.user_features.items()}
        mean, deviation = self._learnt["label_scale"][:2].tolist()
        return PointwiseTask(
            data,
            network,
            self._user_inputs(all_users, features),
            self._item_inputs(np.arange(data.n_items, dtype=np.int32)),
            batch_size=self.batch_size,
            negatives=self.negatives,
            ratings=(mean, deviation) if self.objective == "ratings" else None,
            device=device,
        )


def _learn_side(side: str, features: Features, names: tuple[str, ...] | None, rows: Rows) -> dict[str, Array]:
    return encoding.learn(side, encoding.select_features(features, names, f"{side}_features"), rows)
