"""`Groups`: which items each rule of a policy concerns, from conditions on item features; ages count at query time."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.random import Generator

from pasand.data.conditions import is_any_of, is_between
from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.errors import InputError
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.types import Array, Arrays, Mask, Rows, Times

logger = logging.getLogger(__name__)

DAY = 86_400
MAX_RULES = 12
"""Rules of one policy at most; the time to keep them grows with their number."""
NEARLY = 1e-9
"""Amount by which a share times the slots may miss a whole number, as .15 x 20 does in floating point."""

Scalar = str | int | float | bool


class Range(Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on numbers or times: a range, both ends included, or the age of a time in days."""

    min: float | None = None
    max: float | None = None
    min_age_days: float | None = None
    """For times: least number of days between the feature's time and the query's."""
    max_age_days: float | None = None
    """For times: largest number of days; an item with a time after the query's is in no group of ages."""

    @property
    def aged(self) -> bool:
        """Whether the condition is on the age, and so depends on the time of the query."""
        return self.min_age_days is not None or self.max_age_days is not None


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on the number of a group's items in a list; an item without a value for a feature is in no group of it."""

    name: str
    where: dict[str, Scalar | list[Scalar] | Range]
    """Conditions on item features, as in the filters of a request; an item must meet all of them."""
    min_share: float | None = None
    """Share of the slots that must be of the group, rounded up."""
    max_share: float | None = None
    """Share of the slots that may be of the group, rounded down."""
    min_count: int | None = None
    max_count: int | None = None
    first: int = 0
    """Number of slots at the top that the rule concerns; 0: all."""
    every_prefix: bool = False
    """Whether the share also bounds every shorter prefix: there a minimum is rounded down, and a maximum up."""
    significance: float | None = None
    """The minimum is that of the FA*IR test with this significance, on every prefix; `min_share` is its probability."""

    def bounds(self, slots: int) -> tuple[int, int, int]:
        """Return how many slots the rule concerns, of those that are filled, and the bounds on the group's items.

        >>> Rule(name="new", where={}, min_share=0.15).bounds(20)
        (20, 3, 20)
        """
        m = min(self.first or slots, slots)
        low, high = self.min_count or 0, m if self.max_count is None else min(self.max_count, m)
        if self.min_share is not None:
            low = math.ceil(self.min_share * m - NEARLY)
        if self.max_share is not None:
            high = math.floor(self.max_share * m + NEARLY)
        return m, low, high

    def __str__(self) -> str:
        """Return the bounds in words, such as "at least 15 % of the first 10 slots"."""
        share = [(self.min_share, "at least"), (self.max_share, "at most")]
        count = [(self.min_count, "at least"), (self.max_count, "at most")]
        parts = [f"{words} {100 * value:g} %" for value, words in share if value is not None]
        parts += [f"{words} {value}" for value, words in count if value is not None]
        slots = f"of the first {self.first} slots" if self.first else "of the slots"
        test = "" if self.significance is None else f", by FA*IR with significance {self.significance:g}"
        return f"{' and '.join(parts)} {slots}{', on every prefix' if self.every_prefix else ''}{test}"

    def wrong(self) -> str:
        """Return what is wrong with the rule, "" if nothing is."""
        shares = [("min_share", self.min_share), ("max_share", self.max_share)]
        counts = [("min_count", self.min_count), ("max_count", self.max_count), ("first", self.first)]
        for name, value in shares:
            if value is not None and not 0 <= value <= 1:
                return f"{name} must be a share in [0, 1], got {value}"
        for name, count in counts:
            if count is not None and count < 0:
                return f"{name} must not be negative, got {count}"
        if self.min_share is not None and self.min_count is not None:
            return "min_share and min_count are both given"
        if self.max_share is not None and self.max_count is not None:
            return "max_share and max_count are both given"
        if all(value is None for _, value in (*shares, *counts[:2])):
            return "it has no bound: give min_share, max_share, min_count or max_count"
        if (self.min_share or 0) > (1 if self.max_share is None else self.max_share):
            return f"min_share {self.min_share} is above max_share {self.max_share}"
        if self.max_count is not None and (self.min_count or 0) > self.max_count:
            return f"min_count {self.min_count} is above max_count {self.max_count}"
        if self.first and (self.min_count or 0) > self.first:
            return f"min_count {self.min_count} is more than the first {self.first} slots"
        if self.significance is not None and not (0 < self.significance < 1 and 0 < (self.min_share or 0) < 1):
            return f"significance must be in (0, 1), with a min_share in (0, 1), got {self.significance}"
        if not self.where:
            return "it has no condition: give where = { FEATURE = VALUE }"
        return ""


@dataclass
class Groups:
    """The item groups of a policy's rules, as bits of one number per item; the order of the rules is their priority."""

    rules: Sequence[Rule]

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if not 1 <= len(names) <= MAX_RULES:
            raise ValueError(f"a policy has 1 to {MAX_RULES} rules, got {len(names)}")
        for rule in self.rules:
            if wrong := rule.wrong():
                raise ValueError(f"rule {rule.name!r}: {wrong}")
            if names.count(rule.name) > 1:
                raise ValueError(f"two rules are named {rule.name!r}")
        self._member: Array = np.empty(0, np.int64)
        self._times: Times = np.empty((0, 0), np.int64)

    def __len__(self) -> int:
        return len(self.rules)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up the members of each group.

        Raises InputError, naming the rule, for a feature that items do not have, a condition that does not suit its
        kind, and a group that is empty or has all items. Groups by age are exempt from the last, as they change. A
        warning counts the items without a value, which are in no group of the feature.
        """
        self._member, self._times = self._looked_up(data.item_features, data.n_items, data.name)
        aged = {r for r, _, _ in self._aged()}
        for r, rule in enumerate(self.rules):
            where, n = f"{data.name}, rule {rule.name!r}", int((self._member >> r & 1).sum())
            if r not in aged and n in (0, data.n_items):
                cause = "no item is in its group" if not n else "every item is in its group"
                known = {name: _values(data.item_features[name]) for name in rule.where}
                known = {name: values for name, values in known.items() if values}
                hint = "; ".join(f"{name} has the values {values}" for name, values in known.items())
                raise InputError(where, cause=cause, cure=f"change its conditions{': ' if hint else ''}{hint}")
            for name in rule.where:
                missing = int(data.item_features[name].is_missing().sum())
                if missing:
                    message = "rule %r: %d of %d items have no %s, and are not in its group"
                    logger.warning(message, rule.name, missing, data.n_items, name)
        return self

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features."""
        n = max(map(len, features.values()), default=0)
        member, times = self._looked_up(features, n, "new items")
        self._member = extended(self._member, member)
        self._times = np.concatenate([self._times, times])

    def state(self) -> Arrays:
        """Return the members of the groups, bit r for rule r, and the times that ages are counted from."""
        return {"member": self._member, "times": self._times}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        layout = {"member": Entry("int64", "N", lowest=0, below=1 << len(self.rules)), "times": Entry("int64", "N A")}
        check(arrays, layout, A=len(list(self._aged())))
        self._member, self._times = arrays["member"], arrays["times"]

    def member(self, items: Rows, time: Times) -> Array:
        """Return the groups of each item at the time of its query as bits, (B, K), (B,) -> (B, K) int64; 0 at -1."""
        known = (items >= 0) & (items < len(self._member))
        rows = np.where(known, items, 0)
        bits = np.where(known, self._member[rows], 0) if len(self._member) else np.zeros(items.shape, np.int64)
        for column, (r, _, wanted) in enumerate(self._aged()):
            outside = ~_has_age(self._times[rows, column], time[:, None], wanted)
            bits &= ~(outside.astype(np.int64) << r)
        return bits

    def mask(self, rule: int, time: Times) -> Mask:
        """Return which items of the catalogue are in the group of a rule at each time, (B, N), or (1, N) for one time.

        One row is for all queries if the group does not depend on the time.
        """
        times = np.unique(time) if any(r == rule for r, _, _ in self._aged()) else time[:1]
        at = times if len(times) < 2 else time
        mask = np.repeat((self._member >> rule & 1).astype(np.bool_)[None, :], max(1, len(at)), axis=0)
        for column, (r, _, wanted) in enumerate(self._aged()):
            if r == rule and len(at):
                mask &= _has_age(self._times[None, :, column], at[:, None], wanted)
        return mask

    def _aged(self) -> Iterator[tuple[int, str, Range]]:
        """Yield the rule, the feature and the condition of each condition on an age, in the order of their columns."""
        for r, rule in enumerate(self.rules):
            for name, wanted in rule.where.items():
                if isinstance(wanted, Range) and wanted.aged:
                    yield r, name, wanted

    def _looked_up(self, features: Features, n: int, where: str) -> tuple[Array, Times]:
        """Return the bits of the conditions that hold at any time, (n,), and the times of the others, (n, A)."""
        member = np.zeros(n, np.int64)
        for r, rule in enumerate(self.rules):
            inside = np.ones(n, np.bool_)
            for name, wanted in rule.where.items():
                location = f"{where}, rule {rule.name!r}"
                if name not in features:
                    known = ", ".join(features) or "none"
                    cause = "items have no such feature"
                    raise InputError(location, value=name, cause=cause, cure=f"use one of: {known}")
                try:
                    inside &= _meets(features[name], wanted)
                except ValueError as error:
                    cure = "use a condition that suits its kind"
                    raise InputError(location, column=name, cause=str(error), cure=cure) from None
            member |= inside.astype(np.int64) << r
        columns = [features[name].values for _, name, _ in self._aged()]
        return member, np.stack(columns, axis=1) if columns else np.empty((n, 0), np.int64)


def _meets(feature: Feature, wanted: Scalar | list[Scalar] | Range) -> Mask:
    """Return whether each row meets the part of a condition that does not depend on the time of the query, (N,)."""
    if not isinstance(wanted, Range):
        return is_any_of(feature, wanted if isinstance(wanted, list) else [wanted])
    if wanted.aged and feature.kind != "time":
        raise ValueError(f"ages are of times, this is {feature.kind}")
    low, high = -math.inf if wanted.min is None else wanted.min, math.inf if wanted.max is None else wanted.max
    return is_between(feature, low, high)


def _has_age(times: Times, now: Times, wanted: Range) -> Mask:
    """Return whether times are of the wanted age in days at other times; False for unknown and for later times."""
    low = 0 if wanted.min_age_days is None else max(0, wanted.min_age_days)
    high = math.inf if wanted.max_age_days is None else wanted.max_age_days
    known = times != TIME_UNKNOWN
    days = (now - np.where(known, times, 0)) / DAY
    inside: Mask = known & (days >= low) & (days <= high)
    return inside


def _values(feature: Feature) -> str:
    """Return the first categories of a feature in words; "" if it has none."""
    return ", ".join(feature.names[:10])
