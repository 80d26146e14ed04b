"""Errors of predicted ratings by group of users, each group compared with all other users."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pasand.audit.estimates import Estimate, Finding, compared, ratio_of_sums
from pasand.audit.groups import Grouping
from pasand.audit.user_metrics import FEWEST
from pasand.contracts import PredictsRatings
from pasand.evaluation.split import Split
from pasand.following import following
from pasand.metrics.rating import MAE, RMSE
from pasand.progress import step
from pasand.types import Array, Mask

DEFINITION = (
    "Errors of the predicted ratings of the later events, in units of the rating scale: RMSE, the square root of the "
    "mean squared error, and MAE, the mean absolute error; every rating counts once. Those of a group of users are "
    "compared with those of all other users with a value of the feature; higher is worse. Ekstrand et al., All The "
    "Cool Kids, How Do They Fit In?, FAT* 2018."
)


@dataclass(frozen=True)
class Errors:
    """Sums over the ratings of each user, (n,) each, by row of the user."""

    squared: Array
    absolute: Array
    count: Array

    def of(self, which: Mask) -> dict[str, Estimate]:
        """Return RMSE and MAE over the ratings of some users; nan without ratings."""
        count = np.where(which, self.count, 0.0)
        squared, absolute = ratio_of_sums(self.squared, count), ratio_of_sums(self.absolute, count)
        root = math.sqrt(squared.value) if squared.value > 0 else math.nan
        rmse = replace(squared, value=root, influence=squared.influence / (2 * root))
        return {"rmse": rmse, "mae": absolute}


def measured(model: PredictsRatings, split: Split, n_known_users: int) -> Errors | None:
    """Return the errors of the ratings of the test part; None for a log without ratings.

    Users that the model was not fitted to are unknown to it, as while serving.
    """
    test, n = split.rating_queries, split.train.n_users
    if test is None:
        return None
    sums, done = np.zeros((3, n)), 0
    with following([model], split.followed):
        for batch in split.rating_batches():
            users = np.where(batch.queries.users < n_known_users, batch.queries.users, np.int32(-1))
            predicted = model.predict(replace(batch.queries, users=users), batch.items)
            row, column = np.nonzero(batch.items >= 0)
            user = test.user[batch.which][row]
            pair = predicted[row, column], batch.actual[row, column]
            for total, losses in zip(sums, (RMSE().loss(*pair), MAE().loss(*pair), np.ones(len(row))), strict=True):
                total += np.bincount(user, losses, n)
            done += len(batch.which)
            step("predicting ratings", done, len(test))
    return Errors(*sums)


def by_group(errors: Errors, groupings: Sequence[Grouping]) -> list[Finding]:
    """Return RMSE and MAE by group of users; groups in which fewer than `FEWEST` users have ratings are left out."""
    findings = []
    for grouping in groupings:
        rated = grouping.table & (errors.count > 0)
        for label, inside in zip(grouping.labels, rated, strict=True):
            others = rated.any(axis=0) & ~inside
            if min(inside.sum(), others.sum()) < FEWEST:
                continue
            value, reference = errors.of(inside), errors.of(others)
            findings += [
                compared(
                    value[name],
                    reference[name],
                    measure=name,
                    reference_name="other users",
                    attribute=grouping.name,
                    group=label,
                )
                for name in value
            ]
    return findings
