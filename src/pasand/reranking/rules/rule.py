"""`Rule`: bounds on the items of a group in a list, and the conditions that define the group."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

NEARLY = 1e-9
"""Amount by which a share times the slots may miss a whole number, as .15 x 20 does in floating point."""

PREFIXES = ("first", "every_prefix", "significance")
"""Fields by which a rule concerns fewer than all slots."""

Scalar = str | int | float | bool


class Range(Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on numbers or times: a range, both ends included, or an age; or that the user has the same value."""

    min: float | None = None
    max: float | None = None
    min_age_days: float | None = None
    """For times: least number of days between the feature's time and the query's."""
    max_age_days: float | None = None
    """For times: largest number of days; an item with a time after the query's is in no group of ages."""
    user: str | None = None
    """For categories: name of a user feature; the item has its value at the query, of a bag one of its values."""

    @property
    def aged(self) -> bool:
        """Whether the condition is on the age, and so depends on the time of the query."""
        return self.min_age_days is not None or self.max_age_days is not None

    def wrong(self) -> str:
        """Return what is wrong with the condition, "" if nothing is."""
        bounds = (self.min, self.max, self.min_age_days, self.max_age_days)
        if self.user is not None and any(bound is not None for bound in bounds):
            return f"a condition on the user's {self.user} has no other bounds: remove them"
        return ""


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on the number of a group's items in a list; an item without a value for a feature is in no group of it."""

    name: str
    where: dict[str, Scalar | list[Scalar] | Range] = {}
    """Conditions on item features, as in the filters of a request; an item must meet all of them. Needed without
    `each`."""
    each: str = ""
    """Item feature, categorical or bag: the maximum is for each of its values by itself."""
    min_share: float | None = None
    """Share of the slots that must be of the group, rounded up; with `weight` a share of the exposure."""
    max_share: float | None = None
    """Share of the slots that may be of the group, rounded down; with `weight` a share of the exposure."""
    min_count: int | None = None
    max_count: int | None = None
    first: int = 0
    """Number of slots at the top that the rule concerns; 0: all."""
    every_prefix: bool = False
    """Whether the share also bounds every shorter prefix: there a minimum is rounded down, and a maximum up."""
    significance: float | None = None
    """The minimum is that of the FA*IR test with this significance, on every prefix; `min_share` is its probability."""
    weight: Literal["none", "log2"] = "none"
    """Weight of slot j in a share: 1, or 1 / log2(j + 1), so that shares are of the exposure."""

    @property
    def has_minimum(self) -> bool:
        """Whether the rule needs an item of its group in a long list."""
        return bool(self.min_share or self.min_count)

    @property
    def has_maximum(self) -> bool:
        """Whether the rule keeps an item of its group out of a long list."""
        return self.max_count is not None or (self.max_share is not None and self.max_share < 1)

    def bounds(self, slots: int) -> tuple[int, int, int]:
        """Return how many slots the rule concerns, of those that are filled, and the bounds on the group's items.

        A share of the exposure does not bound their number.

        >>> Rule(name="new", where={}, min_share=0.15).bounds(20)
        (20, 3, 20)
        """
        m = min(self.first or slots, slots)
        low, high = self.min_count or 0, m if self.max_count is None else min(self.max_count, m)
        if self.weight == "log2":
            return m, 0, m
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
        slots = f"the first {self.first} slots" if self.first else "the slots"
        slots = f"of the exposure of {slots}" if self.weight == "log2" else f"of {slots}"
        if self.each:
            slots = f"{slots} for each {self.each}"
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
        if self.each and (self.min_share is not None or self.min_count is not None):
            return f"each {self.each} has a maximum only: remove the minimum, or each"
        if self.weight == "log2" and self.min_share is None and self.max_share is None:
            return "weight is for shares: give min_share or max_share"
        if self.weight == "log2" and (used := [name for name in ("each", *PREFIXES[1:]) if getattr(self, name)]):
            return f"a share of the exposure is of all its slots together: remove {used[0]}, or weight"
        if not self.where and not self.each:
            return "it has no condition: give where = { FEATURE = VALUE }"
        wrong = [wanted.wrong() for wanted in self.where.values() if isinstance(wanted, Range)]
        return next(filter(None, wrong), "")

    @property
    def beyond_counts(self) -> list[str]:
        """The fields by which the rule is more than bounds on the number of a group's items in the whole list."""
        used = [name for name in PREFIXES if getattr(self, name)] + ["weight"] * (self.weight == "log2")
        return used + ["each"] * bool(self.each) + ["user"] * self.of_user

    @property
    def of_user(self) -> bool:
        """Whether its group is of a value of the user."""
        return any(isinstance(wanted, Range) and bool(wanted.user) for wanted in self.where.values())
