"""Hold-out split for stacking: base models learn from earlier events, a second model from their scores of later ones.

Scores of events that the base models learnt from would teach the second model to trust memorised events. So the log is
split: the base models are fitted to the earlier part, and the positives of the later part become queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.features.training_weights import training_weights
from pasand.types import Mask, Offsets, Queries, Rows


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Held-out events, n of them, each a query with the user's history before it."""

    train: Dataset
    """The earlier part."""
    data: Dataset
    """The whole dataset, from which histories are read."""
    event: Offsets
    """(n,) positions of the held-out events in `data`, rising."""
    upto: Offsets
    """(n,) length of the history: the user's first `upto` events."""

    def __len__(self) -> int:
        return len(self.event)

    @property
    def user(self) -> Rows:
        """(n,) the users of the events."""
        return self.data.user[self.event]

    @property
    def item(self) -> Rows:
        """(n,) the items of the events."""
        return self.data.item[self.event]

    def batches(self, size: int) -> Iterator[tuple[Offsets, Queries]]:
        """Yield positions of at most `size` events and their queries, grouped by similar history length."""
        order = np.argsort(self.upto, kind="stable")
        for at in range(0, len(order), size):
            which = order[at : at + size]
            event = self.event[which]
            yield (
                which,
                self.data.queries(self.data.user[event], k=1, time=self.data.time[event], upto=self.upto[which]),
            )


def holdout(
    data: Dataset, share: float, max_events: int, per_user: int, rng: Generator, *, rated: bool = False
) -> Holdout | None:
    """Return at most `max_events` held-out events of the last `share` of the log; None if either part would be empty.

    With order "time" the log is cut at one time, and histories hold the events strictly before the held-out one, as in
    serving. Otherwise the last `share` of each user's events is held out, at least one where the user has two. Held out
    are positives of items that are new to the user, at most `per_user` per user; with `rated`, all events with a value.
    An event is held out with the probability of its training weight.
    """
    grouped = data.by_user
    position = np.empty(len(data), np.int64)
    position[grouped.event] = np.arange(len(data)) - grouped.start[data.user[grouped.event]]
    count = np.diff(grouped.start)[data.user]
    if data.order == "time" and len(data):
        cut = data.time[min(int((1 - share) * len(data)), len(data) - 1)]
        later = data.time >= cut
        upto = _strictly_earlier(data, position)
    else:
        later = position >= np.minimum(count - 1, np.ceil((1 - share) * count))
        later &= count > 1
        upto = position
    usable = np.isfinite(data.value) if rated and data.value is not None else data.is_positive & _first_with_item(data)
    event = np.flatnonzero(later & usable)
    weight = training_weights(data)
    if weight is not None and (weight < 1).any():
        event = event[rng.random(len(event)) < weight[event]]
    if not len(event) or later.all():
        return None
    event = event[rng.permutation(len(event))]
    by_user = np.argsort(data.user[event], kind="stable")
    users = data.user[event][by_user]
    begin = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
    number = np.empty(len(event), np.int64)  # of an event among those of its user
    number[by_user] = np.arange(len(event)) - np.repeat(begin, np.diff(np.append(begin, len(event))))
    event = np.sort(event[number < per_user][:max_events])
    return Holdout(train=data.select(~later), data=data, event=event, upto=upto[event])


def _first_with_item(data: Dataset) -> Mask:
    """Return which events are the user's first with the item, (E,)."""
    grouped = data.by_user
    keys = data.user[grouped.event].astype(np.int64) * max(data.n_items, 1) + grouped.item
    first = np.zeros(len(data), np.bool_)
    first[grouped.event[np.unique(keys, return_index=True)[1]]] = True
    return first


def _strictly_earlier(data: Dataset, position: Offsets) -> Offsets:
    """Return the number of the user's events that are strictly earlier than each event, (E,).

    `position`, (E,), is that of each event among those of its user.
    """
    grouped = data.by_user
    user, time = data.user[grouped.event], data.time[grouped.event]
    new = np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1]))[: len(user)]
    first = np.maximum.accumulate(np.where(new, np.arange(len(user)), 0))
    earlier = np.empty(len(data), np.int64)
    earlier[grouped.event] = position[grouped.event[first]]
    return earlier
