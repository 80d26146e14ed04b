"""Popularity bias: Gini coefficient of exposure, average popularity, share of the head."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pasand.audit import item_exposure
from pasand.audit.estimates import Estimate, Finding, compared, constant, mean_of, ratio_of_sums
from pasand.audit.groups import POPULARITY, item_grouping
from pasand.audit.lists import Lists
from pasand.metrics.exposure import Gini
from pasand.types import Array

DEFINITION = (
    "Gini coefficient of the exposure of the available items, beside that of their positive train events: 0 where all "
    "have the same, near 1 where one has all. Average recommendation popularity (ARP): mean number of positive train "
    "events of the recommended items, weighted by position, compared with that of the users' own histories, where the "
    "user's own event is not counted. Yin et al., "
    "Challenging the Long Tail Recommendation, PVLDB 2012; lift over histories: Abdollahpouri et al., The Connection "
    "Between Popularity Bias, Calibration, and Fairness in Recommendation, RecSys 2020. Share of the head: exposure of "
    "the most popular items that hold 20 % of the positive train events."
)


def measure(lists: Lists) -> list[Finding]:
    """Return the Gini coefficient, the average recommendation popularity and the share of the head."""
    train, n = lists.split.train, len(lists.users)
    count = np.bincount(train.positives().item, minlength=train.n_items).astype(np.float64)
    offered = lists.split.offered
    before = constant(Gini(k=lists.k)(count[offered]), n)
    _, item, _ = lists.chosen()
    recommended = ratio_of_sums(
        lists.exposure(count[lists.items]), lists.exposure(np.ones(lists.items.shape, np.bool_))
    )
    grouping = item_grouping(POPULARITY, train) if POPULARITY not in train.item_features else None
    findings = [
        compared(
            gini(lists.item_exposure()[:, np.flatnonzero(offered)]),
            before,
            measure="Gini coefficient of exposure",
            reference_name="train events",
            tested=False,
        ),
        compared(
            recommended,
            mean_of(popularity_of_histories(lists, count)),
            measure="average recommendation popularity",
            reference_name="users' histories",
            context={"chosen items": mean_of(lists.merit(count[item]))},
        ),
    ]
    if grouping is not None:
        findings.append(
            compared(
                item_exposure.exposure_share(lists, grouping, 0),
                item_exposure.merit_share(lists, grouping, 0),
                measure="share of the head",
                reference_name="merit",
                tested=False,
                context={"catalogue": item_exposure.catalogue_share(lists, grouping, 0)},
            )
        )
    return findings


def popularity_of_histories(lists: Lists, count: Array) -> Array:
    """Return the mean number of train events by other users of the items in each user's history, (n,), over queries."""
    train, means = lists.split.train, np.full(len(lists.items), np.nan)
    end = int(train.time[-1]) if len(train) else 0
    for which, history, time in lists.histories():
        real = history >= 0
        others = np.where(real, count[history] - (time <= end), 0)
        n = real.sum(axis=1)
        means[which] = np.where(n > 0, others.sum(axis=1) / np.maximum(n, 1), np.nan)
    return lists.by_user(means)


def gini(exposure: sparse.csr_array) -> Estimate:
    """Return the Gini coefficient of the items' exposure, given by user, (n, N); nan without exposure.

    With G = sum of (2 r - N - 1) x / (N sum of x) over items of rank r and exposure x, its derivative by x is
    ((2 r - N - 1) / N - G) / (sum of x), and the influence of a user is its inner product with the user's exposure.
    """
    n, n_items = exposure.shape
    total = np.asarray(exposure.sum(axis=0), np.float64)
    value = Gini(k=0)(total)
    if np.isnan(value):
        return constant(np.nan, n)
    rank = np.empty(n_items)
    rank[np.argsort(total, kind="stable")] = np.arange(1, n_items + 1)
    return Estimate(value, np.asarray(exposure @ (((2 * rank - n_items - 1) / n_items - value) / total.sum())), n)
