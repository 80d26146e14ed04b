"""Query vectors of users without a history: the mean of the vectors of users with the same features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.contracts import Explains, Reason, TowerModel
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Mask, Queries, Rows, Scores, Vectors

MAX_SEGMENTS = 100
"""Categories of a user feature from which on it is no segment unless it is named."""
CHUNK = 1024
"""Users whose vectors are computed at a time."""


@dataclass(kw_only=True)
class SegmentVectors:
    """Scores as `model`; a query that it cannot embed gets a vector by the user's features, such as city tier and age.

    The vector is the mean of the vectors of all users, plus for each feature the mean of the users of the category less
    that of all, shrunk towards 0 by `shrinkage` users: main effects of each feature, as in an analysis of variance. A
    query of which no feature is known has no vector, and a `Fallback` turns to its next retriever. From the first event
    that the model can read, the vector is the model's.
    """

    model: TowerModel
    """Model with vectors, such as iALS or a tower; it is fitted here, and no other component may fit it."""
    segments: Sequence[str] | None = None
    """Categorical or bag features of users; None: all with at most `MAX_SEGMENTS` categories."""
    shrinkage: float = 20.0
    """Number of users at which a category's own mean weighs as much as the mean of all."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage < np.inf:
            raise ValueError(f"shrinkage must be positive and finite, got {self.shrinkage}")
        if self.segments is not None and len(set(self.segments)) < len(self.segments):
            raise ValueError(f"segments must be different user features, got {list(self.segments)}")

    @property
    def owned(self) -> tuple[object, ...]:
        """The model."""
        return (self.model,)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Fit the model, and average the vectors of the users with positives.

        Raises InputError for a segment that users do not have, and where no user has a feature of categories.
        """
        self.model.fit(data, rng=rng)
        names = self._names(data)
        users = np.unique(data.user[data.is_positive]).astype(np.int32)
        parts = [
            self.model.embed_queries(data.queries(users[at : at + CHUNK], k=1)) for at in range(0, len(users), CHUNK)
        ]
        width = self.model.embed_items(np.zeros(0, np.int32)).shape[-1]
        vectors = np.concatenate([np.zeros((0, width), np.float32), *parts]).astype(np.float64)
        known = vectors.any(axis=1)
        users, vectors = users[known], vectors[known]
        mean = vectors.mean(axis=0) if len(vectors) else np.zeros(width)
        self._learnt = {"mean": mean.astype(np.float32)}
        for name in names:
            feature = data.user_features[name]
            row, code = feature.select(users).members()
            total = np.zeros((len(feature.names), width))
            np.add.at(total, code, vectors[row] - mean)
            count = np.bincount(code, minlength=len(feature.names))
            self._learnt[f"effect.{name}"] = (total / (count + self.shrinkage)[:, None]).astype(np.float32)
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the model's scores, and inner products with the segment's vector for queries that it cannot score."""
        scores = self.model.score(queries, items)
        missing = np.flatnonzero(~np.isfinite(scores).any(axis=1))
        if not len(missing):
            return scores
        vectors, has_segment = self._of_segments(queries.features, missing)
        rows = np.arange(scores.shape[1], dtype=np.int32)[None] if items is None else items[missing]
        table = self.model.embed_items(rows)
        products = vectors @ table[0].T if items is None else np.einsum("bd,bkd->bk", vectors, table)
        found = has_segment[:, None] & table.any(axis=-1)
        scores = scores.copy()
        scores[missing] = np.where(found, products, np.float32(-np.inf))
        return scores

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the model's vectors, and those of the segments where it has none; 0 where no feature is known."""
        vectors = self.model.embed_queries(queries)
        missing = np.flatnonzero(~vectors.any(axis=1))
        if len(missing):
            vectors = vectors.copy()
            vectors[missing] = self._of_segments(queries.features, missing)[0]
        return vectors

    def embed_items(self, items: Rows) -> Vectors:
        """Return the model's vectors of items."""
        return self.model.embed_items(items)

    def add_items(self, features: Features) -> None:
        """Add items to the model, where it accepts new ones."""
        if hasattr(self.model, "add_items"):
            self.model.add_items(features)

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the model's reasons; none where it does not explain its scores."""
        if isinstance(self.model, Explains):
            return self.model.reasons(queries, items)
        return [[[] for _ in row] for row in items]

    def state(self) -> Arrays:
        """Return "mean" (D,) and "effect.FEATURE" (categories, D); the model has a state of its own."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"mean": Entry("float32", "D"), "effect.*": Entry("float32", "* D")})
        self._learnt = dict(arrays)

    def _names(self, data: Dataset) -> list[str]:
        usable = [name for name, one in data.user_features.items() if one.kind in ("categorical", "bag")]
        small = [name for name in usable if len(data.user_features[name].names) <= MAX_SEGMENTS]
        names = sorted(small) if self.segments is None else list(self.segments)
        if wrong := [name for name in names if name not in usable] or ([] if names else [""]):
            cure = f"use some of: {', '.join(usable)}" if usable else "give users a column of categories (--users)"
            cause = "segments need a categorical or bag feature of users"
            raise InputError(data.name, value=wrong[0] or None, cause=cause, cure=cure)
        return names

    def _of_segments(self, features: Mapping[str, Array], rows: Array) -> tuple[Vectors, Mask]:
        """Return the vectors of the segments of some queries, (n, D), 0 for none, and which have one, (n,)."""
        mean = self._learnt["mean"]
        vectors, found = np.tile(mean.astype(np.float64), (len(rows), 1)), np.zeros(len(rows), np.bool_)
        for key, effects in self._learnt.items():
            values = features.get(key.removeprefix("effect."))
            if not key.startswith("effect.") or values is None or not len(effects):
                continue
            codes = np.asarray(values)[rows].reshape(len(rows), -1)
            inside = (codes >= 0) & (codes < len(effects))
            count = inside.sum(axis=1)
            total = (effects[np.where(inside, codes, 0)] * inside[..., None]).sum(axis=1)
            vectors += total / np.maximum(count, 1)[:, None]
            found |= count > 0
        vectors[~found] = 0
        return vectors.astype(np.float32), found
