"""Metrics of test queries aggregated by user and overall, with bootstrap intervals over users."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse

from pasand.contracts import RunMetric
from pasand.evaluation.intervals import Interval, bootstrap_weights, ratio_intervals
from pasand.metrics.names import Metrics
from pasand.types import Mask, Offsets, Rows

Values = NDArray[np.float64]
ByUser: TypeAlias = dict[str, Values]
"""(n,) a number per user, for each metric."""
RUN_REPLICATES = 200
"""Bootstrap replicates of metrics of a whole run, such as coverage."""


@dataclass
class QueryValues:
    """The metrics of one split by query, with all items or only cold items as relevant."""

    values: dict[str, Values]
    """(Q,) each list metric by test query."""
    losses: dict[str, Values] = field(default_factory=dict)
    """(Qr,) sum of losses by rating query, for each rating metric."""
    n_ratings: Values = field(default_factory=lambda: np.empty(0))
    """(Qr,) number of ratings by rating query."""


def sums_by_user(
    parts: list[QueryValues],
    query: Offsets,
    rating: Offsets,
    n_users: int,
    queries: Mask | None = None,
    ratings: Mask | None = None,
) -> tuple[ByUser, ByUser]:
    """Return for each metric the numerators and denominators, (n,) each, of its mean over users.

    `query`, (Q,), and `rating`, (Qr,), are the users of the queries of all parts, as numbers below n. Only the test
    queries in `queries`, (Q,), and the rating queries in `ratings`, (Qr,), count; None: all.
    """
    numerators, denominators = {}, {}
    for name in parts[0].values:
        values = np.concatenate([part.values[name] for part in parts])
        values = values if queries is None else np.where(queries, values, np.nan)
        numerators[name], denominators[name] = _means(query, values, n_users)
    for name in parts[0].losses if all(part.losses for part in parts) else ():
        weights = 1.0 if ratings is None else ratings
        losses = np.concatenate([part.losses[name] for part in parts]) * weights
        counts = np.concatenate([part.n_ratings for part in parts]) * weights
        numerators[name] = np.bincount(rating, losses, n_users).astype(np.float64)
        denominators[name] = np.bincount(rating, counts, n_users).astype(np.float64)
    return numerators, denominators


def _means(query: Offsets, values: Values, n_users: int) -> tuple[Values, Values]:
    """Return each user's mean over queries with a defined value (0 without any), and 1 for users with such a query."""
    defined = ~np.isnan(values)
    count = np.bincount(query[defined], minlength=n_users)
    total = np.bincount(query[defined], values[defined], n_users)
    return total / np.maximum(count, 1), (count > 0).astype(np.float64)


def overall_means(numerators: ByUser, denominators: ByUser, chosen: Metrics) -> dict[str, float]:
    """Return each metric over all users, without an interval; nan where it is undefined."""
    out = {}
    for name in numerators:
        total = denominators[name].sum()
        mean = np.array([numerators[name].sum() / total if total else np.nan])
        out[name] = float((chosen.ratings[name].finish(mean) if name in chosen.ratings else mean)[0])
    return out


def intervals(
    numerators: ByUser, denominators: ByUser, which: Mask, chosen: Metrics, rng: Generator
) -> dict[str, Interval]:
    """Return the metrics over these users, (n,), with their intervals."""
    if not numerators:
        return {}
    means_and_bounds = ratio_intervals(
        np.column_stack([numerators[name][which] for name in numerators]),
        np.column_stack([denominators[name][which] for name in numerators]),
        rng,
    )
    out = {}
    for i, name in enumerate(numerators):
        numbers = np.array([part[i] for part in means_and_bounds])
        numbers = chosen.ratings[name].finish(numbers) if name in chosen.ratings else numbers
        out[name] = Interval(*numbers.tolist())
    return out


def exposed(user: Offsets, lists: Rows, n_users: int, n_items: int) -> sparse.csr_array:
    """Return how often each item is recommended to each user; (n, N)."""
    row, position = np.nonzero(lists >= 0)
    pairs = (np.ones(len(row)), (user[row], lists[row, position]))
    return sparse.csr_array(pairs, shape=(n_users, n_items))


def run_mean(metric: RunMetric, exposures: list[sparse.csr_array]) -> float:
    """Return a run metric's mean over runs, given by how often each recommends each item to each user, (n, N)."""
    return float(np.mean([metric(np.asarray(e.sum(axis=0))) for e in exposures]))


def run_interval(metric: RunMetric, exposures: list[sparse.csr_array], has_query: Mask, rng: Generator) -> Interval:
    """Return a run metric's mean over the runs, plus and minus 1.96 bootstrap standard deviations, within [0, 1].

    The bootstrap resamples users. Its percentiles would be biased: a resample has fewer distinct users, which always
    cover fewer items. The bounds are nan with fewer than two users.
    """
    value = run_mean(metric, exposures)
    exposures = [e[np.flatnonzero(has_query)] for e in exposures]
    n_users, n_items = exposures[0].shape
    drawn = []
    for w in bootstrap_weights(n_users, rng, RUN_REPLICATES) if n_users > 1 else ():
        for begin in range(0, len(w), max(1, 2**22 // max(n_items, 1))):
            part = w[begin : begin + max(1, 2**22 // max(n_items, 1))]
            shown = [np.asarray((e.T @ part.T).T) for e in exposures]
            drawn += [np.mean([metric(s[r]) for s in shown]) for r in range(len(part))]
    half_width = 1.96 * float(np.std(drawn)) if drawn else float("nan")
    low, high = np.clip([value - half_width, value + half_width], 0, 1).tolist()
    return Interval(value, low, high)
