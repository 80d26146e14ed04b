"""Feature augmentation: the item embeddings of one model become an item feature of another model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.contracts import AddsItems, EmbedsItems, Model
from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.types import Arrays, Queries, Rows, Scores, Vectors


@dataclass(kw_only=True)
class Augmented:
    """Returns the scores of `model`, which is trained on item features that include the item vectors of `source`.

    This is the feature-augmentation hybrid of Burke, User Modeling and User-Adapted Interaction 12, 2002. It gives
    content to a collaborative model (words of texts, which towers cannot read), or factors to a feature-based model.
    Both models are fitted here, the source first, and no other component may fit them; later components may use them.
    The vector of an item is unknown if it is all 0 or the source does not accept the item.
    """

    model: Model
    """Trained model; it reads item features of kind vector."""
    source: EmbedsItems
    """Model whose item vectors become the feature."""
    name: str = "source"
    """Name of the feature; the dataset must not have an item feature of this name."""
    _learnt: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def owned(self) -> tuple[object, ...]:
        """The source and the model."""
        return self.source, self.model

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Fit the source, then the model; raises InputError if the source has no vectors or the name is in use."""
        if self.name in data.item_features:
            cure = "give this hybrid another `name`"
            raise InputError(data.name, column=self.name, cause="the items have a feature of that name", cure=cure)
        self.source.fit(data, rng=rng.spawn(1)[0])
        vectors = self._vectors(np.arange(data.n_items, dtype=np.int32))
        if not vectors.shape[1]:
            cure = "set its `dimensions`"
            raise InputError(type(self.source).__name__, cause="its item vectors have no dimensions", cure=cure)
        features = {**data.item_features, self.name: Feature(kind="vector", values=vectors)}
        self.model.fit(replace(data, item_features=features), rng=rng)
        self._learnt = {"n_items": np.array([data.n_items])}
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores."""
        return self.model.score(queries, items)

    def add_items(self, features: Features) -> None:
        """Append items to the source and then, with their vectors, to the model, if these accept new items."""
        n_items = int(self._learnt["n_items"][0])
        n_new = max(map(len, features.values()), default=0)
        if isinstance(self.source, AddsItems):
            self.source.add_items(features)
        if isinstance(self.model, AddsItems):
            vectors = self._vectors(np.arange(n_items, n_items + n_new, dtype=np.int32))
            self.model.add_items({**features, self.name: Feature(kind="vector", values=vectors)})
        self._learnt["n_items"] = np.array([n_items + n_new])

    def state(self) -> Arrays:
        """Return the number of items; model and source have states of their own."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"n_items": Entry("int64", "1", lowest=0)})
        self._learnt = dict(arrays)

    def _vectors(self, rows: Rows) -> Vectors:
        """Return the source's vectors of items, nan where unknown; (n,) -> (n, D)."""
        vectors = self.source.embed_items(rows).astype(np.float32)
        vectors[~vectors.any(axis=1)] = np.nan
        return vectors
