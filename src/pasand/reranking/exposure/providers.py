"""`Providers`: the provider of each item, such as its seller or studio, and the share of all slots that each is due."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.features import Features, pack_strings, unpack_strings
from pasand.errors import InputError
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.reranking.counted_search import Values
from pasand.types import Arrays, Rows, within

logger = logging.getLogger(__name__)

LAYOUT = {
    "code": Entry("int32", "N", lowest=-1, below="G"),
    "share": Entry("float64", "G", lowest=0),
    "names": Entry("uint8", "b"),
    "ends": Entry("int64", "G", lowest=0),
}


@dataclass
class Providers:
    """Looks up the provider of each item in a categorical feature, and each provider's share of items or of merit."""

    feature: str
    """Item feature of kind categorical; an item without a value has no provider."""
    share_of: Literal["catalogue", "merit"] = "catalogue"
    """"catalogue": a provider is due its share of the items; "merit": its share of the positive events of the log."""

    def __post_init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.share: Values = np.empty(0)
        self._code: Rows = np.empty(0, np.int32)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up providers and shares, which sum to 1.

        Raises InputError for a feature that items do not have or that is not categorical, and without any item, or any
        positive event, that has a provider. A warning counts the items without one.
        """
        known, where = data.item_features, f"{data.name}, exposure of each provider"
        usable = [name for name, feature in known.items() if feature.kind == "categorical"]
        cure = f"use one of: {', '.join(usable)}" if usable else "give items a feature of kind categorical"
        if self.feature not in known:
            raise InputError(where, value=self.feature, cause="items have no such feature", cure=cure)
        if self.feature not in usable:
            raise InputError(where, value=self.feature, cause=f"it is {known[self.feature].kind}", cure=cure)
        feature = known[self.feature]
        self.names, self._code = feature.names, np.array(feature.values, np.int32)
        weights = np.bincount(data.item[data.is_positive], minlength=data.n_items).astype(np.float64)
        weights = np.ones(data.n_items) if self.share_of == "catalogue" else weights
        has = self._code >= 0
        mass = np.bincount(self._code[has], weights[has], len(self.names))
        if not mass.sum():
            what = "item" if self.share_of == "catalogue" else "item with a positive event"
            raise InputError(where, value=self.feature, cause=f"no {what} has a value", cure=cure)
        self.share = mass / mass.sum()
        if not has.all():
            n = int(np.count_nonzero(~has))
            logger.warning("exposure: %d of %d items have no %s, and so no provider", n, data.n_items, self.feature)
        return self

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features; the shares stay as they are until the next fit."""
        n = max(map(len, features.values()), default=0)
        given = self.feature in features
        self._code = extended(self._code, features[self.feature].values if given else np.full(n, -1, np.int32))

    def codes(self, items: Rows) -> Rows:
        """Return the provider of each item as a position in `names`, -1 for none, (...) -> (...)."""
        if not len(self._code):
            return np.full(items.shape, -1, np.int32)
        rows = within(items, len(self._code))
        return np.where(rows >= 0, self._code[rows], np.int32(-1))

    def state(self) -> Arrays:
        """Return the providers of the items, their names and their shares."""
        names, ends = pack_strings(list(self.names))
        return {"code": self._code, "share": self.share, "names": names, "ends": ends}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._code, self.share = arrays["code"], arrays["share"]
        self.names = tuple(unpack_strings(arrays["names"], arrays["ends"]))
