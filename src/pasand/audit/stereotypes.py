"""Gender stereotypes: recommended categories that go with the gender of a user beyond what the history shows."""

from __future__ import annotations

import numpy as np

from pasand.audit.estimates import Estimate, Finding, compared, constant, mean_of
from pasand.audit.groups import Grouping, item_grouping
from pasand.audit.lists import Lists
from pasand.audit.user_metrics import FEWEST
from pasand.types import Array, Mask

DEFINITION = (
    "Share of a category in the exposure of users of a gender, less that of other users with the same history: the "
    "coefficient of gender in a linear regression of the share in the lists on the shares of all categories in the "
    "history and on its length, with a standard error that allows for unequal variances (HC1; at least that of one "
    "variance). 0: two users with equal histories see the same categories, whatever their gender. The difference "
    "between the histories themselves is beside it. After Zhao et al., Men Also Like Shopping, EMNLP 2017, and Lin "
    "et al., Crank up the volume: preference bias amplification in collaborative recommendation, RMSE workshop 2019."
)


def measure(lists: Lists, genders: Grouping, feature: str) -> list[Finding]:
    """Return the association of each category with each gender that `FEWEST` users have; [] without categories."""
    categories = item_grouping(feature, lists.split.train)
    shown, before, length = category_shares(lists, categories)
    known = ~np.isnan(before).any(axis=1) & ~np.isnan(shown).any(axis=1)
    members = genders.table[:, lists.users] & known
    findings = []
    for label, inside in zip(genders.labels, members, strict=True):
        others = members.any(axis=0) & ~inside
        if min(inside.sum(), others.sum()) < FEWEST:
            continue
        both = inside | others
        coefficients, pooled = association(shown, before, length, inside, both)
        for c, category in enumerate(categories.labels):
            in_history = mean_of(before[:, c], inside) - mean_of(before[:, c], others)
            findings.append(
                compared(
                    coefficients[c],
                    constant(0.0, len(inside)),
                    measure="association beyond histories",
                    reference_name="no association",
                    attribute=f"{genders.name}: {label}",
                    group=category,
                    n_users=int(both.sum()),
                    least_error=float(pooled[c]),
                    context={"difference of histories": in_history},
                )
            )
    return findings


def category_shares(lists: Lists, categories: Grouping) -> tuple[Array, Array, Array]:
    """Return the share of each category in exposure and in histories by user, (n, C), and the histories' length, (n,).

    An item of several categories counts in equal parts in each. nan without an item that has a category.
    """
    never, labels = np.zeros(1, np.int64), range(len(categories.labels))
    per_item = np.maximum(categories.table.sum(axis=0), 1)
    shown = np.column_stack(
        [lists.exposure(categories.member(c, lists.items, never) / per_item[lists.items]) for c in labels]
    )
    before = np.full((len(lists.items), len(labels)), np.nan)
    length = np.zeros(len(lists.items))
    for which, history, _ in lists.histories():
        real = history >= 0
        parts = [(categories.member(c, history, never) / per_item[history]).sum(axis=1) for c in labels]
        count, length[which] = np.column_stack(parts), real.sum(axis=1)
        total = count.sum(axis=1, keepdims=True)
        before[which] = np.where(total > 0, count / np.where(total > 0, total, 1), np.nan)
    total = shown.sum(axis=1, keepdims=True)
    shown = np.where(total > 0, shown / np.where(total > 0, total, 1), np.nan)
    return shown, np.column_stack([lists.by_user(column) for column in before.T]), lists.by_user(length)


def association(shown: Array, before: Array, length: Array, inside: Mask, which: Mask) -> tuple[list[Estimate], Array]:
    """Return the coefficient of membership, (n,), in the regression of each category's share, (n, C), over `which`.

    The second result, (C,), are the standard errors by one common variance. In a small group that is never shown a rare
    category the residuals do not vary, and HC1 alone would be far too small.
    """
    rows = np.flatnonzero(which)
    design = np.column_stack([np.ones(len(rows)), before[rows], np.log1p(length[rows]), inside[rows]])
    inverse, rank = np.linalg.pinv(design), int(np.linalg.matrix_rank(design))
    coefficients = inverse @ shown[rows]
    residuals = shown[rows] - design @ coefficients
    left = max(len(rows) - rank, 1)
    # the jackknife's factor n / (n - 1) is replaced by that of HC1, n / (n - rank)
    scale = np.sqrt((len(rows) - 1) / left)
    influence = np.zeros((len(which), shown.shape[1]))
    influence[rows] = scale * inverse[-1][:, None] * residuals
    pooled = np.sqrt((residuals**2).sum(axis=0) / left * (inverse[-1] @ inverse[-1]))
    estimates = [Estimate(float(value), influence[:, c], len(rows)) for c, value in enumerate(coefficients[-1])]
    return estimates, pooled
