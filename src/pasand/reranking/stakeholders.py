"""`Stakeholders`: candidates by a weighted sum of relevance, priority of the provider and value to the platform."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features
from pasand.errors import InputError
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.reranking.counted_search import Values
from pasand.reranking.rules.rules import finite
from pasand.reranking.scale import spread
from pasand.types import Arrays, Candidates, Queries, within

logger = logging.getLogger(__name__)

LAYOUT = {
    "provider": Entry("float64", "N", lowest=0),
    "platform": Entry("float64", "N", lowest=0),
    "priority": Entry("float64", "P", lowest=0),
    "ranges": Entry("float64", "2 3"),
}
ENDS = 0.05, 0.95
"""Quantiles of a number over the catalogue that become 0 and 1."""
NEUTRAL = 0.5
"""Priority of an item without a provider: that of a provider that is chosen as often as its share of the catalogue."""


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of the parts; only their ratios matter."""

    relevance: float = 1.0
    provider: float = 0.0
    platform: float = 0.0


@dataclass
class Stakeholders:
    """Returns all candidates by falling sum of relevance, priority of the provider and value to the platform.

    Each part has a unit of its own, so the weights mean the same for every model and every feature:

    relevance  the difference between the first score and the median of the candidates
    provider   0 to 1: the provider's share c of the catalogue and e of the positive events give c / (c + e): 1 for a
               provider without events, 0.5 for one that is chosen as often as its share, near 0 for a dominant one. If
               `provider` is a number, such as a priority that is set by hand, it is scaled as the platform's value
    platform   the number scaled so that its 5th percentile over the catalogue is 0 and its 95th 1, cut off there

    The scores are those of the model plus the other two parts in the same units, so `Rules` or a calibration that
    follow keep this objective. An item without a provider has the priority 0.5, one without a number the median. The
    linear form is that of Mehrotra et al., Towards a Fair Marketplace, CIKM 2018.
    """

    weights: Weights = field(default_factory=Weights)
    provider: str = ""
    """Item feature that names the provider (categorical or bag), or a priority (number); "": none."""
    platform: str = ""
    """Item feature of kind number with the value to the platform, such as margin or price; "": none."""
    strength: float = 1.0
    """Factor of the weights of provider and platform; 0: relevance only."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength < np.inf:
            raise ValueError(f"strength must be at least 0 and finite, got {self.strength}")
        if not 0 < self.weights.relevance < np.inf:
            raise ValueError(f"the weight of relevance must be above 0 and finite, got {self.weights.relevance}")
        for part in ("provider", "platform"):
            weight, feature = getattr(self.weights, part), getattr(self, part)
            if not 0 <= weight < np.inf:
                raise ValueError(f"the weight of {part} must be at least 0 and finite, got {weight}")
            if bool(weight) != bool(feature):
                missing = f'name an item feature, {part} = "..."' if weight else f"give {part} a weight above 0"
                raise ValueError(f"{part} has {'a weight and no feature' if weight else 'no weight'}: {missing}")
        if not self.provider and not self.platform:
            raise ValueError('relevance alone: name an item feature as provider = "..." or platform = "..."')
        self._learnt = {name: np.empty(0) for name in LAYOUT} | {"ranges": np.zeros((2, 3))}
        self._unknown: dict[str, Values] = {}

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn the priorities of the providers and the scale of numbers, from `Dataset.known_items`.

        Raises InputError, by name, for a feature that items do not have, that has another kind, or whose value is the
        same for all items. A warning counts the items without a value.
        """
        for part, kinds in (("provider", ("categorical", "bag", "number")), ("platform", ("number",))):
            name = getattr(self, part)
            if name:
                self._check(data, part, name, kinds)
        known = np.flatnonzero(data.known_items)
        self._learnt["priority"] = np.empty(0)
        ranges = [np.zeros(3), np.zeros(3)]
        for at, name in enumerate((self.provider, self.platform)):
            feature = data.item_features.get(name)
            if feature is not None and feature.kind == "number":
                ranges[at] = _range(feature.values[known], f"{data.name}, stakeholders", name)
            elif feature is not None:
                self._learnt["priority"] = _priorities(feature, data)
        self._learnt["ranges"] = np.array(ranges)
        self._learnt |= self._scaled(data.item_features, data.n_items)
        self._unknown = self._scaled({}, 1)
        return self

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features; a feature that is not given is missing."""
        more = self._scaled(features, max(map(len, features.values()), default=0))
        self._learnt |= {name: extended(self._learnt[name], values) for name, values in more.items()}

    def state(self) -> Arrays:
        """Return the scaled values of the items, the priorities of the providers, and the scale of numbers."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt = {name: arrays[name] for name in LAYOUT}
        self._unknown = self._scaled({}, 1)

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the candidates in their new order, (B, K)."""
        rows = within(candidates.items, len(self._learnt["provider"]))
        more = np.zeros(rows.shape)
        for part, weight in (("provider", self.weights.provider), ("platform", self.weights.platform)):
            values = np.where(rows >= 0, self._learnt[part][rows], self._unknown[part])
            more += self.strength * weight / self.weights.relevance * values
        positions = np.tile(np.arange(rows.shape[1]), (len(rows), 1))
        scores = candidates.scores.copy()
        for b, n in enumerate(np.count_nonzero(candidates.items >= 0, axis=1).tolist()):
            if n and self.strength > 0:
                known = finite(candidates.scores[b, :n])
                total = known + spread(known) * more[b, :n]
                positions[b, :n] = order = np.argsort(-total, kind="stable")
                scores[b, :n] = total[order]
        at, propensity = (np.arange(len(rows))[:, None], positions), candidates.propensity
        return Candidates(
            items=candidates.items[at], scores=scores, propensity=None if propensity is None else propensity[at]
        )

    def values(self, part: str) -> Values:
        """Return the scaled value of each item for "provider" or "platform", (N,) in [0, 1]."""
        return self._learnt[part]

    def _check(self, data: Dataset, part: str, name: str, kinds: tuple[str, ...]) -> None:
        where, known = f"{data.name}, stakeholders", data.item_features
        usable = [other for other, feature in known.items() if feature.kind in kinds]
        cure = f"use one of: {', '.join(usable)}" if usable else f"give items a feature of kind {' or '.join(kinds)}"
        if name not in known:
            raise InputError(where, column=part, value=name, cause="items have no such feature", cure=cure)
        if name not in usable:
            cause = f"it is {known[name].kind}, not {' or '.join(kinds)}"
            raise InputError(where, column=part, value=name, cause=cause, cure=cure)
        missing = int(known[name].is_missing().sum())
        if missing:
            value = "the median" if known[name].kind == "number" else f"the priority {NEUTRAL}"
            message = "stakeholders: %d of %d items have no %s, and get %s"
            logger.warning(message, missing, data.n_items, name, value)

    def _scaled(self, features: Features, n: int) -> dict[str, Values]:
        """Return the values of n items by part, (n,) in [0, 1]; 0 for a part without a feature."""
        out = {}
        for at, part in enumerate(("provider", "platform")):
            name, scale = getattr(self, part), self._learnt["ranges"][at]
            feature = features.get(name)
            if not name or scale[1] > scale[0]:
                out[part] = _in_range(feature, scale, n) if name else np.zeros(n)
            else:
                out[part] = _mean_priority(feature, self._learnt["priority"], n)
        return out


def _range(values: Values, where: str, name: str) -> Values:
    """Return the two ends of the scale of a number, and its median, (3,); raises InputError if it does not differ."""
    known = values[np.isfinite(values)].astype(np.float64)
    low, high, median = np.quantile(known, [*ENDS, 0.5]) if len(known) else (0.0, 0.0, 0.0)
    if not low < high:
        low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    if not low < high:
        cause = "it does not differ between items, or is always missing"
        raise InputError(where, value=name, cause=cause, cure="remove it, or name another feature")
    return np.array([low, high, median])


def _in_range(feature: Feature | None, scale: Values, n: int) -> Values:
    """Return the scaled values of a number, (n,); the median's where there is none."""
    low, high, median = scale
    values = np.full(n, np.nan) if feature is None or feature.kind != "number" else feature.values.astype(np.float64)
    scaled = (np.where(np.isfinite(values), values, median) - low) / (high - low)
    return np.asarray(np.clip(scaled, 0.0, 1.0))


def _priorities(feature: Feature, data: Dataset) -> Values:
    """Return the priority of each provider, (P,), from its shares of the known items and of the positive events."""
    row, code = feature.members()
    times = np.bincount(data.positives().item, minlength=data.n_items)
    catalogue = np.bincount(code, data.known_items[row].astype(np.float64), len(feature.names))
    events = np.bincount(code, times[row], len(feature.names))
    catalogue, events = catalogue / max(catalogue.sum(), 1), events / max(events.sum(), 1)
    total = catalogue + events
    return np.asarray(np.divide(catalogue, total, out=np.ones(len(total)), where=events > 0))


def _mean_priority(feature: Feature | None, priority: Values, n: int) -> Values:
    """Return the mean priority of the providers of each of n items, (n,); `NEUTRAL` without one."""
    if feature is None or feature.kind not in ("categorical", "bag"):
        return np.full(n, NEUTRAL)
    row, code = feature.members()
    inside = code < len(priority)
    count = np.bincount(row[inside], minlength=n)
    total = np.bincount(row[inside], priority[code[inside]], n)
    return np.where(count > 0, total / np.maximum(count, 1), NEUTRAL)
