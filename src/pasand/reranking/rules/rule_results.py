"""What the rules of a policy did in final lists: counts, bounds, and a sentence for each rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.reranking.rules.rules import Rules
from pasand.types import Rows, Times


@dataclass(frozen=True)
class RuleResult:
    """How many items of a list are in the group of a rule, and how many the rule requires."""

    name: str
    count: int
    slots: int
    """Filled slots that the rule concerns."""
    low: int
    high: int
    holds: bool
    """Whether the bounds hold, on every prefix that the rule bounds."""

    @property
    def required(self) -> str:
        """The bounds on the count in words; "" for bounds that any list of this length keeps."""
        low = f"at least {self.low}" if self.low > 0 else ""
        high = f"at most {self.high}" if self.high < self.slots else ""
        return " and ".join(filter(None, [low, high]))

    def __str__(self) -> str:
        """Return a sentence such as "new sellers: 2 of 10, at least 2 required"."""
        counted = f"{self.name}: {self.count} of {self.slots}"
        if self.holds:
            return f"{counted}, {self.required} required" if self.required else counted
        return f"{counted}, but {self.required} required: the candidates and the rules before it leave no better list"


def rule_results(rules: Rules, items: Rows, time: Times) -> list[list[RuleResult]]:
    """Return the result of each rule in each final list, (B, K) items padded with -1 at the end, (B,) times.

    Rules on the exposure, on each value of a feature or on the user's own values are left out, as no one number of a
    group's items shows whether they hold.
    """
    member, slots = rules.groups.member(items, time), np.count_nonzero(items >= 0, axis=1)
    results: list[list[RuleResult]] = []
    for b, m in enumerate(slots.tolist()):
        low, high = rules.bounds(m)[:2]
        results.append([])
        for r, rule in enumerate(rules.groups.rules):
            if rule.weight != "none" or rule.each or rule.of_user:
                continue
            n = min(rule.first or m, m)
            count = np.cumsum(member[b, :n] >> r & 1)
            holds = bool(((count >= low[r, :n]) & (count <= high[r, :n])).all())
            found, least, most = (int(count[-1]), int(low[r, n - 1]), int(high[r, n - 1])) if n else (0, 0, 0)
            results[b].append(RuleResult(name=rule.name, count=found, slots=n, low=least, high=most, holds=holds))
    return results
