"""The default protocol: one cut in time for all users, as a recommender in use would meet it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.split import Split, TestQueries, event_counts, events_earlier, first_times, grouped
from pasand.types import Array, Mask, Offsets

PROTOCOLS_WITHOUT_TIME = "leave-last-out (where the order is known), strong-generalisation or folds"


@dataclass(frozen=True)
class Temporal:
    """Trains on everything before one moment and asks about everything from that moment on."""

    train_share: float = 0.8
    """Share of the events, by time, that lie before the cut; events of one moment stay together, after the cut."""
    histories: Literal["live", "frozen"] = "live"
    """live: histories roll forward as in serving; frozen: they stop at the cut."""
    per_user: int = 10
    """live: at most so many questions a user, evenly spaced over the user's test events."""

    def __post_init__(self) -> None:
        if not 0 < self.train_share < 1:
            raise ValueError(f"train_share must be between 0 and 1, got {self.train_share}")
        if self.histories not in ("live", "frozen"):
            raise ValueError(f"histories must be live or frozen, got {self.histories}")
        if self.per_user < 1:
            raise ValueError(f"per_user must be at least 1, got {self.per_user}")

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError where the log has no times, or too few to cut."""
        if data.order != "time":
            cause = "the temporal protocol needs the time of each event, and these data have none"
            raise InputError(data.name, cause=cause, cure=f"choose --protocol {PROTOCOLS_WITHOUT_TIME}")
        if not len(data) or data.time[0] == data.time[-1]:
            events = "a single event" if len(data) == 1 else f"{len(data):,} events at one moment"
            cause = f"{events} cannot be cut in time"
            raise InputError(data.name, cause=cause, cure=f"choose --protocol {PROTOCOLS_WITHOUT_TIME}")
        moment = data.time[min(int(self.train_share * len(data)), len(data) - 1)]
        cut = int(np.searchsorted(data.time, moment)) or int(np.searchsorted(data.time, moment, side="right"))
        moment = data.time[cut]
        shown = None if data.impressions is None else data.impressions.since(int(moment))
        train, test = data.before(int(moment)), data.select(slice(cut, len(data)), impressions=shown)
        lists = self._live_lists(data, train, cut) if self.histories == "live" else self._frozen_lists(data, train, cut)
        rated = None
        if data.values == "rating":
            rated = self._live_ratings(data, train, cut) if self.histories == "live" else _frozen(data, train, cut)
        share = f"{100 * self.train_share:g}"
        return [
            Split(
                name=f"temporal, first {share} % of events (before {_utc(int(moment))}), {self.histories} histories",
                leaks=None,
                rules=self._rules(),
                train=train,
                test=test,
                lists=lists,
                ratings=rated,
            )
        ]

    def _rules(self) -> dict[str, str]:
        live = self.histories == "live"
        seen = "every event of the user at an earlier moment than the question" if live else "every event in train"
        asked = (
            f"once for each relevant test event, at most {self.per_user} a user, evenly spaced"
            if live
            else "once for each user with a relevant test event, at the cut"
        )
        return {
            "relevant": ("the item of the event" if live else "all items of test events")
            + " that is a liking, the user's first event with that item",
            "seen": seen,
            "warm": "users with at least one event in train",
            "cold": "users without an event in train" + (", whatever they did later" if live else ""),
            "asked": asked,
            "ratings": f"all; histories are renewed at most {self.per_user} times a user"
            if live
            else "all, at the cut",
            "averages": "queries are averaged within a user, then over users",
        }

    def _live_lists(self, data: Dataset, train: Dataset, cut: int) -> TestQueries:
        wanted = np.flatnonzero((first_times(data) & data.liked)[cut:]) + cut
        event = wanted[spread(data.user[wanted], self.per_user)]
        return TestQueries(
            log=data,
            user=data.user[event],
            upto=events_earlier(data)[event],
            time=data.time[event],
            activity=event_counts(train)[data.user[event]],
            start=np.arange(len(event) + 1),
            item=data.item[event],
            value=np.ones(len(event), np.float32),
        )

    def _frozen_lists(self, data: Dataset, train: Dataset, cut: int) -> TestQueries:
        event = np.flatnonzero((first_times(data) & data.liked)[cut:]) + cut
        return at_the_cut(data, train, event, time=int(data.time[cut]), ratings=False)

    def _live_ratings(self, data: Dataset, train: Dataset, cut: int) -> TestQueries:
        assert data.value is not None
        event = np.flatnonzero(np.isfinite(data.value[cut:])) + cut
        opening = spread(data.user[event], self.per_user)
        order = np.argsort(data.user[event], kind="stable")
        question = np.empty(len(event), np.int64)
        question[order] = np.cumsum(opening[order]) - 1
        asked = event[order][opening[order]]
        start, item, value = grouped(question, data.item[event], data.value[event], len(asked))
        return TestQueries(
            log=data,
            user=data.user[asked],
            upto=events_earlier(data)[asked],
            time=data.time[asked],
            activity=event_counts(train)[data.user[asked]],
            start=start,
            item=item,
            value=value,
        )


def at_the_cut(data: Dataset, train: Dataset, event: Offsets, *, time: int, ratings: bool) -> TestQueries:
    """Return one question a user, with the user's train events as history and the given events as answers."""
    users, question = np.unique(data.user[event], return_inverse=True)
    gains = np.ones(len(event), np.float32)
    values = data.value[event] if ratings and data.value is not None else gains
    start, item, value = grouped(question, data.item[event], values, len(users))
    activity = event_counts(train)[users]
    return TestQueries(
        log=train,
        user=users,
        upto=activity,
        time=np.full(len(users), time, np.int64),
        activity=activity,
        start=start,
        item=item,
        value=value,
    )


def spread(user: Array, most: int) -> Mask:
    """Return which of the events, given in order of time, to keep: `most` a user, evenly spaced from the first on.

    >>> spread(np.array([0, 0, 0, 0, 1]), 2)
    array([ True, False,  True, False,  True])
    """
    order = np.argsort(user, kind="stable")
    _, begin, count = np.unique(user[order], return_index=True, return_counts=True)
    n = np.repeat(count, count)
    place = np.arange(len(user)) - np.repeat(begin, count)
    keep = np.empty(len(user), np.bool_)
    keep[order] = (n <= most) | (-(-place * most // n) * n < (place + 1) * most)
    return keep


def _frozen(data: Dataset, train: Dataset, cut: int) -> TestQueries:
    assert data.value is not None
    event = np.flatnonzero(np.isfinite(data.value[cut:])) + cut
    return at_the_cut(data, train, event, time=int(data.time[cut]), ratings=True)


def _utc(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).replace("T", " ") + " UTC"
