"""Training examples of rankers: queries with labelled items, from impressions, ratings or positives. Needs no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.impressions import Impressions
from pasand.errors import InputError
from pasand.features.training_weights import training_weights
from pasand.types import Array, Mask, Offsets, Queries, Rows, Scores

logger = logging.getLogger(__name__)

Objective: TypeAlias = Literal["clicked", "liked", "ratings", "minutes"]
CHUNK = 2048
"""Queries whose histories are in memory at once."""
MAX_NOT_CLICKED = 50
"""Latest items shown and not clicked that are part of a query."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Q queries with at most K labelled items each."""

    data: Dataset
    user: Rows
    """(Q,)"""
    time: Array
    """(Q,) seconds since 1970."""
    upto: Offsets
    """(Q,) number of the user's events, from the first on, that are the history."""
    items: Rows
    """(Q, K) padded with -1."""
    label: Scores
    """(Q, K) 1 or 0, or a rating; meaningless at padding."""
    minutes: Scores | None = None
    """(Q, K) minutes watched, 0 where not clicked."""
    position: Rows | None = None
    """(Q, K) position of the item in its list, from 1; 0: unknown."""
    weight: Scores | None = None
    """(Q,) training weights; None: all are 1."""
    shown_not_clicked: Rows | None = None
    """(Q, S) items shown before and not clicked, padded with -1."""

    def __len__(self) -> int:
        return len(self.user)

    def select(self, which: Mask | Offsets) -> Examples:
        """Return the queries at these indices."""
        columns = ("user", "time", "upto", "items", "label", "minutes", "position", "weight", "shown_not_clicked")
        arrays = {name: getattr(self, name) for name in columns}
        return replace(self, **{name: values[which] for name, values in arrays.items() if values is not None})

    def batches(self) -> Iterator[tuple[slice, Queries]]:
        """Yield the queries in batches, each with the slice of its rows."""
        for at in range(0, len(self), CHUNK):
            rows = slice(at, min(at + CHUNK, len(self)))
            queries = self.data.queries(self.user[rows], k=1, time=self.time[rows], upto=self.upto[rows])
            if self.shown_not_clicked is not None:
                features = {**queries.features, "shown_not_clicked": self.shown_not_clicked[rows]}
                queries = replace(queries, features=features)
            yield rows, queries


def examples(data: Dataset, objective: Objective, negatives: int, max_pairs: int, rng: Generator) -> Examples:
    """Return the latest examples, at most `max_pairs` pairs of query and item.

    "clicked" and "minutes" use impressions. Without impressions they use positives, labelled 1 and one minute long,
    each with `negatives` items, labelled 0, drawn uniformly from the items that are no positives of the user. "liked"
    labels rated events by whether they are positives, "ratings" by their value. Clicked items whose watch time is
    unknown are no examples of "minutes". Raises InputError where the data lack what the objective needs, or where all
    labels are equal.
    """
    if objective in ("clicked", "minutes") and data.impressions is not None and len(data.impressions):
        found = _of_impressions(data, data.impressions, max_pairs, objective)
    elif objective in ("clicked", "minutes"):
        found = _of_positives(data, negatives, max(1, max_pairs // (1 + negatives)), rng)
        if objective == "minutes":
            logger.warning("%s has no impressions, so each positive counts as one minute", data.name)
            found = replace(found, minutes=found.label)
    else:
        found = _of_ratings(data, objective, max_pairs)
    target = found.minutes if objective == "minutes" and found.minutes is not None else found.label
    label = target[found.items >= 0]
    observed = found.position is not None or objective in ("liked", "ratings")
    if observed and len(label) and (label == label[0]).all():
        cause = f"all {len(label):,} labels are equal, so there is nothing to learn"
        cure = "give data with different labels, or choose another objective"
        raise InputError(data.name, column=objective, cause=cause, cure=cure)
    return found


def _n_before(data: Dataset, user: Rows, time: Array) -> Offsets:
    """Return how many events of each user are before each time, (n,); 0 without times."""
    grouped = data.by_user
    times = data.time[grouped.event]
    begin, end = grouped.start[user], grouped.start[user + 1]
    low, high = begin.copy(), end.copy()
    while (low < high).any():  # a binary search for all users at once
        middle = (low + high) // 2
        earlier = times[np.minimum(middle, len(times) - 1)] < time
        open_ = low < high
        low = np.where(open_ & earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low - begin


def _history_lengths(data: Dataset, event: Offsets) -> Offsets:
    """Return how many events of its user precede each event: by time where there is one, else in the log's order."""
    if data.order == "time":
        return _n_before(data, data.user[event], data.time[event])
    grouped = data.by_user
    rank = np.empty(len(data), np.int64)
    rank[grouped.event] = np.arange(len(data)) - grouped.start[data.user[grouped.event]]
    return rank[event]


def _of_positives(data: Dataset, negatives: int, max_queries: int, rng: Generator) -> Examples:
    """Return a query for each of the latest positives, with drawn items."""
    event = np.flatnonzero(data.is_positive)[-max_queries:]
    user, item = data.user[event], data.item[event]
    known = np.unique(data.item[data.is_positive])
    drawn = known[rng.integers(0, max(len(known), 1), (len(event), negatives))] if len(known) else item[:, None][:, :0]
    positives = data.positives()
    keys = np.unique(positives.user.astype(np.int64) * data.n_items + positives.item)
    drawn_keys = user[:, None].astype(np.int64) * data.n_items + drawn
    index = np.minimum(np.searchsorted(keys, drawn_keys), max(len(keys) - 1, 0))
    is_positive = keys[index] == drawn_keys if len(keys) else np.zeros(drawn_keys.shape, np.bool_)
    items = np.column_stack([item, np.where(is_positive, np.int32(-1), drawn)]).astype(np.int32)
    label = np.zeros(items.shape, np.float32)
    label[:, 0] = 1
    upto, weight = _history_lengths(data, event), _of_events(training_weights(data), event)
    return Examples(data=data, user=user, time=data.time[event], upto=upto, items=items, label=label, weight=weight)


def _of_ratings(data: Dataset, objective: Objective, max_queries: int) -> Examples:
    """Return a query for each of the latest rated events."""
    if data.value is None or data.values == "none" or (objective == "ratings" and data.values != "rating"):
        raise InputError(data.name, cause="no ratings to learn from", cure='set objective = "clicked"')
    event = np.flatnonzero(np.isfinite(data.value))[-max_queries:]
    label = data.value[event] if objective == "ratings" else data.is_positive[event].astype(np.float32)
    return Examples(
        data=data,
        user=data.user[event],
        time=data.time[event],
        upto=_history_lengths(data, event),
        items=data.item[event][:, None],
        label=label[:, None],
        weight=_of_events(training_weights(data), event),
    )


def _of_impressions(data: Dataset, shown: Impressions, max_pairs: int, objective: Objective) -> Examples:
    """Return a query for each user and time of the latest impressions, with all items shown then."""
    if objective == "minutes" and shown.watched_seconds is None:
        cure = 'give a column watched_seconds, or set objective = "clicked"'
        raise InputError(data.name, column="watched_seconds", cause="not in the impressions", cure=cure)
    order = np.lexsort((np.arange(len(shown)), shown.user, shown.time))[-max_pairs:]
    user, time = shown.user[order], shown.time[order]
    new = np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1]))
    query = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    index = np.arange(len(order)) - first[query]
    shape = (len(first), int(index.max(initial=0)) + 1)

    def table(column: Array, padding: float, kind: type) -> Array:
        values: Array = np.full(shape, padding, kind)
        values[query, index] = column[order]
        return values

    minutes = None
    if shown.watched_seconds is not None:
        minutes = table(np.nan_to_num(shown.watched_seconds) / 60, 0, np.float32)
    items, clicked = table(shown.item, -1, np.int32), table(shown.clicked, 0, np.float32)
    not_clicked = _not_clicked_before(user[first], items, clicked)
    if objective == "minutes" and shown.watched_seconds is not None:
        items[table(np.isnan(shown.watched_seconds), 0, np.bool_)] = -1
    return Examples(
        data=data,
        user=user[first],
        time=time[first],
        upto=_n_before(data, user[first], time[first]),
        items=items,
        label=clicked,
        minutes=minutes,
        position=table(shown.position, 0, np.int32),
        weight=_of_events(_of_users(data), user[first]),
        shown_not_clicked=not_clicked,
    )


def _of_events(weight: Scores | None, which: Array) -> Scores | None:
    return None if weight is None else weight[which]


def _of_users(data: Dataset) -> Scores | None:
    """Return the mean training weight of each user's events, (U,), 1 without events; None: the data have no weights."""
    weight = training_weights(data)
    if weight is None:
        return None
    count = np.bincount(data.user, minlength=data.n_users)
    total = np.bincount(data.user, weights=weight, minlength=data.n_users)
    mean: Scores = np.where(count, total / np.maximum(count, 1), 1).astype(np.float32)
    return mean


def _not_clicked_before(user: Rows, items: Rows, clicked: Scores) -> Rows:
    """Return the latest items that were shown to the user in earlier queries and not clicked; (Q, S)."""
    by_user: dict[int, Rows] = {}
    out = np.full((len(user), MAX_NOT_CLICKED), -1, np.int32)
    for q, u in enumerate(user.tolist()):
        before = by_user.get(u)
        if before is not None:
            out[q, : len(before)] = before
        now = items[q][(items[q] >= 0) & (clicked[q] == 0)]
        by_user[u] = now[-MAX_NOT_CLICKED:] if before is None else np.concatenate([before, now])[-MAX_NOT_CLICKED:]
    return out
