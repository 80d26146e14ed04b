"""Filters: exclude items or allow only some, before retrieval, so that lists stay full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.stages.retrieval import excluding
from pasand.types import Arrays, Queries, Rows


@dataclass(frozen=True)
class DropSeen:
    """Excludes every item that the user has seen, whether positive or not: of the history, and of `seen`."""

    def __call__(self, queries: Queries) -> Queries:
        without = excluding(queries, queries.history)
        return without if queries.seen is None else excluding(without, queries.seen)


@dataclass
class Deny:
    """Excludes the listed items from every list."""

    ids: Sequence[str]
    """External ids; each must be in the catalogue of the fitted dataset."""

    def __post_init__(self) -> None:
        self._rows = np.empty(0, np.int32)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up the ids; raises InputError for an id that is not in the catalogue."""
        self._rows = _rows(self, data, self.ids)
        return self

    def __call__(self, queries: Queries) -> Queries:
        return excluding(queries, np.broadcast_to(self._rows, (len(queries), len(self._rows))))

    def state(self) -> Arrays:
        """Return the denied rows."""
        return {"rows": self._rows}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"rows": Entry("int32", "*", lowest=0)})
        self._rows = arrays["rows"]


@dataclass
class Allow:
    """Allows only the listed items; lists are short where fewer than k of them are unseen."""

    ids: Sequence[str]
    """External ids; each must be in the catalogue of the fitted dataset."""

    def __post_init__(self) -> None:
        self._allowed = np.empty(0, np.bool_)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up the ids; raises InputError for an id that is not in the catalogue."""
        self._allowed = np.zeros(data.n_items, np.bool_)
        self._allowed[_rows(self, data, self.ids)] = True
        return self

    def __call__(self, queries: Queries) -> Queries:
        allowed = self._allowed[None, :]
        if queries.allowed is not None:  # rows at or beyond the width of either are not allowed
            width = min(allowed.shape[1], queries.allowed.shape[1])
            allowed = allowed[:, :width] & queries.allowed[:, :width]
        return replace(queries, allowed=allowed)

    def state(self) -> Arrays:
        """Return the (N,) mask of allowed rows."""
        return {"allowed": self._allowed}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"allowed": Entry("bool", "N")})
        self._allowed = arrays["allowed"]


def _rows(component: object, data: Dataset, ids: Sequence[str]) -> Rows:
    rows = data.items.rows(ids)
    if (rows < 0).any():
        unknown = next(item for item, row in zip(ids, rows, strict=True) if row < 0)
        raise InputError(
            type(component).__name__, value=unknown, cause="not an item of the dataset", cure="list ids of the log only"
        )
    return rows
