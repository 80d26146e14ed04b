"""Augmenting: what one model knows of the items becomes a feature that another model reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.contracts import AddsItems, EmbedsItems, Model
from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features
from pasand.errors import InputError
from pasand.types import Arrays, Queries, Rows, Scores, Vectors


@dataclass(kw_only=True)
class Augmented:
    """Scores as `model`, which is trained on the items' features and on the vectors that `source` has of the items.

    The feature-augmentation hybrid of Burke, User Modeling and User-Adapted Interaction 12, 2002: content for a model
    of behaviour (the words of the texts, which towers cannot read), or factors for a model of features. Both are
    fitted here, the source first, and belong to nobody else; others may ask them, after this one is fitted. Of an item
    whose vector is all 0, or that the source does not take, the vector is not known.
    """

    model: Model
    """Reads features of items of kind vector."""
    source: EmbedsItems
    name: str = "source"
    """The feature's name, which the data must not have."""
    _learnt: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def owned(self) -> tuple[object, ...]:
        """The source and the model."""
        return self.source, self.model

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Fit the source, and then the model; raises InputError where there is no vector, or the name is taken."""
        if self.name in data.item_features:
            cure = "give this hybrid another `name`"
            raise InputError(data.name, column=self.name, cause="the items have a feature of that name", cure=cure)
        self.source.fit(data, rng=rng.spawn(1)[0])
        vectors = self._vectors(np.arange(data.n_items, dtype=np.int32))
        if not vectors.shape[1]:
            cure = "set its `dimensions`"
            raise InputError(type(self.source).__name__, cause="its vectors of items have no width", cure=cure)
        features = {**data.item_features, self.name: Feature(kind="vector", values=vectors)}
        self.model.fit(replace(data, item_features=features), rng=rng)
        self._learnt = {"n_items": np.array([data.n_items])}
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores."""
        return self.model.score(queries, items)

    def add_items(self, features: Features) -> None:
        """Append items to the source, and then, with its vectors of them, to the model; each as far as it takes any."""
        known = int(self._learnt["n_items"][0])
        more = max(map(len, features.values()), default=0)
        if isinstance(self.source, AddsItems):
            self.source.add_items(features)
        if isinstance(self.model, AddsItems):
            vectors = self._vectors(np.arange(known, known + more, dtype=np.int32))
            self.model.add_items({**features, self.name: Feature(kind="vector", values=vectors)})
        self._learnt["n_items"] = np.array([known + more])

    def state(self) -> Arrays:
        """Return the number of items; model and source keep their own."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt = dict(arrays)

    def _vectors(self, rows: Rows) -> Vectors:
        vectors = self.source.embed_items(rows).astype(np.float32)
        vectors[~vectors.any(axis=1)] = np.nan
        return vectors
