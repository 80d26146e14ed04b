"""Neural collaborative filtering (He et al., WWW 2017): what its members share. Needs no torch to answer."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.features import encoding
from pasand.models.rankers.ranker import DeepRanker
from pasand.training.validation import ValidationSplit
from pasand.types import Array, Mask, Queries, Rows, Scores

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pasand.training.loop import Task, Trained

DIMENSIONS = 32


@dataclass(kw_only=True)
class NeuralCF(DeepRanker, ABC):
    """Scores by a network over the vectors of the user's and the item's id; histories are not read.

    A user who was not in training is answered only by side features, and an item likewise.
    """

    batch_size: int = 4096
    objective: Literal["likings", "ratings"] = "likings"
    """What is foreseen: likings against drawn items, by cross-entropy; or ratings, by squared error, for all epochs
    without validation, since what is withheld are likings."""
    negatives: int = 4
    """Items drawn for each liking."""
    user_features: tuple[str, ...] | None = ()
    """Features of users that dense layers read besides; None: all that can be."""
    item_features: tuple[str, ...] | None = ()
    """Features of items that dense layers read besides; None: all that can be."""
    _paths: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    _begin: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _epochs: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    paths: ClassVar[tuple[str, ...]]
    """"product", "layers" or both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in ("likings", "ratings"):
            raise ValueError(f"objective must be likings or ratings, got {self.objective}")
        if self.negatives < 1:
            raise ValueError(f"negatives must be positive, got {self.negatives}")
        self._paths = self.paths
        if self.objective == "ratings":
            self.predict = self._predict  # so that a model of likings does not pass for one of ratings

    def _shape(self) -> tuple[tuple[int, ...], float, float]:
        """Return widths of the layers, share of their units left out, and weight of the product at the start."""
        return (), 0.0, 0.5

    def _pretraining(self) -> tuple[int, float]:
        """Return for how many epochs each path is trained alone before, and how much slower both learn then."""
        return 0, 1.0

    def _validation_split(self, data: Dataset, rng: Generator) -> ValidationSplit | None:
        return super()._validation_split(data, rng) if self.objective == "likings" else None

    def _prepare(self, data: Dataset) -> dict[str, Array]:
        ratings = self.objective == "ratings"
        if ratings and (data.values != "rating" or data.value is None):
            raise InputError(data.name, cause="no ratings to learn from", cure='set objective = "likings"')
        events = data if ratings else data.positives()
        users, items = np.zeros(data.n_users, np.bool_), np.zeros(data.n_items, np.bool_)
        users[events.user], items[events.item] = True, True
        learnt: dict[str, Array] = {"user_code": encoding.numbered(users), "item_code": encoding.numbered(items)}
        learnt |= self._side("user", data.user_features, self.user_features, np.flatnonzero(users).astype(np.int32))
        features = encoding.chosen(data.item_features, self.item_features, "item_features")
        learnt |= self._side("item", data.item_features, self.item_features, np.flatnonzero(items).astype(np.int32))
        everything = np.arange(data.n_items, dtype=np.int32)
        tables = {f"item.{name}": feature.take(everything) for name, feature in features.items()}
        told = encoding.read("item", learnt, {k.removeprefix("item."): v for k, v in tables.items()}, data.n_items)
        scale = [0.0, 1.0, 0.0, 1.0]
        if ratings and data.value is not None and len(data):
            known = data.value[np.isfinite(data.value)]
            scale = [float(known.mean()), float(known.std()) or 1.0, float(known.min()), float(known.max())]
        return (
            learnt
            | tables
            | {"known": items | encoding.anything(told, data.n_items), "scale": np.array(scale, np.float32)}
        )

    def _side(self, side: str, features: Any, names: tuple[str, ...] | None, rows: Rows) -> dict[str, Array]:
        return encoding.learn(side, encoding.chosen(features, names, f"{side}_features"), rows)

    def _of_users(self, users: Rows, features: Mapping[str, Array]) -> dict[str, Array]:
        told = encoding.read("user", self._learnt, features, len(users))
        return told | {"user": encoding.codes_of(users, self._learnt["user_code"])}

    def _of_items(self, rows: Rows) -> dict[str, Array]:
        tables = {k.removeprefix("item."): v for k, v in self._learnt.items() if k.startswith("item.")}
        n_items = len(self._learnt["known"])
        inside = np.where((rows >= 0) & (rows < n_items), rows, 0) if n_items else rows
        told = encoding.read("item", self._learnt, {k: table[inside] for k, table in tables.items()}, len(rows))
        return told | {"item": encoding.codes_of(rows, self._learnt["item_code"])}

    def _inputs(self, queries: Queries, items: Rows) -> dict[str, Array]:
        of_users = self._of_users(queries.users, queries.features)
        told = {name: np.repeat(values, items.shape[1], axis=0) for name, values in of_users.items()}
        return told | self._of_items(items.reshape(-1))

    def _answerable(self, queries: Queries) -> Mask:
        told = self._of_users(queries.users, queries.features)
        known: Mask = (told.pop("user") > 0) | encoding.anything(told, len(queries))
        return known

    def _build(self) -> nn.Module:
        from pasand.layers import ncf

        users, items = (int(self._learnt[f"{side}_code"].max(initial=0)) for side in ("user", "item"))
        wide = self.dimensions or DIMENSIONS
        layers, dropout, alpha = self._shape()
        sides = encoding.parts("user", self._learnt) | encoding.parts("item", self._learnt)
        built: dict[str, ncf.Product | ncf.Layers] = {}
        if "product" in self._paths:
            built["product"] = ncf.Product(users, items, wide)
        if "layers" in self._paths:
            built["layers"] = ncf.Layers(users, items, sides, wide, layers, dropout)
        network = ncf.NCF(built)
        if self._begin:
            network.begin(self._begin, {"product": alpha, "layers": 1 - alpha})
        return network

    def _train(
        self, data: Dataset, seed: int, epochs: int, held: ValidationSplit | None, depends: Mapping[str, Any]
    ) -> Trained:
        """Train; with pretraining, each path by itself before, to the epoch that validation chose for it."""
        self._begin = {}
        alone, slower = self._pretraining() if len(self._paths) > 1 else (0, 1.0)
        for path in self._paths if alone else ():
            part = copy.copy(self)
            part._paths, part._begin = (path,), {}
            most = alone if held is not None else self._epochs.get(path, alone)
            trained = NeuralCF._train(part, data, seed, most, held, depends)
            if held is not None:
                self._epochs[path] = trained.best_epoch
            self._begin[path] = trained.weights
        if alone:
            tuned = copy.copy(self)
            tuned.learning_rate = slower * self.learning_rate
            found = DeepRanker._train(tuned, data, seed, epochs, held, depends)
            self._learnt, self._network = tuned._learnt, tuned._network
        else:
            found = super()._train(data, seed, epochs, held, depends)
        self._begin = {}
        return found

    @property
    def _label(self) -> str:
        whole = self._paths == self.paths
        return super()._label if whole else f"{super()._label} {self._paths[0]}"

    def _task(self, data: Dataset, network: nn.Module, where: torch.device) -> Task:
        from pasand.training.tasks.pointwise import Pointwise

        everyone = np.arange(data.n_users, dtype=np.int32)
        features = {name: feature.take(everyone) for name, feature in data.user_features.items()}
        mean, deviation = self._learnt["scale"][:2].tolist()
        return Pointwise(
            data,
            network,
            self._of_users(everyone, features),
            self._of_items(np.arange(data.n_items, dtype=np.int32)),
            batch_size=self.batch_size,
            negatives=self.negatives,
            ratings=(mean, deviation) if self.objective == "ratings" else None,
            where=where,
        )

    def _predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings within the scale, the mean rating where the model knows user or item not at all."""
        mean, deviation, low, high = self._learnt["scale"].tolist()
        scores = self.score(queries, items)
        rated: Scores = np.clip(mean + deviation * np.where(np.isfinite(scores), scores, 0), low, high)
        return rated.astype(np.float32)
