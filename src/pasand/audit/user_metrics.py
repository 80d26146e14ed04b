"""Metrics by group of users, each group compared with all other users."""

from __future__ import annotations

import math

import numpy as np

from pasand.audit.estimates import Finding, compared, mean_of
from pasand.audit.groups import Grouping
from pasand.audit.lists import Lists
from pasand.types import Array, Mask

DEFINITION = (
    "Mean of the metric over the users of a group, compared with the mean over all other users with a value of the "
    "feature. Each user counts once. Ekstrand et al., All The Cool Kids, How Do They Fit In?, FAT* 2018."
)
FEWEST = 30
"""Users that a group needs."""


def by_group(lists: Lists, groupings: list[Grouping]) -> tuple[list[Finding], list[str]]:
    """Return the metrics by group of users, and the groups that are left out because they have too few users.

    The standard error of a test is at least the pooled one, which assumes one variance in both groups: in a small group
    in which no user has a hit, the values have no variance of their own.
    """
    findings, left_out = [], []
    for grouping in groupings:
        members = np.array([grouping.table[g, lists.users] for g in range(len(grouping.labels))])
        known = members.any(axis=0)
        for label, inside in zip(grouping.labels, members, strict=True):
            others = known & ~inside
            if min(inside.sum(), others.sum()) < FEWEST:
                n = f"{inside.sum():,} test users, and {others.sum():,} others"
                left_out.append(f"{grouping.name}: {label} has {n}; a comparison needs {FEWEST} of each")
                continue
            findings += [
                _finding(name, values, grouping.name, label, inside, others) for name, values in lists.metrics.items()
            ]
    return findings, left_out


def _finding(name: str, values: Array, attribute: str, label: str, inside: Mask, others: Mask) -> Finding:
    value, reference = mean_of(values, inside), mean_of(values, others)
    return compared(
        value,
        reference,
        measure=name,
        reference_name="other users",
        attribute=attribute,
        group=label,
        least_error=pooled_error(values[inside], values[others]),
    )


def pooled_error(first: Array, second: Array) -> float:
    """Return the standard error of the difference of two means if both have one variance; 0 with too few values."""
    first, second = first[~np.isnan(first)], second[~np.isnan(second)]
    if min(len(first), len(second)) < 2:
        return 0.0
    squares = ((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()
    return math.sqrt(squares / (len(first) + len(second) - 2) * (1 / len(first) + 1 / len(second)))


def distinct(metrics: dict[str, Array]) -> tuple[dict[str, Array], list[str]]:
    """Return the metrics without those that are a multiple of an earlier one for every user, and a note for each.

    With one relevant item per query recall, hit rate and precision are the same but for a factor, and testing them all
    would only make the correction stricter.
    """
    kept: dict[str, Array] = {}
    notes = []
    for name, values in metrics.items():
        same = next((one for one, earlier in kept.items() if _proportional(values, earlier)), None)
        if same is None:
            kept[name] = values
        else:
            notes.append(f"{name} is a multiple of {same} for every user, and is not repeated")
    return kept, notes


def _proportional(first: Array, second: Array) -> bool:
    largest = [float(np.nanmax(np.abs(values), initial=0.0)) for values in (first, second)]
    if not all(largest) or (np.isnan(first) != np.isnan(second)).any():
        return False
    return np.allclose(first / largest[0], second / largest[1], rtol=0, atol=1e-6, equal_nan=True)
