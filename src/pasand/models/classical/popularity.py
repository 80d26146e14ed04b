"""Popularity: one ranking for all users, or one for each segment of users."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.features.strengths import Weighting, check_weighting, median, weights
from pasand.features.training_weights import training_weights
from pasand.layouts import Entry, check
from pasand.models.classical.followed_counts import DAY, FollowedCounts
from pasand.models.hyperparameters import check_numbers
from pasand.types import Array, Arrays, Queries, Rows, Scores, within


@dataclass(kw_only=True)
class Popularity:
    """Scores an item by its share of the positives: of all time, of a recent window, or with exponential decay.

    A positive counts once, or by its strength (see `weighting`).

    A recent share is shrunk by the weight of one event towards the share of all time, so that items without recent
    positives follow in their all-time order. A segment's share is shrunk by `shrinkage` events towards the overall one.
    Every item has a finite score. Without times (`Dataset.order` other than "time") window and half-life have no
    effect.

    After `fit` the time of a query has no effect: scores depend on the fitted events alone, and the newest of them is
    the present. After `follow` they depend on the events strictly before the query, and its time is the present.
    """

    uses_training_weights: ClassVar[bool] = True
    window_days: float | None = None
    """Days before the present from which positives are counted; None: all of them."""
    half_life_days: float | None = None
    """Half-life of a positive's weight, in days before the present; None: no decay."""
    segment: str | None = None
    """Categorical or bag feature of users; a query with this feature gets what is popular in its segment. None: no
    segments."""
    shrinkage: float = 100.0
    """Number of positives at which a segment's own share weighs as much as the overall share."""
    weighting: Weighting = "log"
    """Weight of a positive by its strength r, such as plays, with m the median: "linear" r / m, "log" log2(1 + r / m),
    "none" 1; data without strengths have weights of 1."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _followed: FollowedCounts | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("window_days", "half_life_days"):
            days = getattr(self, name)
            if days is not None and not days > 0:
                raise ValueError(f"{name} must be positive, got {days}")
        if not self.shrinkage > 0:
            raise ValueError(f"shrinkage must be positive, got {self.shrinkage}")
        check_weighting(self.weighting)
        check_numbers(self)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Count the positives; raises InputError for a segment that the dataset lacks."""
        self._followed = None
        positives = data.positives()
        weight = self._weights(positives, newest=int(data.time[-1]) if len(data) else 0)
        n_items = data.n_items
        weighted = self._event_weights(positives)
        weight = weight if weighted is None else weight * weighted
        all_time = _share(np.bincount(positives.item, weighted, minlength=n_items), 1 / max(n_items, 1), prior=0)
        overall = _share(np.bincount(positives.item, weights=weight, minlength=n_items), all_time, prior=1)
        if self.window_days is None and self.half_life_days is None:
            overall = all_time
        segments = np.empty((0, n_items), np.float32)
        if self.segment is not None:
            feature = _segments(data, self.segment)
            row, codes = feature.members()
            segments = np.empty((len(feature.names), n_items), np.float32)
            for code in range(len(feature.names)):
                members = np.zeros(data.n_users, np.bool_)
                members[row[codes == code]] = True
                inside = members[positives.user]
                count = np.bincount(positives.item[inside], weights=weight[inside], minlength=n_items)
                segments[code] = _share(count, overall, prior=self.shrinkage)
        self._learnt = {"overall": overall.astype(np.float32), "segments": segments}
        if self._strength_weights(positives) is not None and positives.value is not None:
            self._learnt["strength_unit"] = np.array(median(positives.value))
        return self

    def follow(self, data: Dataset | None) -> None:
        """Score each query from now on by the events of `data` strictly before it; None: by the fitted events again.

        `data` continue the training data and hold these, too. Nothing is learnt: the unit of strengths and the items
        that have scores stay those of the fitted events. Data without times change nothing. Raises InputError as `fit`.
        """
        self._followed = None
        if data is None or data.order != "time":
            return
        n_segments = len(self._learnt["segments"])
        segment, start = np.empty(0, np.int32), np.zeros(1, np.int64)
        if self.segment is not None:
            row, codes = _segments(data, self.segment).members()
            known = codes < n_segments
            member = np.unique(row[known].astype(np.int64) * n_segments + codes[known])
            segment = (member % max(n_segments, 1)).astype(np.int32)
            start = np.searchsorted(member, np.arange(data.n_users + 1) * n_segments).astype(np.int64)
        self._followed = FollowedCounts(
            n_items=len(self._learnt["overall"]),
            n_segments=n_segments,
            window_days=self.window_days,
            half_life_days=self.half_life_days,
            shrinkage=self.shrinkage,
            segment=segment,
            start=start,
        )
        self.add_events(data)

    def add_events(self, data: Dataset) -> None:
        """Add events to those that are followed; scores are then, bit for bit, those of `follow` on all events.

        `data` hold the new events alone, which may be earlier than others. Users beyond those of `follow`, and user -1,
        are in no segment. Does nothing before `follow`.
        """
        if self._followed is not None:
            new = data.positives()
            self._followed.add(new.time, new.item, new.user, self._event_weights(new))

    def compact(self) -> None:
        """Hold only those followed events that queries after the last of them need, as a server does.

        An earlier query is scored as if it came just after that event.
        """
        if self._followed is not None:
            self._followed.compact()

    def _event_weights(self, positives: Dataset) -> Scores | None:
        """Return the weight of each positive by its strength and `training_weights`, (E,); None: all weigh 1."""
        strength, weight = self._strength_weights(positives), training_weights(positives)
        return weight if strength is None else strength if weight is None else strength * weight

    def _strength_weights(self, positives: Dataset) -> Scores | None:
        """Return the weight of each positive by its strength, (E,); None for data without strengths."""
        if positives.values != "strength" or positives.value is None or self.weighting == "none":
            return None
        unit = self._learnt.get("strength_unit") if self._followed is not None else None
        return weights(positives.value, median(positives.value) if unit is None else float(unit), self.weighting)

    def _weights(self, positives: Dataset, newest: int) -> NDArray[np.float64]:
        age = (newest - positives.time) / DAY
        weight = np.ones(len(positives)) if self.half_life_days is None else 0.5 ** (age / self.half_life_days)
        if self.window_days is not None:
            weight = weight * (age < self.window_days)
        return weight

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return shares of positives; queries of several segments (a bag) get the mean, of none the overall share."""
        overall, segments = self._learnt["overall"], self._learnt["segments"]
        items = within(items, len(overall))
        segment = queries.features.get(self.segment) if self.segment is not None else None
        codes = np.empty((len(queries), 0), np.int32)
        if segment is not None and len(queries):
            codes = np.asarray(segment, np.int32).reshape(len(queries), -1)
        if self._followed is not None:
            return self._followed.scores(queries.time, items, within(codes, len(segments)))
        if not codes.size:
            return _pick(np.broadcast_to(overall, (len(queries), len(overall))), items)
        known = (codes >= 0) & (codes < len(segments))
        out = np.empty((len(queries), len(overall)) if items is None else items.shape, np.float32)
        combinations, which = np.unique(np.where(known, codes, -1), axis=0, return_inverse=True)
        for number, combination in enumerate(combinations):
            rows = np.flatnonzero(which.ravel() == number)
            inside = combination[combination >= 0]
            shares = segments[inside].mean(axis=0) if len(inside) else overall
            scores = np.broadcast_to(shares, (len(rows), len(overall)))
            out[rows] = _pick(scores, None if items is None else items[rows])
        return out

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit beside the data: counts and shares, overall and of each segment."""
        feature = data.user_features.get(self.segment) if self.segment is not None else None
        return (32 + 4 * (0 if feature is None else len(feature.names))) * data.n_items

    def state(self) -> Arrays:
        """Return "overall" (N,) and "segments" (segments, N) shares, and the "strength_unit" of weighted strengths."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        unit = Entry("number", lowest=0, optional=True)
        check(arrays, {"overall": Entry("float32", "N"), "segments": Entry("float32", "S N"), "strength_unit": unit})
        self._learnt, self._followed = dict(arrays), None


def _share(count: Array, towards: NDArray[np.float64] | float, prior: float) -> NDArray[np.float64]:
    """Return (count + prior * towards) / (total + prior), or `towards` if that total is 0; (N,)."""
    total = count.sum() + prior
    share: NDArray[np.float64] = (count + prior * towards) / total if total > 0 else np.zeros_like(count) + towards
    return share


def _segments(data: Dataset, segment: str) -> Feature:
    """Return the feature whose categories are the segments of the users; raises InputError if there is none."""
    feature = data.user_features.get(segment)
    if feature is None or feature.kind not in ("categorical", "bag"):
        valid = [name for name, known in data.user_features.items() if known.kind in ("categorical", "bag")]
        raise InputError(
            data.name,
            value=segment,
            cause="popularity needs a categorical or bag feature of users as its segment",
            cure=f"choose one of {', '.join(valid)}" if valid else "leave out segment: these data have no such feature",
        )
    return feature


def _pick(scores: Scores, items: Rows | None) -> Scores:
    """Return all (B, N) scores, or those of the (B, K) items with -inf at row -1."""
    if items is None:
        return scores.astype(np.float32)
    if not scores.shape[1]:
        return np.full(items.shape, -np.inf, np.float32)
    picked = np.take_along_axis(scores, np.maximum(items, 0), axis=1)
    return np.where(items >= 0, picked, np.float32(-np.inf))
