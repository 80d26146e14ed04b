"""What a policy did in a list that is shown: results of its rules, and categories beside those of the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pasand.reranking.calibration.attributes import Attributes
from pasand.reranking.rules.rule_results import rule_results
from pasand.reranking.rules.rules import Rules
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RuleOutcome
from pasand.types import Queries

MOST_CATEGORIES = 6
"""Categories of a feature that are shown, those with the largest share of the history or the list."""


def rules_of(variant: Variant) -> Rules | None:
    """Return the stage that keeps the rules of a variant's policy; None without rules."""
    components = variant.bundle.assembly.components.values()
    return next((part for part in components if isinstance(part, Rules)), None)


def outcomes(variant: Variant, items: Sequence[int], now: int) -> list[RuleOutcome]:
    """Return what each rule of the variant's policy did in a list of item rows; [] without rules or items."""
    rules = rules_of(variant)
    if rules is None or not len(items):
        return []
    (found,) = rule_results(rules, np.array([items], np.int32), np.array([now], np.int64))
    return [RuleOutcome(one.name, one.count, one.slots, one.low, one.high, one.holds, str(one)) for one in found]


def calibrated(variant: Variant, queries: Queries, items: Sequence[int]) -> list[dict[str, Any]]:
    """Return for each calibrated feature the share of its categories in the history and in the list of one query.

    The history is that which a calibration aims at, with the shrinkage to all users; [] without a calibration.
    """
    components = variant.bundle.assembly.components.values()
    attributes = next((part for part in components if isinstance(part, Attributes)), None)
    if attributes is None or not len(items):
        return []
    history = attributes.target(queries)[0]
    shown = attributes.shown(np.array([items], np.int32))[0]
    found, first = [], 0
    for name in attributes.names:
        names = variant.bundle.data.item_features[name].names
        of = slice(first, first := first + len(names))
        largest = np.argsort(-np.maximum(history[of], shown[of]), kind="stable")[:MOST_CATEGORIES].tolist()
        categories = [
            {"name": names[c], "history": float(history[of][c]), "list": float(shown[of][c])} for c in largest
        ]
        found.append({"feature": name, "categories": [one for one in categories if one["history"] or one["list"]]})
    return found
