"""Evaluation of a recommender on the test queries of a split: metrics by query, by user and overall."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import sparse

from pasand.contracts import PredictsRatings, Retriever, RunMetric
from pasand.data.relevance import Relevance
from pasand.evaluation.aggregation import (
    QueryValues,
    Values,
    exposed,
    intervals,
    overall_means,
    run_interval,
    run_mean,
    sums_by_user,
)
from pasand.evaluation.history_groups import history_groups
from pasand.evaluation.intervals import Interval
from pasand.evaluation.split import Split, TestQueries
from pasand.following import counting, following
from pasand.metrics.names import Metrics, metrics
from pasand.progress import step
from pasand.types import Candidates, Mask, Offsets, Rows


@dataclass(frozen=True, kw_only=True)
class Group:
    """The list and rating metrics over test queries with histories of similar length, or of users not in train."""

    name: str
    n_users: int
    """Users with a test query for lists in the group."""
    n_queries: int
    """Test queries for lists in the group."""
    metrics: dict[str, Interval]
    """Means over users of each user's mean over the queries in the group; rating errors are pooled."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a recommender under a protocol; several splits of one protocol are pooled."""

    overall: dict[str, Interval]
    """Each metric over all test users."""
    groups: list[Group]
    """By number of events in the history of the query, as in `history_groups`, then users not in train.

    A user with queries in several groups is in each of them. Groups without a query are left out."""
    cold_items: dict[str, Interval]
    """The list and rating metrics with only cold items, which have no train event, as relevant; {} if there are none.

    Lists rank all candidates, as everywhere; test queries without a relevant cold item are left out."""
    n_users: dict[str, int]
    """Users with test queries for lists: "overall", "not_in_train", and "cold_items" with a relevant cold item."""
    n_cold_items: int
    """Distinct cold items among the relevant items of the test queries."""
    seed_means: dict[str, list[float]]
    """Each metric over all test users by training seed, in order; the other fields pool the seeds."""
    users: Rows
    """(n,) users with test queries for lists or ratings, each once; they do not depend on the recommender."""
    user_values: dict[str, Values]
    """(n,) each list or rating metric by user: mean over the user's queries, or mean loss; nan if undefined."""
    query_user: Rows
    """(Q,) user of each test query."""
    query_values: dict[str, Values]
    """(Q,) each list metric by test query."""
    exposure: Offsets
    """(N,) how often each item is among the first `exposure_k` of a list."""
    exposure_k: int
    seconds: float
    """Spent on recommending and measuring."""


@dataclass
class _SplitResult:
    """The results of one split by query."""

    user: Rows
    n_events: Offsets
    """(Q,) number of events in the history of each query."""
    in_train: Mask
    """(Q,) whether the user of each query has an event in train."""
    lists: Rows
    """(Q, K) recommended items, for the run metrics."""
    offered: Mask
    """(N,) items that were candidates of a test query: the catalogue of the run metrics."""
    rating_user: Rows
    rating_n_events: Offsets
    rating_in_train: Mask
    all_items: QueryValues
    cold_items: QueryValues
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
    only if a metric needs that (`auc`). Where histories are live, components that can follow the log are given it, each
    query is scored from the events strictly before it, and afterwards they score from their training data again.
    """
    splits = [splits] if isinstance(splits, Split) else splits
    return evaluate_pooled([(recommender, model, split) for split in splits], names, rng=rng)


def evaluate_pooled(
    runs: Iterable[tuple[Retriever, PredictsRatings | None, Split]],
    names: Sequence[str],
    *,
    rng: Generator,
    n_splits: int | None = None,
) -> Evaluation:
    """Return one evaluation of several runs, such as the folds of a protocol, each with its own fitted recommender.

    Queries and ratings of all runs are pooled by user; coverage and Gini are means over the runs. Each `n_splits` runs
    are those of one training seed; None: all runs have the same seed.
    """
    began, results, chosen, n_items = time.perf_counter(), [], Metrics({}, {}, {}), 0
    for recommender, model, split in runs:
        chosen, n_items = metrics(names, split.train), split.train.n_items
        with following([recommender, model], split.followed), counting(recommender):
            results.append(_measure(recommender, model, split, chosen))
    seconds = time.perf_counter() - began
    return _summary(results, chosen, n_items, seconds, rng, n_splits or len(results))


def _measure(recommender: Retriever, model: PredictsRatings | None, split: Split, chosen: Metrics) -> _SplitResult:
    test = split.test_queries
    exposure_k = max((int(metric.k) for metric in chosen.runs.values()), default=0)  # type: ignore[attr-defined]
    exposure_k = min(exposure_k or 10, max(split.train.n_items, 1))
    cold = split.cold_items[test.item]
    result = _SplitResult(
        user=test.user,
        n_events=test.upto,
        in_train=np.isin(test.user, split.train.user),
        lists=np.full((len(test), exposure_k), -1, np.int32),
        offered=split.offered,
        rating_user=np.empty(0, np.int32) if split.rating_queries is None else split.rating_queries.user,
        rating_n_events=np.empty(0, np.int64) if split.rating_queries is None else split.rating_queries.upto,
        rating_in_train=np.isin([] if split.rating_queries is None else split.rating_queries.user, split.train.user),
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


def _undefined(chosen: Metrics, test: TestQueries) -> QueryValues:
    return QueryValues({name: np.full(len(test), np.nan) for name in chosen.lists})


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


def _summary(
    results: list[_SplitResult], chosen: Metrics, n_items: int, seconds: float, rng: Generator, n_splits: int
) -> Evaluation:
    users, query, rating = _users(results)
    numerators, denominators = sums_by_user([result.all_items for result in results], query, rating, len(users))
    everyone, has_query = np.ones(len(users), np.bool_), np.bincount(query, minlength=len(users)) > 0
    overall = intervals(numerators, denominators, everyone, chosen, rng)
    for name, metric in chosen.runs.items():
        overall[name] = run_interval(metric, _exposures(results, users, n_items, metric), has_query, rng)
    n_cold_items, cold_items = len(np.unique(np.concatenate([result.cold_targets for result in results]))), {}
    if n_cold_items:
        cold_sums = sums_by_user([result.cold_items for result in results], query, rating, len(users))
        cold_items = intervals(*cold_sums, everyone, chosen, rng)
    not_in_train = ~np.concatenate([result.in_train for result in results])
    cold_target = np.concatenate([result.has_cold_target for result in results])
    parts = {"overall": np.ones(len(query), np.bool_), "not_in_train": not_in_train, "cold_items": cold_target}
    seeds = [results[begin : begin + n_splits] for begin in range(0, len(results), n_splits)]
    pooled = {name: interval.mean for name, interval in overall.items()}
    by_seed = [_means(of_seed, chosen, n_items) for of_seed in seeds] if len(seeds) > 1 else [pooled]
    return Evaluation(
        overall=overall,
        groups=_groups(results, chosen, rng, len(seeds)),
        cold_items=cold_items,
        n_users={name: int((np.bincount(query, which, len(users)) > 0).sum()) for name, which in parts.items()},
        n_cold_items=n_cold_items,
        seed_means={name: [means[name] for means in by_seed] for name in overall},
        users=users,
        user_values={
            name: np.where(denominators[name] > 0, numerators[name] / np.maximum(denominators[name], 1), np.nan)
            for name in numerators
        },
        query_user=users[query],
        query_values={name: np.concatenate([r.all_items.values[name] for r in results]) for name in chosen.lists},
        exposure=sum(
            (np.asarray(e.sum(axis=0)) for e in _exposures(results, users, n_items)), np.zeros(n_items)
        ).astype(np.int64),
        exposure_k=results[0].lists.shape[1],
        seconds=seconds,
    )


def _users(results: list[_SplitResult]) -> tuple[Rows, Offsets, Offsets]:
    """Return the users, (n,) each once, and the position among them of the user of each test and rating query."""
    query_user = np.concatenate([result.user for result in results])
    rating_user = np.concatenate([result.rating_user for result in results])
    users = np.unique(np.concatenate([query_user, rating_user]))
    return users, np.searchsorted(users, query_user), np.searchsorted(users, rating_user)


def _exposures(
    results: list[_SplitResult], users: Rows, n_items: int, metric: RunMetric | None = None
) -> list[sparse.csr_array]:
    """Return for each result how often each item is recommended to each user.

    For a metric it is how often each item that was a candidate is among its first k.
    """
    k = None if metric is None else int(metric.k)  # type: ignore[attr-defined]
    exposures = [exposed(np.searchsorted(users, r.user), r.lists[:, :k], len(users), n_items) for r in results]
    return exposures if metric is None else [e[:, r.offered] for e, r in zip(exposures, results, strict=True)]


def _means(results: list[_SplitResult], chosen: Metrics, n_items: int) -> dict[str, float]:
    """Return each metric over all users of these results, without intervals."""
    users, query, rating = _users(results)
    sums = sums_by_user([result.all_items for result in results], query, rating, len(users))
    runs = {name: run_mean(metric, _exposures(results, users, n_items, metric)) for name, metric in chosen.runs.items()}
    return overall_means(*sums, chosen) | runs


def _groups(results: list[_SplitResult], chosen: Metrics, rng: Generator, n_seeds: int) -> list[Group]:
    users, query, rating = _users(results)
    lists, ratings = (
        history_groups(np.concatenate([r.n_events for r in results]), np.concatenate([r.in_train for r in results])),
        history_groups(
            np.concatenate([r.rating_n_events for r in results]), np.concatenate([r.rating_in_train for r in results])
        ),
    )
    groups = []
    for name in lists:
        parts = [result.all_items for result in results]
        sums = sums_by_user(parts, query, rating, len(users), lists[name], ratings[name])
        has_query = np.bincount(query, lists[name], len(users)) > 0
        which = has_query | (np.bincount(rating, ratings[name], len(users)) > 0)
        if which.any():
            groups.append(
                Group(
                    name=name,
                    n_users=int(has_query.sum()),
                    n_queries=int(lists[name].sum()) // n_seeds,
                    metrics=intervals(*sums, which, chosen, rng),
                )
            )
    return groups
