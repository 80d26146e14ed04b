"""Puts a split's questions to a recommender and measures the answers: per query, per user, over all."""

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
from pasand.evaluation.intervals import Interval, of_ratios, weights
from pasand.evaluation.split import Split, TestQueries
from pasand.metrics.names import Metrics, metrics
from pasand.progress import step
from pasand.types import Candidates, Mask, Offsets, Rows

Values = NDArray[np.float64]
_ByUser: TypeAlias = dict[str, Values]
RUN_REPLICATES = 200


@dataclass(frozen=True, kw_only=True)
class Group:
    """The users of one level of activity and what the metrics say of them."""

    name: str
    n_users: int
    metrics: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a recommender's answers to a protocol's questions were worth; several splits of one protocol are pooled."""

    overall: dict[str, Interval]
    """Each metric over all users asked."""
    warm: dict[str, Interval]
    """The list and rating metrics over users with train events."""
    cold: dict[str, Interval]
    """The same over users without."""
    cold_items: dict[str, Interval]
    """The same over all users, where only items without a train event count as answers; {} where none is asked for.

    Lists are those of the whole catalogue, as everywhere; questions without such an answer are left out."""
    n_users: dict[str, int]
    """Users asked for lists: overall, warm, cold; and how many of all had a cold item among their answers."""
    n_cold_items: int
    """Different items without a train event among the answers to questions for lists."""
    groups: list[Group]
    """Users by number of train events: cold, then four equal parts."""
    users: Rows
    """(n,) the users asked for lists or ratings, each once; the same whatever the recommender."""
    user_values: dict[str, Values]
    """(n,) each list or rating metric by user: mean over the user's queries, or mean loss; nan where undefined."""
    query_user: Rows
    """(Q,) who asked."""
    query_values: dict[str, Values]
    """(Q,) each list metric by query."""
    exposure: NDArray[np.int64]
    """(N,) how often each item stood in the first `shown` places."""
    shown: int
    seconds: float
    """Spent in asking and measuring."""


@dataclass
class _Part:
    """The raw results of one split that all answers give, or the cold items among them."""

    values: dict[str, Values]
    """(Q,) by question for a list."""
    losses: dict[str, Values] = field(default_factory=dict)
    """(Qr,) sum of losses by rating question."""
    ratings: Values = field(default_factory=lambda: np.empty(0))
    """(Qr,) number of ratings by rating question."""


@dataclass
class _Tally:
    """The raw results of one split."""

    user: Rows
    activity: Offsets
    lists: Rows
    """(Q, K) for the run metrics."""
    rated_user: Rows
    rated_activity: Offsets
    whole: _Part
    cold_items: _Part
    asks_cold: Mask
    """(Q,) whether a cold item is among the answers."""
    cold_answers: Rows
    """The cold items among the answers to questions for lists."""


def evaluate(
    recommender: Retriever,
    splits: Split | Sequence[Split],
    names: Sequence[str],
    *,
    model: PredictsRatings | None = None,
    rng: Generator,
) -> Evaluation:
    """Return the named metrics of the recommender on the questions of one split; see `pooled` for several.

    Rating metrics are measured where `model` is given and the split has ratings, and are left out elsewhere. List
    metrics are means over users of means over the user's queries. Memory is bounded by batches; a list of the whole
    catalogue is asked for only where a metric needs it (`auc`).
    """
    splits = [splits] if isinstance(splits, Split) else splits
    return pooled([(recommender, model, split) for split in splits], names, rng=rng)


def pooled(
    runs: Iterable[tuple[Retriever, PredictsRatings | None, Split]], names: Sequence[str], *, rng: Generator
) -> Evaluation:
    """Return one evaluation of several runs, such as the folds of one protocol, each with its own fitted recommender.

    Queries and ratings of all runs are pooled by user; coverage and Gini are means over the runs.
    """
    began, tallies, chosen, n_items = time.perf_counter(), [], Metrics({}, {}, {}), 0
    for recommender, model, split in runs:
        chosen, n_items = metrics(names, split.train), split.train.n_items
        tallies.append(_ask(recommender, model, split, chosen))
    seconds = time.perf_counter() - began
    return _summary(tallies, chosen, n_items, seconds, rng)


def _ask(recommender: Retriever, model: PredictsRatings | None, split: Split, chosen: Metrics) -> _Tally:
    questions = split.lists
    width = max((int(metric.k) for metric in chosen.runs.values()), default=0)  # type: ignore[attr-defined]
    width = min(width or 10, max(split.train.n_items, 1))
    cold = split.cold_items[questions.item]
    tally = _Tally(
        user=questions.user,
        activity=questions.activity,
        lists=np.full((len(questions), width), -1, np.int32),
        rated_user=np.empty(0, np.int32) if split.ratings is None else split.ratings.user,
        rated_activity=np.empty(0, np.int64) if split.ratings is None else split.ratings.activity,
        whole=_unanswered(chosen, questions),
        cold_items=_unanswered(chosen, questions),
        asks_cold=np.bincount(np.repeat(np.arange(len(questions)), np.diff(questions.start)), cold, len(questions)) > 0,
        cold_answers=questions.item[cold],
    )
    if chosen.lists or chosen.runs:
        done = 0
        for asked in split.queries(min(chosen.k, max(split.train.n_items, 1)) if chosen.lists else width):
            candidates = recommender(asked.queries)
            if questions.among is not None:
                candidates = ties_against(candidates, asked.relevant)
            for name, metric in chosen.lists.items():
                tally.whole.values[name][asked.which] = metric(candidates, asked.relevant)
            if tally.asks_cold[asked.which].any():
                relevant, asks = split.of_cold_items(asked.relevant), tally.asks_cold[asked.which]
                for name, metric in chosen.lists.items():
                    values = metric(candidates, relevant)
                    tally.cold_items.values[name][asked.which] = np.where(asks, values, np.nan)
            first = candidates.items[:, :width]
            tally.lists[asked.which, : first.shape[1]] = first
            done += len(asked.which)
            step("asking for lists", done, len(questions))
    if model is not None and split.ratings is not None and chosen.ratings:
        _ask_ratings(model, split, split.ratings, chosen, tally)
    return tally


def _unanswered(chosen: Metrics, questions: TestQueries) -> _Part:
    return _Part({name: np.full(len(questions), np.nan) for name in chosen.lists})


def _ask_ratings(model: PredictsRatings, split: Split, questions: TestQueries, chosen: Metrics, tally: _Tally) -> None:
    for part in (tally.whole, tally.cold_items):
        part.losses = {name: np.zeros(len(questions)) for name in chosen.ratings}
        part.ratings = np.zeros(len(questions))
    done = 0
    for asked in split.rated():
        predicted, real = model.predict(asked.queries, asked.items), asked.items >= 0
        row, n = np.nonzero(real)[0], len(asked.which)
        cold = split.cold_items[asked.items[real]]
        for part, weight in ((tally.whole, np.ones(len(row))), (tally.cold_items, cold)):
            part.ratings[asked.which] = np.bincount(row, weight, n)
            for name, metric in chosen.ratings.items():
                loss = metric.loss(predicted[real], asked.actual[real])
                part.losses[name][asked.which] = np.bincount(row, loss * weight, n)
        done += len(asked.which)
        step("asking for ratings", done, len(questions))


def ties_against(candidates: Candidates, relevant: Relevance) -> Candidates:
    """Return the lists with relevant items moved behind all others of the same score."""
    order = np.lexsort((relevant.gain_of(candidates.items) > 0, -candidates.scores), axis=1)
    return Candidates(
        items=np.take_along_axis(candidates.items, order, 1), scores=np.take_along_axis(candidates.scores, order, 1)
    )


def _summary(tallies: list[_Tally], chosen: Metrics, n_items: int, seconds: float, rng: Generator) -> Evaluation:
    query_user = np.concatenate([tally.user for tally in tallies])
    rated_user = np.concatenate([tally.rated_user for tally in tallies])
    users = np.unique(np.concatenate([query_user, rated_user]))
    query, rated = np.searchsorted(users, query_user), np.searchsorted(users, rated_user)
    activity = np.zeros(len(users), np.int64)
    np.maximum.at(activity, rated, np.concatenate([tally.rated_activity for tally in tallies]))
    np.maximum.at(activity, query, np.concatenate([tally.activity for tally in tallies]))
    above, below = _sums([tally.whole for tally in tallies], query, rated, len(users))
    asked = np.bincount(query, minlength=len(users)) > 0

    def told(which: Mask) -> dict[str, Interval]:
        return _intervals(above, below, which, chosen, rng)

    warm = activity > 0
    overall = told(np.ones(len(users), np.bool_))
    exposures = [_exposed(np.searchsorted(users, tally.user), tally.lists, len(users), n_items) for tally in tallies]
    for name, metric in chosen.runs.items():
        k = int(metric.k)  # type: ignore[attr-defined]
        cut = [
            _exposed(np.searchsorted(users, tally.user), tally.lists[:, :k], len(users), n_items) for tally in tallies
        ]
        overall[name] = _run_interval(metric, cut, asked, rng)
    asks_cold = np.bincount(query, np.concatenate([tally.asks_cold for tally in tallies]), len(users)) > 0
    parts = {"overall": asked, "warm": asked & warm, "cold": asked & ~warm, "cold_items": asks_cold}
    evaluation = Evaluation(
        overall=overall,
        warm=told(warm),
        cold=told(~warm),
        cold_items={},
        n_users={name: int(which.sum()) for name, which in parts.items()},
        n_cold_items=len(np.unique(np.concatenate([tally.cold_answers for tally in tallies]))),
        groups=[Group(name=name, n_users=int(w.sum()), metrics=told(w)) for name, w in _activity(activity, asked)],
        users=users,
        user_values={
            name: np.where(below[name] > 0, above[name] / np.maximum(below[name], 1), np.nan) for name in above
        },
        query_user=query_user,
        query_values={name: np.concatenate([tally.whole.values[name] for tally in tallies]) for name in chosen.lists},
        exposure=sum((np.asarray(e.sum(axis=0)) for e in exposures), np.zeros(n_items)).astype(np.int64),
        shown=tallies[0].lists.shape[1] if tallies else 0,
        seconds=seconds,
    )
    if not evaluation.n_cold_items:
        return evaluation
    new = _sums([tally.cold_items for tally in tallies], query, rated, len(users))
    return replace(evaluation, cold_items=_intervals(*new, np.ones(len(users), np.bool_), chosen, rng))


def _sums(parts: list[_Part], query: Offsets, rated: Offsets, n_users: int) -> tuple[_ByUser, _ByUser]:
    """Return of each metric what its mean over users divides, and what it divides by; (n,) each."""
    above, below = {}, {}
    for name in parts[0].values:
        above[name], below[name] = _means(query, np.concatenate([part.values[name] for part in parts]), n_users)
    for name in parts[0].losses if all(part.losses for part in parts) else ():
        losses = np.concatenate([part.losses[name] for part in parts])
        counts = np.concatenate([part.ratings for part in parts])
        above[name] = np.bincount(rated, losses, n_users).astype(np.float64)
        below[name] = np.bincount(rated, counts, n_users).astype(np.float64)
    return above, below


def _means(query: Offsets, values: Values, n_users: int) -> tuple[Values, Values]:
    """Return each user's mean over defined queries (0 where none) and whether there was one (1 or 0)."""
    defined = ~np.isnan(values)
    count = np.bincount(query[defined], minlength=n_users)
    total = np.bincount(query[defined], values[defined], n_users)
    return total / np.maximum(count, 1), (count > 0).astype(np.float64)


def _intervals(above: _ByUser, below: _ByUser, which: Mask, chosen: Metrics, rng: Generator) -> dict[str, Interval]:
    if not above:
        return {}
    found = of_ratios(
        np.column_stack([above[name][which] for name in above]),
        np.column_stack([below[name][which] for name in above]),
        rng,
    )
    out = {}
    for i, name in enumerate(above):
        numbers = np.array([part[i] for part in found])
        numbers = chosen.ratings[name].finish(numbers) if name in chosen.ratings else numbers
        out[name] = Interval(*numbers.tolist())
    return out


def _exposed(user: Offsets, lists: Rows, n_users: int, n_items: int) -> sparse.csr_array:
    row, place = np.nonzero(lists >= 0)
    pairs = (np.ones(len(row)), (user[row], lists[row, place]))
    return sparse.csr_array(pairs, shape=(n_users, n_items))


def _run_interval(metric: RunMetric, exposures: list[sparse.csr_array], asked: Mask, rng: Generator) -> Interval:
    """Return a run metric's mean over the runs, and 1.96 standard deviations to either side.

    The deviation is that of the metric when users are drawn anew; the percentiles themselves would mislead, as fewer
    different users always cover fewer items.
    """
    value = float(np.mean([metric(np.asarray(e.sum(axis=0))) for e in exposures]))
    exposures = [e[np.flatnonzero(asked)] for e in exposures]
    n_users, n_items = exposures[0].shape
    drawn = []
    for w in weights(n_users, rng, RUN_REPLICATES) if n_users else ():
        for begin in range(0, len(w), max(1, 2**22 // max(n_items, 1))):
            part = w[begin : begin + max(1, 2**22 // max(n_items, 1))]
            shown = [np.asarray((e.T @ part.T).T) for e in exposures]
            drawn += [np.mean([metric(s[r]) for s in shown]) for r in range(len(part))]
    spread = 1.96 * float(np.std(drawn)) if drawn else float("nan")
    return Interval(value, value - spread, value + spread)


def _activity(activity: Offsets, asked: Mask) -> list[tuple[str, Mask]]:
    """Return the users asked in groups: those without train events, then quarters by their number of events."""
    groups = [("cold", asked & (activity == 0))]
    warm = asked & (activity > 0)
    if warm.any():
        bounds = np.unique(np.quantile(activity[warm], [0.25, 0.5, 0.75, 1], method="inverted_cdf").astype(np.int64))
        low = 1
        for high in bounds.tolist():
            name = f"{low} to {high} events" if high > low else f"{high} event{'s' if high > 1 else ''}"
            groups.append((name, warm & (activity >= low) & (activity <= high)))
            low = high + 1
    return [(name, which) for name, which in groups if which.any()]
