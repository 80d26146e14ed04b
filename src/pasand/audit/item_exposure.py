"""Exposure of groups of items against their share of the catalogue, of interactions and of merit."""

from __future__ import annotations

import numpy as np

from pasand.audit.estimates import Estimate, Finding, compared, constant, mean_of, ratio_of_sums
from pasand.audit.groups import Grouping
from pasand.audit.lists import Lists
from pasand.types import Array

DEFINITION = (
    "Exposure of a group: the positions of its items in the lists, weighted by 1 / log2(rank + 1), as a share of the "
    "exposure of all items; each user counts once. It is compared with merit: the share of the group among the items "
    "that the test users chose next. Singh & Joachims, Fairness of Exposure in Rankings, KDD 2018 (disparate "
    "treatment). Merit is measured under the exposure of the past, and may repeat its bias: the shares of the "
    "catalogue available at the queries, and of the positive train events, are therefore beside it."
)


def by_group(lists: Lists, groupings: list[Grouping]) -> tuple[list[Finding], list[str]]:
    """Return the exposure of each group of items against its merit, and the groups without merit, which are skipped."""
    findings, left_out = [], []
    for grouping in groupings:
        for g, label in enumerate(grouping.labels):
            merit = merit_share(lists, grouping, g)
            if not merit.value > 0:
                left_out.append(f"{grouping.name}: {label} has no merit: no test user chose one of its items")
                continue
            findings.append(
                compared(
                    exposure_share(lists, grouping, g),
                    merit,
                    measure="exposure",
                    reference_name="merit",
                    attribute=grouping.name,
                    group=label,
                    context={
                        "catalogue": catalogue_share(lists, grouping, g),
                        "interactions": interaction_share(lists, grouping, g),
                    },
                )
            )
    return findings, left_out


def exposure_share(lists: Lists, grouping: Grouping, g: int) -> Estimate:
    """Return the share of a group in the exposure of all items."""
    inside = grouping.member(g, lists.items, lists.time[:, None])
    return ratio_of_sums(lists.exposure(inside), lists.exposure(np.ones(lists.items.shape, np.bool_)))


def merit_share(lists: Lists, grouping: Grouping, g: int) -> Estimate:
    """Return the mean over users of the share of a group in the relevant items of the user's test queries."""
    query, item, _ = lists.chosen()
    return mean_of(lists.merit(grouping.member(g, item, lists.time[query])))


def catalogue_share(lists: Lists, grouping: Grouping, g: int) -> Estimate:
    """Return the share of a group in the items that are available at the test queries; by day where times matter."""
    return mean_of(lists.by_user(catalogue_shares(lists, grouping, g)))


def catalogue_shares(lists: Lists, grouping: Grouping, g: int) -> Array:
    """Return the share of a group in the catalogue that is available on the day of each query, (Q,)."""
    days, query_day = np.unique(lists.time // 86_400, return_inverse=True)
    last = np.zeros(len(days), np.int64)
    np.maximum.at(last, query_day, lists.time)
    available_from = lists.split.available_from
    rows = np.arange(lists.split.train.n_items, dtype=np.int32)
    shares = np.empty(len(days))
    for day, time in enumerate(last[:, None]):
        available = np.ones(len(rows), np.bool_) if available_from is None else available_from <= time
        shares[day] = (grouping.member(g, rows, time) & available).sum() / max(int(available.sum()), 1)
    return shares[query_day]


def interaction_share(lists: Lists, grouping: Grouping, g: int) -> Estimate:
    """Return the share of a group in the positive train events, at the time of each event; a known figure."""
    positives = lists.split.train.positives()
    inside = grouping.member(g, positives.item, positives.time)
    return constant(float(inside.mean()) if len(inside) else np.nan, len(lists.users))
