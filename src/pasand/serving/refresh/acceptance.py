"""Whether a bundle is fit to take another's place: how well it foresees, its size, and how much it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pasand import recipe
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.intervals import of_ratios
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.recommender import Recommender
from pasand.serving.engine.engine import MOST_EVENTS, nothing
from pasand.serving.engine.variant import Variant
from pasand.serving.refresh.training_data import Gathered
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states.contract import State
from pasand.types import Array, Candidates, Mask, Queries, Rows

METRIC = "ndcg@10"
TOP = 10
"""Items of the lists that are held against each other."""
AT_ONCE = 64
"""Users that are asked about in one call."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a bundle must keep within to take another's place; shares are in [0, 1]."""

    questions: int = 200
    """Fewer questions than this say nothing, and the metric is left aside."""
    worse: float = 0.05
    """Share by which the metric may be below the running bundle's; more is refused where it cannot be chance."""
    smaller: float = 0.2
    """Share by which the items offered, or the users, may have become fewer."""
    changed: float = 0.8
    """Share of the places in users' lists that may be taken by other items than before, on the average."""
    shift: float = 0.25
    """By how much the mean popularity of what is recommended may move, as a percentile in [0, 1]."""
    users: int = 500
    """Users whose lists are held against each other."""


@dataclass(frozen=True)
class _AsServed:
    """A recommender that is asked in another dataset's rows, about the items that are offered."""

    recommender: Recommender
    users: Rows
    """(U,) its row of each user, -1 where it knows nobody."""
    offered: Mask

    def __call__(self, queries: Queries) -> Candidates:
        known = queries.users >= 0
        users = np.where(known, self.users[np.where(known, queries.users, 0)], np.int32(-1))
        return self.recommender(replace(queries, users=users, allowed=self.offered[None, :]))


def foresight(running: Variant, gathered: Gathered, text: str, seed: int, limits: Limits) -> tuple[dict[str, Any], str]:
    """Return what the metric says of the recipe and of the running bundle, and why that forbids the recipe, or "".

    Only events later than all that the running bundle was fitted to are asked about: the later half of them, in time,
    by the questions of the temporal protocol. The recipe is fitted to everything before that half. It is refused where
    its mean over users is lower by more than the share allowed and the 95 % interval of the difference, over users
    drawn anew, lies below 0. `running` must have taken in the changes of the catalogue.
    """
    split = _later_half(running, gathered)
    n = 0 if split is None else len(split.lists)
    if split is None or n < limits.questions:
        why = f"not enough new events to compare: {n} questions, {limits.questions} are needed"
        return {"questions": n, "told": why}, ""
    data = gathered.data
    ids = data.users.series.to_list()
    fresh = recipe.build(text).fit(split.train, seed=seed).recommender
    gone = set(gathered.forgotten)
    own = running.bundle.data.users.rows(["" if user in gone else user for user in ids])
    pair = (
        _AsServed(fresh, np.arange(len(ids), dtype=np.int32), gathered.offered),
        _AsServed(running.recommender, own, gathered.offered),
    )
    ours, theirs = (evaluate(one, split, [METRIC], rng=np.random.default_rng(0)) for one in pair)
    apart = ours.user_values[METRIC] - theirs.user_values[METRIC]
    defined = np.isfinite(apart)
    above = np.where(defined, apart, 0)[:, None]
    _, low, high = (float(one[0]) for one in of_ratios(above, defined[:, None] * 1.0, np.random.default_rng(0)))
    mine, before = ours.overall[METRIC].mean, theirs.overall[METRIC].mean
    told = {
        "questions": n,
        "metric": METRIC,
        "new": round(mine, 6),
        "running": round(before, 6),
        "difference": [round(low, 6), round(high, 6)],
    }
    bad = mine < (1 - limits.worse) * before and high < 0
    return told, f"{METRIC} falls from {before:.4f} to {mine:.4f} on {n:,} questions" if bad else ""


def _later_half(running: Variant, gathered: Gathered) -> Split | None:
    """Return the split at the middle of the events that are later than the running bundle's; None: it has none."""
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
    """Return the numbers of items offered and of users, before and after, and why they forbid the bundle, or ""."""
    told = {"items": [before[0], after[0]], "users": [before[1], after[1]]}
    for name, (old, new) in told.items():
        if new < (1 - limits.smaller) * old:
            return told, f"{name} shrink from {old:,} to {new:,}"
    return told, ""


def drift(old: Variant, new: Variant, state: State, now: int, limits: Limits) -> tuple[dict[str, Any], str]:
    """Return how much the lists of users change from one bundle to the other, and why that forbids it, or "".

    Both answer as they would while serving, for users drawn from those whom both know. `changed` is the mean share of
    the new lists that the old ones did not hold; `popularity` the mean percentile of what they recommend among the
    items by number of events, 1 being the most popular.
    """
    data = new.bundle.data
    both = np.flatnonzero(old.bundle.data.users.rows(data.users.series.to_list()) >= 0)
    some = np.random.default_rng(0).permutation(both)[: limits.users]
    users = data.users.ids(some)
    if not users:
        return {"users": 0}, ""
    before, after = (_lists(one, users, state, now) for one in (old, new))
    others = [len(set(mine) - set(theirs)) / len(mine) for theirs, mine in zip(before, after, strict=True) if mine]
    changed = float(np.mean(others)) if others else 0.0
    counts = np.bincount(data.item, minlength=data.n_items)
    percentile = np.searchsorted(np.sort(counts), counts, side="right") / max(len(counts), 1)
    heights = [
        _mean_of(percentile, data.items.rows([item for one in lists for item in one])) for lists in (before, after)
    ]
    told = {
        "users": len(users),
        "changed": round(changed, 4),
        "popularity": [round(height, 4) for height in heights],
    }
    if changed > limits.changed:
        return told, f"{changed:.0%} of the places in users' lists change"
    if abs(heights[1] - heights[0]) > limits.shift:
        return told, f"the mean popularity of what is recommended moves from {heights[0]:.2f} to {heights[1]:.2f}"
    return told, ""


def _lists(variant: Variant, users: Sequence[str], state: State, now: int) -> list[list[str]]:
    lists: list[list[str]] = []
    for begin in range(0, len(users), AT_ONCE):
        some = users[begin : begin + AT_ONCE]
        recent_events = state.recent_events(some, MOST_EVENTS, variant.after)
        found = variant.answer([RecommendRequest(user=user, k=TOP) for user in some], recent_events, now, nothing)
        lists += [[one.item for one in items] for _, items, _ in found]
    return lists


def _mean_of(values: Array, rows: Rows) -> float:
    rows = rows[rows >= 0]
    return float(values[rows].mean()) if len(rows) else 0.0
