"""`Groups`: which items each rule of a policy concerns; ages and the user's values are those of the query."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.data.bags import Bags
from pasand.data.conditions import is_any_of, is_between
from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.errors import InputError
from pasand.growable import extended
from pasand.layouts import Entry, check
from pasand.reranking.rules.categories import are_of, categories, code_of_item, values_of_users
from pasand.reranking.rules.rule import Range, Rule, Scalar
from pasand.types import Array, Arrays, Mask, Rows, Times, within

logger = logging.getLogger(__name__)

DAY = 86_400
MAX_RULES = 12
"""Rules of one policy at most; the time to keep them grows with their number."""
MAX_MASKS = 16
"""Masks of the catalogue, each for values of a user, that are kept."""

__all__ = ["DAY", "MAX_RULES", "Groups", "Range", "Rule"]


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
        ranges = [
            (r, name, wanted)
            for r, rule in enumerate(self.rules)
            for name, wanted in rule.where.items()
            if isinstance(wanted, Range)
        ]
        self._ages = [(r, name, wanted) for r, name, wanted in ranges if wanted.aged]
        self._of_users = [(r, name, wanted.user) for r, name, wanted in ranges if wanted.user is not None]
        self._member: Array = np.empty(0, np.int64)
        self._times: Times = np.empty((0, 0), np.int64)
        self._categories: dict[str, Bags] = {name: Bags.empty(0) for name in self._with_categories()}
        self._code_of_item: list[Rows] = [np.full(1, -1, np.int32) for _ in self._of_user()]
        self._masks: dict[tuple[int, bytes], Mask] = {}
        self._in_group: dict[int, Mask] = {}

    def __len__(self) -> int:
        return len(self.rules)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Look up the members of each group.

        Raises InputError, naming the rule, for a feature that items do not have, a condition that does not suit its
        kind, and a group that is empty or has all items. Groups by age or by the user are exempt from the last, as they
        change, and so is a rule with `each` and without conditions. A warning counts the items without a value, which
        are in no group of the feature.
        """
        self._member, self._times, self._categories = self._looked_up(data.item_features, data.n_items, data.name)
        exempt = {r for r, _, _ in (*self._aged(), *self._of_user())}
        exempt |= {r for r, rule in enumerate(self.rules) if not rule.where}
        self._code_of_item = [
            code_of_item(data.user_features, user, data.item_features[name], self._location(data.name, r))
            for r, name, user in self._of_user()
        ]
        self._forget()
        for r, rule in enumerate(self.rules):
            where, n = self._location(data.name, r), int((self._member >> r & 1).sum())
            if r not in exempt and n in (0, data.n_items):
                cause = "no item is in its group" if not n else "every item is in its group"
                known = {name: _values(data.item_features[name]) for name in rule.where}
                known = {name: values for name, values in known.items() if values}
                hint = "; ".join(f"{name} has the values {values}" for name, values in known.items())
                raise InputError(where, cause=cause, cure=f"change its conditions{': ' if hint else ''}{hint}")
            for name in dict.fromkeys([*rule.where, *filter(None, [rule.each])]):
                missing = int(data.item_features[name].is_missing().sum())
                if missing:
                    effect = "are not in its group" if name in rule.where else "are not counted by it"
                    message = "rule %r: %d of %d items have no %s, and %s"
                    logger.warning(message, rule.name, missing, data.n_items, name, effect)
        return self

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features."""
        n = max(map(len, features.values()), default=0)
        member, times, found = self._looked_up(features, n, "new items")
        self._member = extended(self._member, member)
        self._times = np.concatenate([self._times, times])
        self._categories = {name: bags.extended(found[name]) for name, bags in self._categories.items()}
        self._forget()

    def state(self) -> Arrays:
        """Return the members of the groups, bit r for rule r, the times that ages are counted from, and categories."""
        arrays = {"member": self._member, "times": self._times}
        for i, bags in enumerate(self._categories.values()):
            arrays |= {f"codes.{i}": bags.codes, f"start.{i}": bags.start}
        return arrays | {f"code_of_item.{i}": codes for i, codes in enumerate(self._code_of_item)}

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        layout = {"member": Entry("int64", "N", lowest=0, below=1 << len(self.rules)), "times": Entry("int64", "N A")}
        sizes = check(arrays, layout, A=len(self._aged()))
        for i in range(len(self._categories)):
            one = {f"codes.{i}": Entry("int32", "T", lowest=0), f"start.{i}": Entry("int64", "N+1", rises_to="T")}
            check(arrays, one, N=sizes["N"])
        for i in range(len(self._code_of_item)):
            check(arrays, {f"code_of_item.{i}": Entry("int32", "*", lowest=-1)})
        self._member, self._times = arrays["member"], arrays["times"]
        self._categories = {
            name: Bags(arrays[f"codes.{i}"], arrays[f"start.{i}"]) for i, name in enumerate(self._categories)
        }
        self._code_of_item = [arrays[f"code_of_item.{i}"] for i in range(len(self._code_of_item))]
        self._forget()

    def member(self, items: Rows, time: Times, features: Mapping[str, Array] | None = None) -> Array:
        """Return the groups of each item at its query as bits, (B, K), (B,) -> (B, K) int64; 0 at row -1.

        `features` are those of the queries: groups of the user's values are empty without them.
        """
        bits: Array = _members(np.ascontiguousarray(items), self._member)
        if ages := self._aged():
            rows = within(items, len(self._member))
            for column, (r, _, wanted) in enumerate(ages if len(self._times) else ()):
                outside = ~_has_age(self._times[rows, column], time[:, None], wanted)
                bits &= ~(outside.astype(np.int64) << r)
        for condition, (r, name, _) in enumerate(self._of_user()):
            inside = are_of(items, self._categories[name], self._wanted(condition, features, len(items)))
            bits &= ~((~inside).astype(np.int64) << r)
        return bits

    def void(self, features: Mapping[str, Array], n: int) -> Array:
        """Return which rules do not apply to each of n queries, as bits, (n,): the user lacks a value of theirs."""
        bits = np.zeros(n, np.int64)
        for r, _, user in self._of_user():
            bits |= (values_of_users(features, user, n) < 0).all(axis=1).astype(np.int64) << r
        return bits

    def values(self, rule: int, items: Rows) -> Bags:
        """Return the values of which a rule with `each` bounds every one, of items, (n,) -> n rows."""
        return self._categories[self.rules[rule].each].select(items)

    def mask(self, rule: int, time: Times, features: Mapping[str, Array] | None = None) -> Mask:
        """Return which items of the catalogue are in the group of a rule at each query, (B, N), or (1, N) for all.

        One row is for all queries if the group depends neither on the time nor on the user.
        """
        if rule not in self._in_group:
            self._in_group[rule] = (self._member >> rule & 1).astype(np.bool_)[None, :]
        mask = self._in_group[rule]
        times = np.unique(time) if any(r == rule for r, _, _ in self._aged()) else time[:1]
        at = times if len(times) < 2 else time
        for column, (r, _, wanted) in enumerate(self._aged()):
            if r == rule and len(at):
                mask = mask & _has_age(self._times[None, :, column], at[:, None], wanted)
        for condition, (r, _, _) in enumerate(self._of_user()):
            if r == rule:
                wanted_codes = self._wanted(condition, features, len(time))
                mask = mask & np.stack([self._with_codes(condition, codes) for codes in wanted_codes])
        return mask

    def _forget(self) -> None:
        """Drop the masks of the catalogue that are kept, as it has changed."""
        self._masks.clear()
        self._in_group.clear()

    def _wanted(self, condition: int, features: Mapping[str, Array] | None, n: int) -> Rows:
        """Return the item codes of the user's values in n queries, (n, L), padded with -1."""
        user = [user for _, _, user in self._of_user()][condition]
        codes, values = self._code_of_item[condition], values_of_users(features, user, n)
        return codes[np.where(values < len(codes) - 1, values, -1)]

    def _with_codes(self, condition: int, codes: Rows) -> Mask:
        """Return which items of the catalogue have one of the codes, (N,); the last results are kept."""
        key = condition, np.sort(codes[codes >= 0]).tobytes()
        if key not in self._masks:
            if len(self._masks) >= MAX_MASKS:
                self._masks.clear()
            name = [name for _, name, _ in self._of_user()][condition]
            rows = np.arange(len(self._member), dtype=np.int32)[None, :]
            self._masks[key] = are_of(rows, self._categories[name], codes[None, :])[0]
        return self._masks[key]

    def _of_user(self) -> list[tuple[int, str, str]]:
        """Return the rule, the item feature and the user feature of each condition on the user's value, in order."""
        return self._of_users

    def _with_categories(self) -> list[str]:
        """Return the item features whose categories are needed at the query, each once."""
        named = [name for _, name, _ in self._of_user()] + [rule.each for rule in self.rules if rule.each]
        return list(dict.fromkeys(named))

    def _location(self, where: str, rule: int) -> str:
        return f"{where}, rule {self.rules[rule].name!r}"

    def _aged(self) -> list[tuple[int, str, Range]]:
        """Return the rule, the feature and the condition of each condition on an age, in the order of their columns."""
        return self._ages

    def _looked_up(self, features: Features, n: int, where: str) -> tuple[Array, Times, dict[str, Bags]]:
        """Return the bits of the conditions that hold for any query, (n,), times, (n, A), and categories by feature."""
        member = np.zeros(n, np.int64)
        for r, rule in enumerate(self.rules):
            inside, location = np.ones(n, np.bool_), self._location(where, r)
            for name in (*rule.where, *filter(None, [rule.each])):
                if name not in features:
                    known = ", ".join(features) or "none"
                    cause = "items have no such feature"
                    raise InputError(location, value=name, cause=cause, cure=f"use one of: {known}")
            for name, wanted in rule.where.items():
                try:
                    inside &= _meets(features[name], wanted)
                except ValueError as error:
                    cure = "use a condition that suits its kind"
                    raise InputError(location, column=name, cause=str(error), cure=cure) from None
            member |= inside.astype(np.int64) << r
        columns = [features[name].values for _, name, _ in self._aged()]
        users = {rule.each: self._location(where, r) for r, rule in enumerate(self.rules)}
        users |= {name: self._location(where, r) for r, name, _ in self._of_user()}
        found = {name: categories(features, name, users[name]) for name in self._categories}
        return member, np.stack(columns, axis=1) if columns else np.empty((n, 0), np.int64), found


@njit(cache=True, nogil=True)
def _members(items: Rows, member: Array) -> Array:
    """Return the bits of each item, (B, K); 0 at row -1 and beyond the table."""
    bits = np.zeros(items.shape, np.int64)
    for b in range(items.shape[0]):
        for i in range(items.shape[1]):
            if 0 <= items[b, i] < len(member):
                bits[b, i] = member[items[b, i]]
    return bits


def _meets(feature: Feature, wanted: Scalar | list[Scalar] | Range) -> Mask:
    """Return whether each row meets the part of a condition that does not depend on the time of the query, (N,)."""
    if not isinstance(wanted, Range):
        return is_any_of(feature, wanted if isinstance(wanted, list) else [wanted])
    if wanted.aged and feature.kind != "time":
        raise ValueError(f"ages are of times, this is {feature.kind}")
    if wanted.user is not None:
        return np.ones(len(feature), np.bool_)
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
