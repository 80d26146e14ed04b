"""The default protocol: one global cut in time, which divides the log as deployment does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.split import (
    Split,
    TestQueries,
    event_counts,
    first_interactions,
    grouped_by_query,
    n_earlier_events,
)
from pasand.types import Array, Mask, Offsets

PROTOCOLS_WITHOUT_TIME = "leave-last-out (where the order is known), strong-generalisation or folds"


@dataclass(frozen=True)
class Temporal:
    """Trains on all events before a point in time and tests on all events from then on.

    The candidates of a test query are the items that were available at its time (`Dataset.available_from`): those
    released by then, and items of unknown release that the log showed before. An item of unknown release that the log
    never shows is a candidate from the start. Positives on items that were not available at the time of the query, such
    as the first event of an item of unknown release, are not relevant.
    """

    train_share: float = 0.8
    """Share of the events that lie before the cut; events with the same timestamp stay together, after the cut."""
    histories: Literal["live", "frozen"] = "live"
    """live: a test query's history holds all earlier events, as in serving; frozen: histories end at the cut."""
    queries_per_user: int = 10
    """live: most test queries per user, evenly spaced over the user's test events."""

    def __post_init__(self) -> None:
        if not 0 < self.train_share < 1:
            raise ValueError(f"train_share must be between 0 and 1, got {self.train_share}")
        if self.histories not in ("live", "frozen"):
            raise ValueError(f"histories must be live or frozen, got {self.histories}")
        if self.queries_per_user < 1:
            raise ValueError(f"queries_per_user must be at least 1, got {self.queries_per_user}")

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError for a log without times, or with a single timestamp."""
        if data.order != "time":
            cause = "the temporal protocol needs the time of each event, and these data have none"
            raise InputError(data.name, cause=cause, cure=f"choose --protocol {PROTOCOLS_WITHOUT_TIME}")
        if not len(data) or data.time[0] == data.time[-1]:
            events = "a single event" if len(data) == 1 else f"{len(data):,} events with the same time"
            cause = f"{events} cannot be split in time"
            raise InputError(data.name, cause=cause, cure=f"choose --protocol {PROTOCOLS_WITHOUT_TIME}")
        time = data.time[min(int(self.train_share * len(data)), len(data) - 1)]
        cut = int(np.searchsorted(data.time, time)) or int(np.searchsorted(data.time, time, side="right"))
        time = data.time[cut]
        shown = None if data.impressions is None else data.impressions.since(int(time))
        train, test = data.before(int(time)), data.select(slice(cut, len(data)), impressions=shown)
        live = self.histories == "live"
        positive = np.flatnonzero((first_interactions(data) & data.is_positive)[cut:]) + cut
        available = data.available_from[data.item[positive]] <= (data.time[positive] if live else time)
        relevant = positive[available]
        rating_queries = None
        if data.values == "rating":
            rating_queries = self._live_rating_queries(data, cut) if live else _frozen_rating_queries(data, train, cut)
        share = f"{100 * self.train_share:g}"
        return [
            Split(
                name=f"temporal, first {share} % of events (before {_utc(int(time))}), {self.histories} histories",
                leakage=None,
                rules=self._rules(len(positive) - len(relevant)),
                train=train,
                test=test,
                test_queries=self._live_queries(data, relevant)
                if live
                else one_query_per_user(data, train, relevant, time=int(time), ratings=False),
                rating_queries=rating_queries,
                followed=data if live else None,
                available_from=data.available_from,
                n_unavailable=len(positive) - len(relevant),
            )
        ]

    def _rules(self, n_unavailable: int) -> dict[str, str]:
        live = self.histories == "live"
        test_queries = (
            f"one per relevant test event, at most {self.queries_per_user} per user, evenly spaced"
            if live
            else "one per user with a relevant test event, at the cut"
        )
        return {
            "relevant": ("the item of the test event" if live else "the items of all test events")
            + ", if it is a positive and the user's first event with that item, on an item that was available",
            "candidates": "items available at the time of the test query: released by then (available_from), or, if "
            "their release is unknown, in the log before; items that the log never shows are always available",
            "not available": f"{n_unavailable:,} positives of test events, which therefore are not relevant",
            "seen": "every event of the user before the test query" if live else "every event of the user in train",
            "counts": "popularity, and other counts that need no training, of all events before the test query"
            if live
            else "popularity of the events in train",
            "test queries": test_queries,
            "ratings": f"all; a user's history is updated at most {self.queries_per_user} times"
            if live
            else "all, at the cut",
            "averages": "within a user, then over users",
        }

    def _live_queries(self, data: Dataset, relevant: Offsets) -> TestQueries:
        event = relevant[evenly_spaced(data.user[relevant], self.queries_per_user)]
        return TestQueries(
            log=data,
            user=data.user[event],
            upto=n_earlier_events(data)[event],
            time=data.time[event],
            start=np.arange(len(event) + 1),
            item=data.item[event],
            value=np.ones(len(event), np.float32),
        )

    def _live_rating_queries(self, data: Dataset, cut: int) -> TestQueries:
        assert data.value is not None
        event = np.flatnonzero(np.isfinite(data.value[cut:])) + cut
        is_first = evenly_spaced(data.user[event], self.queries_per_user)  # first rating of its query
        order = np.argsort(data.user[event], kind="stable")
        query = np.empty(len(event), np.int64)
        query[order] = np.cumsum(is_first[order]) - 1
        first = event[order][is_first[order]]
        start, item, value = grouped_by_query(query, data.item[event], data.value[event], len(first))
        return TestQueries(
            log=data,
            user=data.user[first],
            upto=n_earlier_events(data)[first],
            time=data.time[first],
            start=start,
            item=item,
            value=value,
        )


def one_query_per_user(data: Dataset, train: Dataset, event: Offsets, *, time: int, ratings: bool) -> TestQueries:
    """Return one test query per user, with the user's train events as history and the given events as targets."""
    users, query = np.unique(data.user[event], return_inverse=True)
    gains = np.ones(len(event), np.float32)
    values = data.value[event] if ratings and data.value is not None else gains
    start, item, value = grouped_by_query(query, data.item[event], values, len(users))
    return TestQueries(
        log=train,
        user=users,
        upto=event_counts(train)[users],
        time=np.full(len(users), time, np.int64),
        start=start,
        item=item,
        value=value,
    )


def evenly_spaced(user: Array, most: int) -> Mask:
    """Return a mask of at most `most` events per user, evenly spaced from the first on; events come in order of time.

    >>> evenly_spaced(np.array([0, 0, 0, 0, 1]), 2)
    array([ True, False,  True, False,  True])
    """
    order = np.argsort(user, kind="stable")
    _, begin, count = np.unique(user[order], return_index=True, return_counts=True)
    n = np.repeat(count, count)
    position = np.arange(len(user)) - np.repeat(begin, count)
    keep = np.empty(len(user), np.bool_)
    keep[order] = (n <= most) | (-(-position * most // n) * n < (position + 1) * most)
    return keep


def _frozen_rating_queries(data: Dataset, train: Dataset, cut: int) -> TestQueries:
    assert data.value is not None
    event = np.flatnonzero(np.isfinite(data.value[cut:])) + cut
    return one_query_per_user(data, train, event, time=int(data.time[cut]), ratings=True)


def _utc(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).replace("T", " ") + " UTC"
