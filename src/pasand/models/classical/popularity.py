"""Popularity: one ranking for all users, or one for each segment of users."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.encoders.inheritance import Inheritance
from pasand.errors import InputError
from pasand.features.inherited import Inherited, mean_of_similar
from pasand.features.strengths import Weighting, check_weighting, median, weights
from pasand.features.training_weights import training_weights
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.models.classical.followed_counts import DAY, FollowedCounts
from pasand.models.hyperparameters import check_numbers
from pasand.types import Array, Arrays, Queries, Rows, Scores, within

LAYOUT = {
    "overall": Entry("float32", "N"),
    "segments": Entry("float32", "S N"),
    "strength_unit": Entry("number", lowest=0, optional=True),
    "count": Entry("float64", "N", lowest=0, optional=True),
    "inherited": Entry("float64", "N", lowest=0, optional=True),
    "since": Entry("int64", "N", optional=True),
    "inheritance": Entry("float64", "3", above=0, infinite=True, optional=True),
    "n_all": Entry("number", lowest=0, optional=True),
    "segment_totals": Entry("float64", "S", lowest=0, optional=True),
}


@dataclass(kw_only=True)
class Popularity:
    """Scores an item by its share of the positives: of all time, of a recent window, or with exponential decay.

    A positive counts once, or by its strength (see `weighting`).

    A recent share is shrunk by the weight of one event towards the share of all time, so that items without recent
    positives follow in their all-time order. A segment's share is shrunk by `shrinkage` events towards the overall one.
    Every item has a finite score. Without times (`Dataset.order` other than "time") window and half-life have no
    effect.

    With `inherits` an item also counts the positives that it inherits from similar items, which decay with its own
    events and its age (`pasand.features.inherited`). An item that is added later has what it inherits, and without
    `inherits` no score. Similar items and their counts are those of the fit.

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
    inherits: Inheritance | None = None
    """Component that finds the similar items; None: items do not inherit."""
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
        of_all = np.bincount(positives.item, weighted, minlength=n_items)
        of_recent = np.bincount(positives.item, weights=weight, minlength=n_items)
        all_time = _share(of_all, 1 / max(n_items, 1), prior=0)
        overall = _share(of_recent, all_time, prior=1)
        is_recent = self.window_days is not None or self.half_life_days is not None
        if not is_recent:
            overall, of_recent = all_time, of_all
        inherited: dict[str, Array] = {}
        if self.inherits is not None:
            n_all = of_recent.sum() + is_recent
            inherited = self._learn_inherited(of_recent, data.seen_from) | {"n_all": np.array(float(n_all))}
            if of_all.any():
                now = int(data.time[-1]) if len(data) else 0
                overall = overall + self._inherited(inherited).left(of_all.astype(np.float64), now) / n_all
        totals = []
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
                totals.append(float(count.sum()))
        self._learnt = {"overall": overall.astype(np.float32), "segments": segments, **inherited}
        if inherited:
            self._learnt["segment_totals"] = np.array(totals, np.float64)
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
            inherited=self._inherited(self._learnt),
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

    def add_items(self, features: Features) -> None:
        """Append items, which inherit from similar ones; without `inherits` they stay unknown.

        The component that finds the similar items gets the new ones first.
        """
        if self.inherits is None:
            return
        n, n_new = len(self._learnt["overall"]), max(map(len, features.values()), default=0)
        neighbour, share = self.inherits.similar(n, n_new)
        mean = mean_of_similar(self._learnt["count"], within(neighbour, n), share)
        new = Inherited(
            count=self._learnt["inheritance"][0] * mean,
            since=np.full(n_new, TIME_UNKNOWN),
            strength=float(self._learnt["inheritance"][1]),
        )
        n_all = float(self._learnt["n_all"])
        overall = (new.left(np.zeros(n_new), 0) / n_all if n_all > 0 else np.zeros(n_new)).astype(np.float32)
        kept = self.shrinkage / (self._learnt["segment_totals"] + self.shrinkage)
        of_segments = (kept[:, None] * overall).astype(np.float32)
        self._learnt |= {
            "overall": extended(self._learnt["overall"], overall),
            "segments": np.concatenate([self._learnt["segments"], of_segments], axis=1),
            "count": extended(self._learnt["count"], np.zeros(n_new)),
            "inherited": extended(self._learnt["inherited"], new.count),
            "since": extended(self._learnt["since"], new.since),
        }
        if self._followed is not None:
            self._followed.add_items(self._inherited(self._learnt))

    def _learn_inherited(self, count: Array, since: Array) -> dict[str, Array]:
        """Return what each item inherits from the counts of similar items, and the numbers by which it decays."""
        assert self.inherits is not None
        neighbour, share = self.inherits.similar(0, len(count))
        numbers = self.inherits.numbers()
        return {
            "count": count.astype(np.float64),
            "inherited": numbers[0] * mean_of_similar(count, neighbour, share),
            "since": since,
            "inheritance": numbers,
        }

    @staticmethod
    def _inherited(learnt: Arrays) -> Inherited:
        """Return what the items inherit, nothing where nothing is inherited."""
        if "inherited" not in learnt:
            return Inherited()
        _, strength, half_life = learnt["inheritance"].tolist()
        return Inherited(count=learnt["inherited"], since=learnt["since"], strength=strength, half_life_days=half_life)

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
        """Return "overall" (N,) and "segments" (segments, N) shares, and the "strength_unit" of weighted strengths.

        With `inherits`, also counts, what items inherit, since when they age, and the numbers by which it decays.
        """
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        missing = sorted({"count", "inherited", "since", "inheritance", "n_all", "segment_totals"} - set(arrays))
        if self.inherits is not None and missing:
            raise KeyError(missing[0])
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
