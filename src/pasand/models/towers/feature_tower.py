"""Towers that read histories and features: what their models share between fitting and answering. Needs no torch."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pasand.data.dataset import Dataset
from pasand.features import encoding
from pasand.features.encoding import anything
from pasand.models.towers.tower import DeepTower
from pasand.types import Array, Arrays, Mask, Queries, Rows


@dataclass(kw_only=True)
class FeatureTower(DeepTower, ABC):
    """A tower over what the query tells: the last likings of its history, and features of the user.

    Categories, bags of them, numbers and vectors are read; texts and times are not. A value that is missing, unknown or
    was never seen in training counts as not known, and a feature that was not there in training is ignored.
    """

    history_length: int = 50
    """Number of the latest likings that are averaged."""
    user_features: tuple[str, ...] | None = None
    """Features of users that are read; None: all that can be."""
    bands: int = 0
    """Number of bands, equally full in training, that numbers are cut into; 0: standardised numbers."""
    negatives: int = 1024
    """Number of negatives; what it counts depends on the loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("history_length", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.bands < 0 or self.bands == 1:
            raise ValueError(f"bands must be 0 or at least 2, got {self.bands}")

    def _about_users(self, data: Dataset) -> dict[str, Array]:
        """Return what reading queries needs: codes of items with likings, what is a liking, features of users."""
        liked = data.positives()
        rows = np.unique(liked.user)
        used = np.zeros(data.n_items, np.bool_)
        used[liked.item] = True
        features = encoding.chosen(data.user_features, self.user_features, "user_features")
        return {
            "item_code": encoding.numbered(used),
            "positive_from": np.array([data.positive_from], np.float32),
            **encoding.learn("user", features, rows, self.bands),
        }

    def _history(self, queries: Queries) -> Array:
        """Return the codes of the last likings, (B, `history_length`) padded with 0 in front."""
        liked = queries.liked(float(self._learnt["positive_from"][0]))
        return encoding.recent(liked, self._learnt["item_code"], self.history_length)

    def _told(self, features: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Return the inputs from the features of n users."""
        return encoding.read("user", self._learnt, features, n)

    def _answerable(self, inputs: Arrays) -> Mask:
        known = anything({k: v for k, v in inputs.items() if k.startswith("user.")}, len(next(iter(inputs.values()))))
        for name in ("history", "others"):
            if name in inputs:
                known |= (inputs[name] > 0).any(axis=1)
        if "user" in inputs:
            known |= inputs["user"] > 0
        return known

    def _tables(self, data: Dataset) -> dict[str, Array]:
        """Return the inputs from features of all users of the data, (U, ...) each."""
        everyone = np.arange(data.n_users, dtype=np.int32)
        return self._told({name: feature.take(everyone) for name, feature in data.user_features.items()}, data.n_users)

    def _item_codes(self, rows: Rows) -> Array:
        """Return the code of each item row; 0 for one without likings in training, or added since."""
        return encoding.codes_of(rows, self._learnt["item_code"])

    def _has_features(self, learnt: Arrays, n: int) -> Mask:
        """Return which of the first n items have a feature that the item tower reads."""
        tables = {k.removeprefix("item."): v[:n] for k, v in learnt.items() if k.startswith("item.")}
        return encoding.anything(encoding.read("item", learnt, tables, n), n)
