"""Popularity among users who share a city tier, an age band, a language: for users without a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.features.strengths import Weighting
from pasand.layouts import Entry, check
from pasand.models.classical.popularity import Popularity
from pasand.types import Array, Arrays, Queries, Rows, Scores

MAX_SEGMENTS = 100
"""Categories of a user feature from which on it is no segment unless it is named."""


@dataclass(kw_only=True)
class SegmentPopularity:
    """Scores an item by its popularity among users with the same features, each feature on its own.

    The score is p(i) times, for each feature that is known of the user, p(i | category) / p(i), as if features were
    independent given the item (naive Bayes). p(i | category) is the share of an item among the positives of the users
    in that category, shrunk towards p(i), its share among all positives: each category gets that many positives of all
    users in addition that an item of the usual share, sum of p(i)^2, gets `shrinkage` of them. So a small category
    changes little, and a user without any known feature gets the order of `Popularity`. Every item has a finite score.
    It reads no history, so that it belongs behind models that do, in a `Fallback`: from the first event on, they score.
    """

    uses_training_weights: ClassVar[bool] = True
    segments: Sequence[str] | None = None
    """Categorical or bag features of users; None: all with at most `MAX_SEGMENTS` categories."""
    shrinkage: float = 20.0
    """Number of positives of an item of the usual share that are added to each category, in the shares of all."""
    window_days: float | None = None
    """Days before the present from which positives are counted; None: all of them."""
    half_life_days: float | None = None
    """Half-life of a positive's weight, in days before the present; None: no decay."""
    weighting: Weighting = "log"
    """Weight of a positive by its strength, as in `Popularity`."""
    _parts: dict[str, Popularity] = field(default_factory=dict, init=False, repr=False, compare=False)
    """A popularity without segments, "", and one for each feature."""
    _added: float = field(default=1.0, init=False, repr=False, compare=False)
    """Positives of all users that are added to each category."""

    def __post_init__(self) -> None:
        if self.segments is not None and len(set(self.segments)) < len(self.segments):
            raise ValueError(f"segments must be different user features, got {list(self.segments)}")
        self._popularity(None)
        if not 0 < self.shrinkage < np.inf:
            raise ValueError(f"shrinkage must be positive and finite, got {self.shrinkage}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Count the positives; raises InputError for a segment that the dataset lacks."""
        names = self.segments
        if names is None:
            of_users = data.user_features.items()
            fits = {
                name for name, one in of_users if one.kind in ("categorical", "bag") and len(one.names) <= MAX_SEGMENTS
            }
            names = sorted(fits)
        overall = self._popularity(None).fit(data, rng=rng)
        usual = float(np.square(overall.state()["overall"].astype(np.float64)).sum())
        self._added = self.shrinkage / max(usual, 1e-30)
        self._parts = {"": overall} | {name: self._popularity(name).fit(data, rng=rng) for name in names}
        return self

    def follow(self, data: Dataset | None) -> None:
        """Score each query from now on by the events of `data` strictly before it, as `Popularity.follow` does."""
        for part in self._parts.values():
            part.follow(data)

    def add_events(self, data: Dataset) -> None:
        """Add events to those that are followed, as `Popularity.add_events` does."""
        for part in self._parts.values():
            part.add_events(data)

    def compact(self) -> None:
        """Hold only those followed events that later queries need, as `Popularity.compact` does."""
        for part in self._parts.values():
            part.compact()

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return p(i) times the ratios of the user's categories; of a bag, p(i | category) is the mean of its members.

        An item without positives scores 0, in every segment.
        """
        overall = self._parts[""].score(queries, items)
        scores = overall.astype(np.float64)
        positive = overall > 0
        for name, part in self._parts.items():
            if name in queries.features:
                share = part.score(queries, items)
                np.multiply(scores, np.divide(share, overall, where=positive, out=np.ones_like(scores)), out=scores)
        return np.where(np.isfinite(overall), scores, -np.inf).astype(np.float32)

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit beside the data: those of a popularity of each feature."""
        names = data.user_features if self.segments is None else self.segments
        return sum(self._popularity(name).memory_needed(data) for name in (None, *names))

    def state(self) -> Arrays:
        """Return the shares of each popularity, "" and by feature, as NAME/overall and NAME/segments, and "added"."""
        shares = {f"{name}/{key}": value for name, part in self._parts.items() for key, value in part.state().items()}
        return shares | {"added": np.array(self._added)}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, {"added": Entry("float64", above=0)})
        self._added = float(arrays["added"])
        by_name: dict[str, dict[str, Array]] = {"": {}}
        for key, value in arrays.items():
            if "/" not in key:
                continue
            name, _, own = key.rpartition("/")
            by_name.setdefault(name, {})[own] = value
        self._parts = {name: self._popularity(name or None) for name in by_name}
        for name, part in self._parts.items():
            part.load_state(by_name[name])

    def _popularity(self, segment: str | None) -> Popularity:
        return Popularity(
            segment=segment,
            shrinkage=self._added,
            window_days=self.window_days,
            half_life_days=self.half_life_days,
            weighting=self.weighting,
        )
