"""Acceptance tests of a refreshed bundle: ranking quality on new events, size, and drift of the recommended lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pasand import recipe
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.intervals import number_or_none
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.recommender import Recommender
from pasand.serving.engine.engine import MAX_EVENTS
from pasand.serving.engine.event_feed import catch_up
from pasand.serving.engine.followed_events import FollowedEvents
from pasand.serving.engine.variant import Variant, ignore_step
from pasand.serving.refresh.non_inferiority import compare
from pasand.serving.refresh.training_data import Gathered
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states.contract import State
from pasand.types import Array, Candidates, Mask, Queries, Rows

METRIC = "ndcg@10"
TOP = 10
"""Length of the lists that are compared."""
BATCH = 64
"""Users whose lists are computed in one call."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that a new bundle must keep; shares are in [0, 1]."""

    margin: float = 0.05
    """Non-inferiority margin: share of the running bundle's metric by which the new one may be lower.

    A bundle passes if the lower bound of the 95 % interval of the relative change, over users, is above -margin.
    """
    min_queries: int = 200
    """Test queries below which nothing is compared, and the comparison is inconclusive."""
    publish_inconclusive: bool = False
    """Whether to publish, with a note, a bundle that is neither shown to be no worse nor shown to be worse."""
    by_impressions: bool = False
    """Whether the impressions must show, by their random slots, that the new bundle earns no less by `margin`."""
    max_shrinkage: float = 0.2
    """Share by which the available items, or the users, may decrease."""
    max_list_change: float = 0.8
    """Share of the items in users' lists that may be replaced, on average."""
    max_popularity_shift: float = 0.25
    """Change allowed of the mean popularity of the recommended items, as a percentile in [0, 1]."""
    users: int = 500
    """Users whose lists are compared."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin must be in [0, 1], got {self.margin}")


@dataclass(frozen=True)
class _AsServed:
    """A recommender that takes queries in the rows of another dataset and recommends available items only."""

    recommender: Recommender
    users: Rows
    """(U,) the recommender's row of each user, -1 if unknown."""
    available: Mask

    def __call__(self, queries: Queries) -> Candidates:
        known = queries.users >= 0
        users = np.where(known, self.users[np.where(known, queries.users, 0)], np.int32(-1))
        return self.recommender(replace(queries, users=users, allowed=self.available[None, :]))


def ranking_quality(
    running: Variant, gathered: Gathered, text: str, seed: int, limits: Limits
) -> tuple[dict[str, Any], str]:
    """Return the comparison of the recipe with the running bundle, and the reason not to publish, or "".

    The test queries are those of the temporal protocol on the later half of the events that are newer than the running
    bundle's. The recipe is trained on all events before that half. `verdict` in the report is that of
    `non_inferiority.Comparison`, or "inconclusive" without a comparison if there are fewer than `min_queries` queries;
    `queries_needed` is the number that would do. The reason is "" if the verdict is "no worse". `running` must have
    applied the changes of the catalogue.
    """
    split = _later_half(running, gathered)
    n = 0 if split is None else len(split.test_queries)
    report: dict[str, Any] = {"queries": n, "metric": METRIC, "margin": limits.margin}
    if split is None or n < limits.min_queries:
        report |= {"verdict": "inconclusive", "queries_needed": limits.min_queries}
        return report, f"{n:,} test queries, at least {limits.min_queries:,} are needed to compare"
    data = gathered.data
    ids = data.users.series.to_list()
    candidate = recipe.build(text).fit(split.train, seed=seed).recommender
    forgotten = set(gathered.forgotten)
    rows = running.bundle.data.users.rows(["" if user in forgotten else user for user in ids])
    pair = (
        _AsServed(candidate, np.arange(len(ids), dtype=np.int32), gathered.available),
        _AsServed(running.recommender, rows, gathered.available),
    )
    new, old = (evaluate(served, split, [METRIC], rng=np.random.default_rng(0)) for served in pair)
    comparison = compare(new.user_values[METRIC], old.user_values[METRIC], limits.margin)
    report |= {
        "verdict": comparison.verdict,
        "new": number_or_none(round(new.overall[METRIC].mean, 6)),
        "running": number_or_none(round(old.overall[METRIC].mean, 6)),
        "change": [number_or_none(round(value, 6)) for value in (comparison.change, comparison.low, comparison.high)],
    }
    if comparison.verdict == "no worse":
        return report, ""
    found = f"{METRIC} changes by {comparison} on {n:,} test queries"
    if comparison.verdict == "worse":
        return report, f"{found}, and a fall of {100 * limits.margin:g} % is allowed"
    report["queries_needed"] = comparison.queries_needed(n)
    if report["queries_needed"]:
        found += f", about {report['queries_needed']:,} are needed"
    return report, found


def _later_half(running: Variant, gathered: Gathered) -> Split | None:
    """Return the split at the middle of the events that are later than the running bundle's; None if there are none."""
    data, own = gathered.data, running.bundle.data
    if data.order != "time" or not len(data):
        return None
    end = int(own.time[-1]) if len(own) else -1
    first = int(np.searchsorted(data.time, end, side="right"))
    cut = (first + len(data)) // 2
    if cut >= len(data) or data.time[0] == data.time[-1]:
        return None
    cut = max(first, int(np.searchsorted(data.time, data.time[cut])))
    if not cut:
        return None
    (split,) = Temporal(train_share=(cut + 0.5) / len(data)).split(data)
    return split


def size(before: tuple[int, int], after: tuple[int, int], limits: Limits) -> tuple[dict[str, Any], str]:
    """Return the numbers of available items and of users, before and after, and the reason to reject, or ""."""
    report = {"items": [before[0], after[0]], "users": [before[1], after[1]]}
    for name, (old, new) in report.items():
        if new < (1 - limits.max_shrinkage) * old:
            return report, f"{name} shrink from {old:,} to {new:,}"
    return report, ""


def drift(old: Variant, new: Variant, state: State, now: int, limits: Limits) -> tuple[dict[str, Any], str]:
    """Return how much the lists of users change between two bundles, and the reason to reject the new one, or "".

    Both recommend as they would while serving, to a sample of the users that both know. `changed` is the mean share
    of the new lists' items that the old lists lack. `popularity` is, before and after, the mean percentile of the
    recommended items among all items by number of events, 1 being the most popular.
    """
    for variant in (old, new):
        variant.followed = FollowedEvents(variant.bundle, variant.scale)
        catch_up(variant.followed, state)
    data = new.bundle.data
    common = np.flatnonzero(old.bundle.data.users.rows(data.users.series.to_list()) >= 0)
    rows = np.random.default_rng(0).permutation(common)[: limits.users]
    users = data.users.ids(rows)
    if not users:
        return {"users": 0}, ""
    old_lists, new_lists = (_lists(variant, users, state, now) for variant in (old, new))
    shares = [
        len(set(new_list) - set(old_list)) / len(new_list)
        for old_list, new_list in zip(old_lists, new_lists, strict=True)
        if new_list
    ]
    changed = float(np.mean(shares)) if shares else 0.0
    counts = np.bincount(data.item, minlength=data.n_items)
    percentile = np.searchsorted(np.sort(counts), counts, side="right") / max(len(counts), 1)
    before, after = (
        _mean_of(percentile, data.items.rows([item for one in lists for item in one]))
        for lists in (old_lists, new_lists)
    )
    report = {
        "users": len(users),
        "changed": round(changed, 4),
        "popularity": [round(before, 4), round(after, 4)],
    }
    if changed > limits.max_list_change:
        return report, f"{changed:.0%} of the items in users' lists change"
    if abs(after - before) > limits.max_popularity_shift:
        return report, f"the mean popularity of the recommended items moves from {before:.2f} to {after:.2f}"
    return report, ""


def _lists(variant: Variant, users: Sequence[str], state: State, now: int) -> list[list[str]]:
    lists: list[list[str]] = []
    for begin in range(0, len(users), BATCH):
        batch = users[begin : begin + BATCH]
        recent_events = state.recent_events(batch, MAX_EVENTS, variant.state_upto)
        requests = [RecommendRequest(user_id=user, k=TOP) for user in batch]
        results = variant.recommend(requests, recent_events, now, ignore_step)
        lists += [[item.item_id for item in items] for _, items, _ in results]
    return lists


def _mean_of(values: Array, rows: Rows) -> float:
    """Return the mean of the values in some rows, leaving out rows -1; 0 if none is left."""
    rows = rows[rows >= 0]
    return float(values[rows].mean()) if len(rows) else 0.0
