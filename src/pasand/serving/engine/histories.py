"""Histories of queries: adds the events that happened after the bundle was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from pasand.types import Array, Queries, Rows, Times

Interaction: TypeAlias = tuple[str, int | None, float | None]
"""Item, time and value; None if unknown."""


def add_events(
    queries: Queries, new_events: Sequence[Sequence[Interaction]], rows: Rows, notes: list[list[str]], *, sort: bool
) -> Queries:
    """Return B queries with events appended to their histories, and note unknown items in `notes`.

    `rows` holds the item rows of all events, one query after the other, -1 if not in the catalogue; such events are
    left out. An event without time gets the query's. With `sort`, histories are sorted by time.
    """
    longest = max((len(events) for events in new_events), default=0)
    if not longest:
        return queries
    old = queries.history.shape[1]
    shape = (len(new_events), old + longest)
    history, value = np.full(shape, -1, np.int32), np.full(shape, np.nan, np.float32)
    times, begin = np.zeros(shape, np.int64), 0
    for query, events in enumerate(new_events):
        items = rows[begin : begin + len(events)]
        begin += len(events)
        known = np.flatnonzero(items >= 0)
        if len(known) < len(events):
            unknown = [events[i][0] for i in np.flatnonzero(items < 0)[:3].tolist()]
            notes[query].append(f"not in the catalogue, and ignored: {', '.join(unknown)}")
        now = int(queries.time[query])
        start = shape[1] - len(known)
        history[query, start:] = items[known]
        times[query, start:] = [now if events[i][1] is None else events[i][1] for i in known.tolist()]
        value[query, start:] = [np.nan if events[i][2] is None else events[i][2] for i in known.tolist()]
        if old:
            history[query, start - old : start] = queries.history[query]
            times[query, start - old : start] = queries.history_time[query]
            value[query, start - old : start] = queries.history_value[query]
    if sort:
        history, times, value = _sorted_by_time(history, times, value)
    return replace(queries, history=history, history_time=times, history_value=value)


def _sorted_by_time(history: Rows, times: Times, value: Array) -> tuple[Rows, Times, Array]:
    """Return histories sorted by time, ties in their old order; (B, H) each, padding on the left."""
    if not ((times[:, 1:] < times[:, :-1]) & (history[:, :-1] >= 0)).any():
        return history, times, value
    order = np.argsort(np.where(history >= 0, times, np.iinfo(np.int64).min), axis=1, kind="stable")
    return (
        np.take_along_axis(history, order, 1),
        np.take_along_axis(times, order, 1),
        np.take_along_axis(value, order, 1),
    )
