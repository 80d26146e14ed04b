"""Categories of items that a rule needs at the query: those of the user, and the values of which each is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numba import njit

from pasand.data.bags import Bags
from pasand.data.features import Feature, Features
from pasand.errors import InputError
from pasand.types import Array, Mask, Offsets, Rows

CATEGORIES = ("categorical", "bag")
"""Kinds of features whose values are categories."""


def categories(features: Features, name: str, where: str) -> Bags:
    """Return the categories of each row of a categorical or a bag; raises InputError for another kind."""
    feature = features[name]
    if feature.kind not in CATEGORIES:
        cure = "name a feature of kind categorical or bag"
        raise InputError(where, column=name, cause=f"it is {feature.kind}, not of categories", cure=cure)
    return feature.bags if feature.kind == "bag" else Bags.of(feature.values[:, None])


def code_of_item(users: Features, user: str, item: Feature, where: str) -> Rows:
    """Return the item code of each code of a user feature, (n + 1,); -1 at the last, and where items lack the value.

    Raises InputError, by name, for a feature that users do not have, for one that is not of categories, and if no
    value is common to both.
    """
    usable = [name for name, feature in users.items() if feature.kind in CATEGORIES]
    cure = f"use one of: {', '.join(usable)}" if usable else "give users a feature of kind categorical or bag"
    if user not in users:
        raise InputError(where, value=user, cause="users have no such feature", cure=cure)
    if user not in usable:
        raise InputError(where, value=user, cause=f"of users it is {users[user].kind}, not of categories", cure=cure)
    codes = {name: code for code, name in enumerate(item.names)}
    found = np.array([*(codes.get(name, -1) for name in users[user].names), -1], np.int32)
    if not (found >= 0).any():
        known = ", ".join(item.names[:10]) or "none"
        cause = "no value of the users' feature is a value of the items'"
        raise InputError(where, value=user, cause=cause, cure=f"use one whose values are among: {known}")
    return found


def values_of_users(features: Mapping[str, Array] | None, name: str, n: int) -> Rows:
    """Return the codes of a user feature in n queries, (n, L), padded with -1; all -1 if it is not given."""
    if features is None or name not in features:
        return np.full((n, 1), -1, np.int32)
    return cast(Rows, features[name].reshape(n, -1))


def are_of(items: Rows, bags: Bags, wanted: Rows) -> Mask:
    """Return whether each item has one of its query's wanted codes, (B, K), (B, L) -> (B, K); False at row -1."""
    found: Mask = _are_of(items, bags.codes, bags.start, np.ascontiguousarray(wanted))
    return found


@njit(cache=True, nogil=True)
def _are_of(items: Rows, codes: Rows, start: Offsets, wanted: Rows) -> Mask:
    found = np.zeros(items.shape, np.bool_)
    for b in range(len(items)):
        for i in range(items.shape[1]):
            row = items[b, i]
            if row < 0 or row >= len(start) - 1:
                continue
            for t in range(start[row], start[row + 1]):
                for code in wanted[b]:
                    if code >= 0 and code == codes[t]:
                        found[b, i] = True
    return found
