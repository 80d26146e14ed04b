"""Evaluation of a recommender on the test queries of a split: metrics by query, by user and overall."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse

from pasand.contracts import PredictsRatings, Retriever, RunMetric
from pasand.data.relevance import Relevance
from pasand.evaluation.intervals import Interval, bootstrap_weights, ratio_intervals
from pasand.evaluation.split import Split, TestQueries
from pasand.metrics.names import Metrics, metrics
from pasand.progress import step
from pasand.types import Candidates, Mask, Offsets, Rows

Values = NDArray[np.float64]
_ByUser: TypeAlias = dict[str, Values]
RUN_REPLICATES = 200
"""Bootstrap replicates of metrics of a whole run, such as coverage."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The metrics of users with a similar number of train events."""

    name: str
    n_users: int
    metrics: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a recommender under a protocol; several splits of one protocol are pooled."""

    overall: dict[str, Interval]
    """Each metric over all test users."""
    warm: dict[str, Interval]
    """The list and rating metrics over warm users, who have train events."""
    cold: dict[str, Interval]
    """The same over cold users, who have none."""
    cold_items: dict[str, Interval]
    """The same over all users with only cold items, which have no train event, as relevant; {} if there are none.

    Lists rank the whole catalogue, as everywhere; test queries without a relevant cold item are left out."""
    n_users: dict[str, int]
    """Users with test queries for lists: "overall", "warm", "cold", and "cold_items" with a relevant cold item."""
    n_cold_items: int
    """Distinct cold items among the relevant items of the test queries."""
    groups: list[Group]
    """Users by number of train events: cold users, then four groups of about equal size."""
    users: Rows
    """(n,) users with test queries for lists or ratings, each once; they do not depend on the recommender."""
    user_values: dict[str, Values]
    """(n,) each list or rating metric by user: mean over the user's queries, or mean loss; nan if undefined."""
    query_user: Rows
    """(Q,) user of each test query."""
    query_values: dict[str, Values]
    """(Q,) each list metric by test query."""
    exposure: NDArray[np.int64]
    """(N,) how often each item is among the first `exposure_k` of a list."""
    exposure_k: int
    seconds: float
    """Spent on recommending and measuring."""


@dataclass
class _QueryValues:
    """The metrics of one split by query, with all items or only cold items as relevant."""

    values: dict[str, Values]
    """(Q,) each list metric by test query."""
    losses: dict[str, Values] = field(default_factory=dict)
    """(Qr,) sum of losses by rating query, for each rating metric."""
    n_ratings: Values = field(default_factory=lambda: np.empty(0))
    """(Qr,) number of ratings by rating query."""


@dataclass
class _SplitResult:
    """The results of one split by query."""

    user: Rows
    activity: Offsets
    lists: Rows
    """(Q, K) recommended items, for the run metrics."""
    rating_user: Rows
    rating_activity: Offsets
    all_items: _QueryValues
    cold_items: _QueryValues
    has_cold_target: Mask
    """(Q,) whether a relevant item is cold."""
    cold_targets: Rows
    """Cold items among the relevant items of the test queries."""


def evaluate(
    recommender: Retriever,
    splits: Split | Sequence[Split],
    names: Sequence[str],
    *,
    model: PredictsRatings | None = None,
    rng: Generator,
) -> Evaluation:
    """Return the named metrics of one fitted recommender on the test queries of a split, or of several pooled splits.

    Rating metrics are measured if `model` is given and the split has ratings, and are left out otherwise. List metrics
    are means over users of means over the user's queries. Batches bound the memory. Lists cover the whole catalogue
    only if a metric needs that (`auc`).
    """
    splits = [splits] if isinstance(splits, Split) else splits
    return evaluate_pooled([(recommender, model, split) for split in splits], names, rng=rng)


def evaluate_pooled(
    runs: Iterable[tuple[Retriever, PredictsRatings | None, Split]], names: Sequence[str], *, rng: Generator
) -> Evaluation:
    """Return one evaluation of several runs, such as the folds of a protocol, each with its own fitted recommender.

    Queries and ratings of all runs are pooled by user; coverage and Gini are means over the runs.
    """
    began, results, chosen, n_items = time.perf_counter(), [], Metrics({}, {}, {}), 0
    for recommender, model, split in runs:
        chosen, n_items = metrics(names, split.train), split.train.n_items
        results.append(_measure(recommender, model, split, chosen))
    seconds = time.perf_counter() - began
    return _summary(results, chosen, n_items, seconds, rng)


def _measure(recommender: Retriever, model: PredictsRatings | None, split: Split, chosen: Metrics) -> _SplitResult:
    test = split.test_queries
    exposure_k = max((int(metric.k) for metric in chosen.runs.values()), default=0)  # type: ignore[attr-defined]
    exposure_k = min(exposure_k or 10, max(split.train.n_items, 1))
    cold = split.cold_items[test.item]
    result = _SplitResult(
        user=test.user,
        activity=test.activity,
        lists=np.full((len(test), exposure_k), -1, np.int32),
        rating_user=np.empty(0, np.int32) if split.rating_queries is None else split.rating_queries.user,
        rating_activity=np.empty(0, np.int64) if split.rating_queries is None else split.rating_queries.activity,
        all_items=_undefined(chosen, test),
        cold_items=_undefined(chosen, test),
        has_cold_target=np.bincount(np.repeat(np.arange(len(test)), np.diff(test.start)), cold, len(test)) > 0,
        cold_targets=test.item[cold],
    )
    if chosen.lists or chosen.runs:
        done = 0
        for batch in split.list_batches(min(chosen.k, max(split.train.n_items, 1)) if chosen.lists else exposure_k):
            candidates = recommender(batch.queries)
            if test.candidates is not None:
                candidates = break_ties_pessimistically(candidates, batch.relevant)
            for name, metric in chosen.lists.items():
                result.all_items.values[name][batch.which] = metric(candidates, batch.relevant)
            has_cold_target = result.has_cold_target[batch.which]
            if has_cold_target.any():
                relevant = split.only_cold_items(batch.relevant)
                for name, metric in chosen.lists.items():
                    values = metric(candidates, relevant)
                    result.cold_items.values[name][batch.which] = np.where(has_cold_target, values, np.nan)
            top = candidates.items[:, :exposure_k]
            result.lists[batch.which, : top.shape[1]] = top
            done += len(batch.which)
            step("evaluating lists", done, len(test))
    if model is not None and split.rating_queries is not None and chosen.ratings:
        _measure_ratings(model, split, split.rating_queries, chosen, result)
    return result


def _undefined(chosen: Metrics, test: TestQueries) -> _QueryValues:
    return _QueryValues({name: np.full(len(test), np.nan) for name in chosen.lists})


def _measure_ratings(
    model: PredictsRatings, split: Split, test: TestQueries, chosen: Metrics, result: _SplitResult
) -> None:
    for part in (result.all_items, result.cold_items):
        part.losses = {name: np.zeros(len(test)) for name in chosen.ratings}
        part.n_ratings = np.zeros(len(test))
    done = 0
    for batch in split.rating_batches():
        predicted, real = model.predict(batch.queries, batch.items), batch.items >= 0
        row, n = np.nonzero(real)[0], len(batch.which)
        cold = split.cold_items[batch.items[real]]
        for part, weight in ((result.all_items, np.ones(len(row))), (result.cold_items, cold)):
            part.n_ratings[batch.which] = np.bincount(row, weight, n)
            for name, metric in chosen.ratings.items():
                loss = metric.loss(predicted[real], batch.actual[real])
                part.losses[name][batch.which] = np.bincount(row, loss * weight, n)
        done += len(batch.which)
        step("evaluating rating predictions", done, len(test))


def break_ties_pessimistically(candidates: Candidates, relevant: Relevance) -> Candidates:
    """Return the lists with relevant items moved behind all other items of the same score."""
    order = np.lexsort((relevant.gain_of(candidates.items) > 0, -candidates.scores), axis=1)
    return Candidates(
        items=np.take_along_axis(candidates.items, order, 1), scores=np.take_along_axis(candidates.scores, order, 1)
    )


def _summary(results: list[_SplitResult], chosen: Metrics, n_items: int, seconds: float, rng: Generator) -> Evaluation:
    query_user = np.concatenate([result.user for result in results])
    rating_user = np.concatenate([result.rating_user for result in results])
    users = np.unique(np.concatenate([query_user, rating_user]))
    query, rating = np.searchsorted(users, query_user), np.searchsorted(users, rating_user)
    activity = np.zeros(len(users), np.int64)
    np.maximum.at(activity, rating, np.concatenate([result.rating_activity for result in results]))
    np.maximum.at(activity, query, np.concatenate([result.activity for result in results]))
    numerators, denominators = _sums([result.all_items for result in results], query, rating, len(users))
    has_query = np.bincount(query, minlength=len(users)) > 0

    def intervals_of(which: Mask) -> dict[str, Interval]:
        return _intervals(numerators, denominators, which, chosen, rng)

    warm = activity > 0
    overall = intervals_of(np.ones(len(users), np.bool_))
    exposures = [_exposed(np.searchsorted(users, r.user), r.lists, len(users), n_items) for r in results]
    for name, metric in chosen.runs.items():
        k = int(metric.k)  # type: ignore[attr-defined]
        cut = [_exposed(np.searchsorted(users, r.user), r.lists[:, :k], len(users), n_items) for r in results]
        overall[name] = _run_interval(metric, cut, has_query, rng)
    has_cold_target = np.bincount(query, np.concatenate([r.has_cold_target for r in results]), len(users)) > 0
    parts = {"overall": has_query, "warm": has_query & warm, "cold": has_query & ~warm, "cold_items": has_cold_target}
    evaluation = Evaluation(
        overall=overall,
        warm=intervals_of(warm),
        cold=intervals_of(~warm),
        cold_items={},
        n_users={name: int(which.sum()) for name, which in parts.items()},
        n_cold_items=len(np.unique(np.concatenate([result.cold_targets for result in results]))),
        groups=[
            Group(name=name, n_users=int(which.sum()), metrics=intervals_of(which))
            for name, which in _activity_groups(activity, has_query)
        ],
        users=users,
        user_values={
            name: np.where(denominators[name] > 0, numerators[name] / np.maximum(denominators[name], 1), np.nan)
            for name in numerators
        },
        query_user=query_user,
        query_values={name: np.concatenate([r.all_items.values[name] for r in results]) for name in chosen.lists},
        exposure=sum((np.asarray(e.sum(axis=0)) for e in exposures), np.zeros(n_items)).astype(np.int64),
        exposure_k=results[0].lists.shape[1] if results else 0,
        seconds=seconds,
    )
    if not evaluation.n_cold_items:
        return evaluation
    cold_sums = _sums([result.cold_items for result in results], query, rating, len(users))
    return replace(evaluation, cold_items=_intervals(*cold_sums, np.ones(len(users), np.bool_), chosen, rng))


def _sums(parts: list[_QueryValues], query: Offsets, rating: Offsets, n_users: int) -> tuple[_ByUser, _ByUser]:
    """Return for each metric the numerators and denominators, (n,) each, of its mean over users."""
    numerators, denominators = {}, {}
    for name in parts[0].values:
        values = np.concatenate([part.values[name] for part in parts])
        numerators[name], denominators[name] = _means(query, values, n_users)
    for name in parts[0].losses if all(part.losses for part in parts) else ():
        losses = np.concatenate([part.losses[name] for part in parts])
        counts = np.concatenate([part.n_ratings for part in parts])
        numerators[name] = np.bincount(rating, losses, n_users).astype(np.float64)
        denominators[name] = np.bincount(rating, counts, n_users).astype(np.float64)
    return numerators, denominators


def _means(query: Offsets, values: Values, n_users: int) -> tuple[Values, Values]:
    """Return each user's mean over queries with a defined value (0 without any), and 1 for users with such a query."""
    defined = ~np.isnan(values)
    count = np.bincount(query[defined], minlength=n_users)
    total = np.bincount(query[defined], values[defined], n_users)
    return total / np.maximum(count, 1), (count > 0).astype(np.float64)


def _intervals(
    numerators: _ByUser, denominators: _ByUser, which: Mask, chosen: Metrics, rng: Generator
) -> dict[str, Interval]:
    """Return the metrics over these users, (n,)."""
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


def _exposed(user: Offsets, lists: Rows, n_users: int, n_items: int) -> sparse.csr_array:
    """Return how often each item is recommended to each user; (n, N)."""
    row, position = np.nonzero(lists >= 0)
    pairs = (np.ones(len(row)), (user[row], lists[row, position]))
    return sparse.csr_array(pairs, shape=(n_users, n_items))


def _run_interval(metric: RunMetric, exposures: list[sparse.csr_array], has_query: Mask, rng: Generator) -> Interval:
    """Return a run metric's mean over the runs, plus and minus 1.96 bootstrap standard deviations, within [0, 1].

    The bootstrap resamples users. Its percentiles would be biased: a resample has fewer distinct users, which always
    cover fewer items. The bounds are nan with fewer than two users.
    """
    value = float(np.mean([metric(np.asarray(e.sum(axis=0))) for e in exposures]))
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


def _activity_groups(activity: Offsets, has_query: Mask) -> list[tuple[str, Mask]]:
    """Return the test users in groups: cold users, then warm ones by quartile of their number of train events."""
    groups = [("cold", has_query & (activity == 0))]
    warm = has_query & (activity > 0)
    if warm.any():
        bounds = np.unique(np.quantile(activity[warm], [0.25, 0.5, 0.75, 1], method="inverted_cdf").astype(np.int64))
        low = 1
        for high in bounds.tolist():
            name = f"{low} to {high} events" if high > low else f"{high} event{'s' if high > 1 else ''}"
            groups.append((name, warm & (activity >= low) & (activity <= high)))
            low = high + 1
    return [(name, which) for name, which in groups if which.any()]
