"""The later part of a log as questions, from which a second model learns what the first ones' opinions are worth.

Whoever learns from other models' scores must see scores of events that those models did not learn from, or it learns to
trust memory. So the log is cut: the models learn from the earlier part, the questions are likings of the later one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.types import Mask, Offsets, Queries, Rows


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Events of the later part, n of them, each asked with the history before it."""

    train: Dataset
    """The earlier part."""
    data: Dataset
    """All of it, from which histories are read."""
    event: Offsets
    """(n,) positions in `data`, in its order."""
    upto: Offsets
    """(n,) the history is the user's first so many events."""

    def __len__(self) -> int:
        return len(self.event)

    @property
    def user(self) -> Rows:
        """(n,) who is asked."""
        return self.data.user[self.event]

    @property
    def item(self) -> Rows:
        """(n,) the items of the events."""
        return self.data.item[self.event]

    def batches(self, size: int) -> Iterator[tuple[Offsets, Queries]]:
        """Yield positions of at most `size` questions and the questions; histories of like length go together."""
        order = np.argsort(self.upto, kind="stable")
        for at in range(0, len(order), size):
            which = order[at : at + size]
            event = self.event[which]
            yield (
                which,
                self.data.queries(self.data.user[event], k=1, time=self.data.time[event], upto=self.upto[which]),
            )


def holdout(
    data: Dataset, share: float, most: int, per_user: int, rng: Generator, *, rated: bool = False
) -> Holdout | None:
    """Return at most `most` questions out of the last `share` of the events; None: there is none, or nothing before.

    With order "time" there is one cut in time, and histories hold what is strictly earlier than the question, as when
    serving; otherwise the last `share` of each user's events, at least one of two, are later. Likings are asked for,
    of items that the user has not met before, at most `per_user` of a user; with `rated`, all events with a value.
    """
    grouped = data.by_user
    place = np.empty(len(data), np.int64)
    place[grouped.event] = np.arange(len(data)) - grouped.start[data.user[grouped.event]]
    count = np.diff(grouped.start)[data.user]
    if data.order == "time" and len(data):
        cut = data.time[min(int((1 - share) * len(data)), len(data) - 1)]
        after = data.time >= cut
        upto = _strictly_earlier(data, place)
    else:
        after = place >= np.minimum(count - 1, np.ceil((1 - share) * count))
        after &= count > 1
        upto = place
    wanted = after & (np.isfinite(data.value) if rated and data.value is not None else data.liked & _first(data))
    event = np.flatnonzero(wanted)
    if not len(event) or after.all():
        return None
    event = event[rng.permutation(len(event))]
    user = np.argsort(data.user[event], kind="stable")
    ordered = data.user[event][user]
    begin = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    turn = np.empty(len(event), np.int64)
    turn[user] = np.arange(len(event)) - np.repeat(begin, np.diff(np.append(begin, len(event))))
    event = np.sort(event[turn < per_user][:most])
    return Holdout(train=data.select(~after), data=data, event=event, upto=upto[event])


def _first(data: Dataset) -> Mask:
    """Return which events are the user's first with the item, (E,)."""
    grouped = data.by_user
    keys = data.user[grouped.event].astype(np.int64) * max(data.n_items, 1) + grouped.item
    first = np.zeros(len(data), np.bool_)
    first[grouped.event[np.unique(keys, return_index=True)[1]]] = True
    return first


def _strictly_earlier(data: Dataset, place: Offsets) -> Offsets:
    """Return how many of the user's events lie at an earlier time than each event, (E,)."""
    grouped = data.by_user
    user, time = data.user[grouped.event], data.time[grouped.event]
    new = np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1]))[: len(user)]
    first = np.maximum.accumulate(np.where(new, np.arange(len(user)), 0))
    earlier = np.empty(len(data), np.int64)
    earlier[grouped.event] = place[grouped.event[first]]
    return earlier
