"""Examples for rankers: requests with items that were taken or not, each with the history before it. No torch."""

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
from pasand.types import Array, Mask, Offsets, Queries, Rows, Scores

logger = logging.getLogger(__name__)

Objective: TypeAlias = Literal["clicked", "liked", "ratings", "minutes"]
CHUNK = 2048
"""Requests whose histories are held at once."""
REMEMBERED = 50
"""Items shown lately and not taken that a request remembers."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Requests, Q of them, with K items each at most."""

    data: Dataset
    user: Rows
    """(Q,)"""
    time: Array
    """(Q,) seconds since 1970."""
    upto: Offsets
    """(Q,) the history is the user's first so many events."""
    items: Rows
    """(Q, K) padded with -1."""
    label: Scores
    """(Q, K) 1 or 0, or a rating; of a padded place nothing is meant."""
    minutes: Scores | None = None
    """(Q, K) minutes watched, 0 where not taken."""
    position: Rows | None = None
    """(Q, K) where the item stood, 1 is the first, 0 unknown."""
    shown: Rows | None = None
    """(Q, S) items shown before and not taken, padded with -1."""

    def __len__(self) -> int:
        return len(self.user)

    def select(self, which: Mask | Offsets) -> Examples:
        """Return the requests at these places."""
        columns = ("user", "time", "upto", "items", "label", "minutes", "position", "shown")
        there = {name: getattr(self, name) for name in columns}
        return replace(self, **{name: values[which] for name, values in there.items() if values is not None})

    def batches(self) -> Iterator[tuple[slice, Queries]]:
        """Yield places of the requests, a part at a time, and the requests."""
        for at in range(0, len(self), CHUNK):
            part = slice(at, min(at + CHUNK, len(self)))
            queries = self.data.queries(self.user[part], k=1, time=self.time[part], upto=self.upto[part])
            if self.shown is not None:
                queries = replace(queries, features={**queries.features, "shown_not_clicked": self.shown[part]})
            yield part, queries


def examples(data: Dataset, objective: Objective, negatives: int, most: int, rng: Generator) -> Examples:
    """Return the latest examples, at most `most` pairs.

    "clicked" and "minutes" learn from impressions; where there are none, from likings, labelled 1 and one minute long,
    with `negatives` items each, labelled 0, drawn evenly from those that the user does not like. "liked" tells rated
    events that are likings from those that are not, "ratings" foresees their value. What was taken and watched for
    nobody knows how long is no example of "minutes". Raises InputError where the data do not have what the objective
    needs, or where all their labels are equal.
    """
    if objective in ("clicked", "minutes") and data.impressions is not None and len(data.impressions):
        found = _shown(data, data.impressions, most, objective)
    elif objective in ("clicked", "minutes"):
        found = _drawn(data, negatives, max(1, most // (1 + negatives)), rng)
        if objective == "minutes":
            logger.warning("%s has no impressions, so every liking counts as one minute", data.name)
            found = replace(found, minutes=found.label)
    else:
        found = _rated(data, objective, most)
    wanted = found.minutes if objective == "minutes" and found.minutes is not None else found.label
    label = wanted[found.items >= 0]
    told = found.position is not None or objective in ("liked", "ratings")
    if told and len(label) and (label == label[0]).all():
        cause = f"all {len(label):,} labels are equal, so that nothing can be told apart"
        raise InputError(data.name, column=objective, cause=cause, cure="give data of both kinds, or another objective")
    return found


def _upto(data: Dataset, user: Rows, time: Array) -> Offsets:
    """Return how many events of each user lie before each time; without times, none does, (n,)."""
    grouped = data.by_user
    moments = data.time[grouped.event]
    begin, end = grouped.start[user], grouped.start[user + 1]
    low, high = begin.copy(), end.copy()
    while (low < high).any():  # all users are searched at once
        middle = (low + high) // 2
        earlier = moments[np.minimum(middle, len(moments) - 1)] < time
        open_ = low < high
        low = np.where(open_ & earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low - begin


def _places(data: Dataset) -> Offsets:
    grouped = data.by_user
    place = np.empty(len(data), np.int64)
    place[grouped.event] = np.arange(len(data)) - grouped.start[data.user[grouped.event]]
    return place


def _before(data: Dataset, event: Offsets) -> Offsets:
    timed = data.order == "time"
    return _upto(data, data.user[event], data.time[event]) if timed else _places(data)[event]


def _drawn(data: Dataset, negatives: int, most: int, rng: Generator) -> Examples:
    event = np.flatnonzero(data.liked)[-most:]
    user, item = data.user[event], data.item[event]
    known = np.unique(data.item[data.liked])
    drawn = known[rng.integers(0, max(len(known), 1), (len(event), negatives))] if len(known) else item[:, None][:, :0]
    chosen = data.positives()
    keys = np.unique(chosen.user.astype(np.int64) * data.n_items + chosen.item)
    asked = user[:, None].astype(np.int64) * data.n_items + drawn
    place = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    likes = keys[place] == asked if len(keys) else np.zeros(asked.shape, np.bool_)
    items = np.column_stack([item, np.where(likes, np.int32(-1), drawn)]).astype(np.int32)
    label = np.zeros(items.shape, np.float32)
    label[:, 0] = 1
    upto = _before(data, event)
    return Examples(data=data, user=user, time=data.time[event], upto=upto, items=items, label=label)


def _rated(data: Dataset, objective: Objective, most: int) -> Examples:
    if data.value is None or data.values == "none" or (objective == "ratings" and data.values != "rating"):
        raise InputError(data.name, cause="no ratings to learn from", cure='set objective = "clicked"')
    event = np.flatnonzero(np.isfinite(data.value))[-most:]
    label = data.value[event] if objective == "ratings" else data.liked[event].astype(np.float32)
    return Examples(
        data=data,
        user=data.user[event],
        time=data.time[event],
        upto=_before(data, event),
        items=data.item[event][:, None],
        label=label[:, None],
    )


def _shown(data: Dataset, shown: Impressions, most: int, objective: Objective) -> Examples:
    """Return a request for each moment at which a user was shown items."""
    if objective == "minutes" and shown.watched_seconds is None:
        cure = 'give a column watched_seconds, or set objective = "clicked"'
        raise InputError(data.name, column="watched_seconds", cause="not in the impressions", cure=cure)
    order = np.lexsort((np.arange(len(shown)), shown.user, shown.time))[-most:]
    user, time = shown.user[order], shown.time[order]
    new = np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1]))
    request = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    place = np.arange(len(order)) - first[request]
    shape = (len(first), int(place.max(initial=0)) + 1)

    def table(column: Array, blank: float, kind: type) -> Array:
        made: Array = np.full(shape, blank, kind)
        made[request, place] = column[order]
        return made

    minutes = None
    if shown.watched_seconds is not None:
        minutes = table(np.nan_to_num(shown.watched_seconds) / 60, 0, np.float32)
    items, clicked = table(shown.item, -1, np.int32), table(shown.clicked, 0, np.float32)
    passed_over = _passed_over(user[first], items, clicked)
    if objective == "minutes" and shown.watched_seconds is not None:
        items[table(np.isnan(shown.watched_seconds), 0, np.bool_)] = -1
    return Examples(
        data=data,
        user=user[first],
        time=time[first],
        upto=_upto(data, user[first], time[first]),
        items=items,
        label=clicked,
        minutes=minutes,
        position=table(shown.position, 0, np.int32),
        shown=passed_over,
    )


def _passed_over(user: Rows, items: Rows, clicked: Scores) -> Rows:
    """Return the last items that earlier requests of the same user showed and that were not taken; (Q, S)."""
    memory: dict[int, Rows] = {}
    out = np.full((len(user), REMEMBERED), -1, np.int32)
    for q, u in enumerate(user.tolist()):
        known = memory.get(u)
        if known is not None:
            out[q, : len(known)] = known
        passed = items[q][(items[q] >= 0) & (clicked[q] == 0)]
        memory[u] = passed[-REMEMBERED:] if known is None else np.concatenate([known, passed])[-REMEMBERED:]
    return out
