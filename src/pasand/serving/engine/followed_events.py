"""Followed events: counts stored events in the components of a bundle that follow the log, as evaluations do.

Popularity in a server then equals that of an evaluation with live histories on the log that a refresh would gather.
Counts hold no identity: events of a user who is forgotten stay counted until the bundle is fitted again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pasand.bundle import Bundle
from pasand.contracts import AddsEvents, EmbedsItems, Refreshes
from pasand.data.dataset import Dataset
from pasand.following import followers
from pasand.serving.engine.scale import Scale
from pasand.serving.states.contract import Event

MOST_WAITING = 10_000
"""Events of items that are not in the catalogue that are kept, the latest ones."""


class FollowedEvents:
    """The components of one bundle that follow its log, and the events that they have counted."""

    def __init__(self, bundle: Bundle, scale: Scale) -> None:
        """Follow the data of the bundle; nothing is followed where these have no times."""
        self._data, self._scale = bundle.data, scale
        self._waiting: deque[Event] = deque(maxlen=MOST_WAITING)
        self.upto = bundle.counter("state_upto")
        """Number of the state's last event that is counted."""
        self.components: list[AddsEvents] = []
        if bundle.data.order == "time":
            self.components = [part for part in followers(bundle.assembly.recommender) if isinstance(part, AddsEvents)]
        for part in self.components:
            part.follow(bundle.data)
            part.compact()
        moving = [part for part in self.components if isinstance(part, EmbedsItems)]
        parts = bundle.assembly.components.values()
        indexes = [part for part in parts if any(getattr(part, "model", None) is model for model in moving)]
        self._indexes = [part for part in indexes if isinstance(part, Refreshes)]
        """Indexes of vectors that move with events."""

    def use(self, data: Dataset) -> None:
        """Count the events of these data's items, which are more than before: items were added to the catalogue."""
        self._data = data
        waiting, self._waiting = list(self._waiting), deque(maxlen=MOST_WAITING)
        self._count(waiting)

    def add(self, events: Sequence[tuple[int, Event]]) -> None:
        """Count events, given with their numbers; those of items outside of the bundle's data wait for these items.

        Call it on the thread that recommends. Stored ratings outside of the log's scale count as its nearest end, as in
        histories. Neither an event that undoes another nor, without ratings, one of a rejected item is counted. An
        event stays counted when it is undone.
        """
        self.upto = max([self.upto, *(number for number, _ in events)])
        rates = self._scale.lowest is not None
        events = [each for each in events if each[1].undoes is None and (rates or not each[1].disliked)]
        self._count([event for _, event in events])

    def _count(self, events: Sequence[Event]) -> None:
        data = self._data
        item = data.items.rows([event.item_id for event in events])
        known = [event for event, row in zip(events, item.tolist(), strict=True) if row >= 0]
        self._waiting.extend(event for event, row in zip(events, item.tolist(), strict=True) if row < 0)
        if not known:
            return
        values = [self._scale.nearest(event.value) for event in known]
        new = replace(
            data,
            user=data.users.rows([event.user_id for event in known]),
            item=item[item >= 0],
            time=np.array([event.time for event in known], np.int64),
            value=None if data.value is None else np.array([np.nan if v is None else v for v in values], np.float32),
            columns={},
            impressions=None,
        )
        for part in self.components:
            part.add_events(new)
        for index in self._indexes:
            index.refresh(np.unique(new.item))
