"""`Attributes`: the categories of each item as shares, and how much of each a user's own history holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Offsets, Queries, Rows, within

logger = logging.getLogger(__name__)

Values = NDArray[np.float64]

LAYOUT = {
    "codes": Entry("int32", "T", lowest=0, below="C"),
    "share": Entry("float64", "T", lowest=0),
    "start": Entry("int64", "N+1", rises_to="T"),
    "population": Entry("float64", "C", lowest=0),
    "positive_from": Entry("number", infinite=True),
}


@dataclass
class Attributes:
    """The distributions of items and users over the categories of item features; C categories of all features.

    An item with m categories of a feature has a share of 1 / m in each, so that its shares of a feature sum to 1. An
    item without a value has none: it takes a slot of a list and adds nothing to any category.
    """

    names: Sequence[str]
    """Item features, of kind categorical or bag."""
    shrinkage: float = 5.0
    """Number of positive events, with the distribution of all users, that are added to each history; 0: none."""

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"names must be one or more different item features, got {list(self.names)}")
        if not 0 <= self.shrinkage < np.inf:
            raise ValueError(f"shrinkage must be at least 0 and finite, got {self.shrinkage}")
        self.codes: Rows = np.empty(0, np.int32)
        self.share: Values = np.empty(0)
        self.start: Offsets = np.zeros(1, np.int64)
        self.population: Values = np.empty(0)
        self._first: Offsets = np.zeros(1, np.int64)
        self._positive_from = -np.inf

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up the categories of the items, and the distribution of the positive events of all users.

        Raises InputError, by name, for a feature that items do not have, and for one that is not of categories. A
        warning counts the items without a value.
        """
        for name in self.names:
            where, known = f"{data.name}, calibration", data.item_features
            usable = [other for other, feature in known.items() if feature.kind in ("categorical", "bag")]
            cure = f"use one of: {', '.join(usable)}" if usable else "give items a feature of kind categorical or bag"
            if name not in known:
                raise InputError(where, value=name, cause="items have no such feature", cure=cure)
            if name not in usable:
                raise InputError(where, value=name, cause=f"it is {known[name].kind}, not of categories", cure=cure)
            missing = int(known[name].is_missing().sum())
            if missing:
                message = "calibration: %d of %d items have no %s, and add nothing to any category of it"
                logger.warning(message, missing, data.n_items, name)
        sizes = [len(data.item_features[name].names) for name in self.names]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.codes, self.share, self.start = self._looked_up(data.item_features, data.n_items)
        times = np.bincount(data.item[data.is_positive], minlength=data.n_items)
        mass = np.bincount(self.codes, self.share * np.repeat(times, np.diff(self.start)), int(self._first[-1]))
        total = np.repeat(np.add.reduceat(np.append(mass, 0), self._first[:-1]), sizes) if len(mass) else mass
        self.population = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
        self._positive_from = float(data.positive_from)
        return self

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features; a feature that is not given is missing."""
        codes, share, start = self._looked_up(features, max(map(len, features.values()), default=0))
        self.start = extended(self.start, start[1:] + self.start[-1])
        self.codes, self.share = extended(self.codes, codes), extended(self.share, share)

    def state(self) -> Arrays:
        """Return the categories of the items and their shares, the distribution of all users, and what is positive."""
        learnt = {name: getattr(self, name) for name in ("codes", "share", "start", "population")}
        return learnt | {"first": self._first, "positive_from": np.array(self._positive_from)}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT | {"first": Entry("int64", "A+1", rises_to="C")}, A=len(self.names))
        self.codes, self.share, self.start = arrays["codes"], arrays["share"], arrays["start"]
        self.population, self._first = arrays["population"], arrays["first"]
        self._positive_from = float(arrays["positive_from"])

    def target(self, queries: Queries) -> Values:
        """Return the distribution of each user's positive history over the categories of each feature, (B, C).

        It is the mean of the shares of the history's items that have a value, with `shrinkage` events of all users
        added, so a user without a history gets the distribution of all users. Where there are no events at all it is
        0. The confidence in a history grows with its length as in Naghiaei et al. 2022 (confidence-aware calibration).
        """
        liked = within(queries.liked(self._positive_from), len(self.start) - 1)
        return self._sums(liked, self.population, self._first, self.shrinkage)

    def shown(self, items: Rows) -> Values:
        """Return the mean shares of the items of each list, (B, K) -> (B, C); 0 for an empty list.

        The shares of a feature sum to the share of the items that have a value.
        """
        nothing, first = np.zeros_like(self.population), np.array([0, len(self.population)])
        rows = within(items, len(self.start) - 1)
        sums = self._sums(rows, nothing, first, -1.0)
        return np.asarray(sums / np.maximum(np.count_nonzero(items >= 0, axis=1), 1)[:, None])

    def _sums(self, rows: Rows, population: Values, first: Offsets, shrinkage: float) -> Values:
        sums: Values = _targets(rows, self.codes, self.share, self.start, population, first, shrinkage)
        return sums

    def _looked_up(self, features: Features, n: int) -> tuple[Rows, Values, Offsets]:
        """Return the categories and shares of n items, (T,) each, by item, and the offsets of the items, (n + 1,)."""
        n_codes, keys, shares = int(self._first[-1]), [np.empty(0, np.int64)], [np.empty(0)]
        for name, first in zip(self.names, self._first.tolist(), strict=False):
            if name in features:
                rows, codes = (part.astype(np.int64) for part in features[name].members())
                keys.append(rows * n_codes + codes + first)
                shares.append(1 / np.bincount(rows, minlength=n)[rows])
        key, position = np.unique(np.concatenate(keys), return_inverse=True)
        share = np.bincount(position, np.concatenate(shares), len(key))
        start = np.searchsorted(key, np.arange(n + 1, dtype=np.int64) * n_codes)
        code: Rows = (key % max(n_codes, 1)).astype(np.int32)
        return code, share.astype(np.float64), start.astype(np.int64)


@njit(cache=True, nogil=True)
def _targets(
    history: Rows, codes: Rows, share: Values, start: Offsets, population: Values, first: Array, shrinkage: float
) -> Values:
    """Return the sums of the shares of histories, (B, C), plus shrinkage, divided by their sums per feature if >= 0."""
    target = np.zeros((len(history), len(population)))
    for b in range(len(history)):
        mass = target[b]
        for item in history[b]:
            if item >= 0:
                for t in range(start[item], start[item + 1]):
                    mass[codes[t]] += share[t]
        for a in range(len(first) - 1 if shrinkage >= 0 else 0):
            total = 0.0
            for c in range(first[a], first[a + 1]):
                mass[c] += shrinkage * population[c]
                total += mass[c]
            for c in range(first[a], first[a + 1]):
                mass[c] = mass[c] / total if total > 0 else 0.0
    return target
