"""Groups of test queries by the length of their history, and the queries of users who are not in train."""

from __future__ import annotations

import numpy as np

from pasand.evaluation.split import COLD_ITEMS_RULE
from pasand.types import Mask, Offsets

LENGTHS = {"0 events": (0, 0), "1-5 events": (1, 5), "6-20 events": (6, 20), "more than 20 events": (21, None)}
"""Fewest and most events in the history, by group; None: no limit."""
NOT_IN_TRAIN = "users not in train"
"""The further group of queries of users without an event in train, whatever the length of their history."""
GROUPS_RULE = (
    "test queries by number of events in their history, as it is at the query; a user with queries in several groups "
    "counts in each, with the mean over the queries in it"
)
"""How queries are grouped, under every protocol."""
NOT_IN_TRAIN_RULE = "users without an event in train, whatever the length of their history; a further group"
"""Which users are not in train, under every protocol."""


def group_rules(not_in_train: bool, cold_items: bool) -> dict[str, str]:
    """Return the definitions of the groups by term, with those of users not in train and of cold items if there are."""
    new = {NOT_IN_TRAIN: NOT_IN_TRAIN_RULE} if not_in_train else {}
    return {"groups": GROUPS_RULE} | new | ({"cold items": COLD_ITEMS_RULE} if cold_items else {})


def history_groups(n_events: Offsets, in_train: Mask) -> dict[str, Mask]:
    """Return for each group which test queries are in it, (Q,).

    `n_events`, (Q,), is the number of events in the history of each query, and `in_train`, (Q,), whether its user has
    an event in train. The groups by length partition the queries; the group of users not in train is a further one.

    >>> groups = history_groups(np.array([0, 7, 5]), np.array([True, True, False]))
    >>> groups["1-5 events"].tolist(), groups["users not in train"].tolist()
    ([False, False, True], [False, False, True])
    """
    groups: dict[str, Mask] = {
        name: (n_events >= low) & (n_events <= (np.iinfo(np.int64).max if high is None else high))
        for name, (low, high) in LENGTHS.items()
    }
    return groups | {NOT_IN_TRAIN: ~in_train}
