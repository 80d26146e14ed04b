"""`Attributes`: the categories of each item as shares, and how much of each a user's own history holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.features import history_shares
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Times

logger = logging.getLogger(__name__)

Values = NDArray[np.float64]

LAYOUT = {
    "codes": Entry("int32", "T", lowest=0, below="C"),
    "share": Entry("float64", "T", lowest=0),
    "start": Entry("int64", "N+1", rises_to="T"),
    "population": Entry("float64", "C", lowest=0),
    "positive_from": Entry("number", infinite=True),
    "declared": Entry("int32", "*", lowest=-1, below="C", optional=True),
    "timed": Entry("bool", optional=True),
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
    half_life_days: float | None = None
    """Half-life of an event's weight, in days before the query; None: no decay."""
    declared: str | None = None
    """User feature with categories of one of the item features, such as languages: for users who have it, the events
    that `shrinkage` adds have these categories, in place of the distribution of all users. None: no such feature."""

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"names must be one or more different item features, got {list(self.names)}")
        if not 0 <= self.shrinkage < np.inf:
            raise ValueError(f"shrinkage must be at least 0 and finite, got {self.shrinkage}")
        if self.half_life_days is not None and not 0 < self.half_life_days < np.inf:
            raise ValueError(f"half_life_days must be positive and finite, got {self.half_life_days}")
        self.codes: Rows = np.empty(0, np.int32)
        self.share: Values = np.empty(0)
        self.start: Offsets = np.zeros(1, np.int64)
        self.population: Values = np.empty(0)
        self._first: Offsets = np.zeros(1, np.int64)
        self._positive_from = -np.inf
        self._declared: Rows = np.empty(0, np.int32)
        self._is_timed = False

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up the categories of the items, and the distribution of the positive events of all users.

        Raises InputError, by name, for a feature that items do not have, and for one that is not of categories, and for
        a declared feature that users do not have. A warning counts the items without a value.
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
        self._positive_from, self._is_timed = float(data.positive_from), data.order == "time"
        self._declared = self._codes_of_users(data)
        return self

    def _codes_of_users(self, data: Dataset) -> Rows:
        """Return the category of each name of the declared feature, -1 for none of them; (0,) without one."""
        if self.declared is None:
            return np.empty(0, np.int32)
        feature = data.user_features.get(self.declared)
        if feature is None or feature.kind not in ("categorical", "bag"):
            usable = [name for name, one in data.user_features.items() if one.kind in ("categorical", "bag")]
            cure = f"use one of: {', '.join(usable)}" if usable else "leave it out"
            cause = "users have no such feature of categories"
            raise InputError(f"{data.name}, calibration", value=self.declared, cause=cause, cure=cure)
        names = [one for name in self.names for one in data.item_features[name].names]
        code = {name: at for at, name in reversed(list(enumerate(names)))}
        return np.array([code.get(name, -1) for name in feature.names], np.int32)

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features; a feature that is not given is missing."""
        codes, share, start = self._looked_up(features, max(map(len, features.values()), default=0))
        self.start = extended(self.start, start[1:] + self.start[-1])
        self.codes, self.share = extended(self.codes, codes), extended(self.share, share)

    def state(self) -> Arrays:
        """Return the categories of the items and their shares, the distribution of all users, and what is positive."""
        learnt = {name: getattr(self, name) for name in ("codes", "share", "start", "population")}
        learnt |= {"first": self._first, "positive_from": np.array(self._positive_from)}
        return learnt | {"declared": self._declared, "timed": np.array(self._is_timed)}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT | {"first": Entry("int64", "A+1", rises_to="C")}, A=len(self.names))
        self.codes, self.share, self.start = arrays["codes"], arrays["share"], arrays["start"]
        self.population, self._first = arrays["population"], arrays["first"]
        self._declared = arrays.get("declared", np.empty(0, np.int32))
        self._is_timed = bool(arrays.get("timed", False))
        self._positive_from = float(arrays["positive_from"])

    def target(self, queries: Queries) -> Values:
        """Return the distribution of each user's positive history over the categories of each feature, (B, C).

        It is the mean of the shares of the history's items that have a value, with `shrinkage` events of all users, or
        of the categories that the user declared, added; so a user without a history gets these. Where there are no
        events at all it is 0. The confidence in a history grows with its length as in Naghiaei et al. 2022
        (confidence-aware calibration).
        """
        mass = self._masses(queries.liked(self._positive_from), queries.history_time, queries.time)
        prior = self._prior(queries.features, len(queries))
        for begin, end in zip(self._first[:-1].tolist(), self._first[1:].tolist(), strict=True):
            part = slice(begin, end)
            mass[:, part] = history_shares.smoothed(mass[:, part], prior[..., part], self.shrinkage)
        return mass

    def _prior(self, features: Mapping[str, Array], n: int) -> Values:
        """Return the distribution of the events that `shrinkage` adds, (C,) or, with declared categories, (n, C)."""
        given = features.get(self.declared or "")
        if given is None or not len(self._declared) or not n:
            return self.population
        prior = history_shares.declared_shares(np.asarray(given), self._declared, len(self.population))
        for begin, end in zip(self._first[:-1].tolist(), self._first[1:].tolist(), strict=True):
            without = ~prior[:, begin:end].any(axis=1)
            prior[without, begin:end] = self.population[begin:end]
            prior[:, begin:end] /= np.maximum(prior[:, begin:end].sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return prior

    def shown(self, items: Rows) -> Values:
        """Return the mean shares of the items of each list, (B, K) -> (B, C); 0 for an empty list.

        The shares of a feature sum to the share of the items that have a value.
        """
        none = np.zeros(0, np.int64)
        return np.asarray(self._masses(items, none, none) / np.maximum((items >= 0).sum(axis=1), 1)[:, None])

    def _masses(self, rows: Rows, times: Times, now: Times) -> Values:
        """Return the sums of the shares of items, (B, H) -> (B, C), decayed up to `now` if `times` are given."""
        rows = np.ascontiguousarray(rows, np.int32)
        begin = np.arange(len(rows), dtype=np.int64) * rows.shape[1]
        decays = self._is_timed and self.half_life_days is not None and len(now) > 0
        half_life = (self.half_life_days or 0.0) * history_shares.DAY if decays else 0.0
        found: Values = history_shares.masses(
            rows.reshape(-1),
            np.ascontiguousarray(times, np.int64).reshape(-1),
            np.empty(0),
            begin,
            begin + rows.shape[1],
            np.ascontiguousarray(now, np.int64),
            self.codes,
            self.share,
            self.start,
            len(self.population),
            half_life,
        )
        return found

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
