"""Event feed: a thread that reads the events that any process stored, for the bundles in use to count them.

It reads outside of the path of requests, in order of the events' numbers. They are counted on the thread that
recommends, a few at a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pasand.errors import failure_cause
from pasand.serving.engine.followed_events import FollowedEvents
from pasand.serving.states.contract import Event, State, StateUnavailable

logger = logging.getLogger(__name__)

CHUNK = 1000
"""Events that are read from the state, and counted, at a time."""
POLL_SECONDS, MIN_SECONDS = 1.0, 0.05
"""Seconds between two looks at the state: usually, and at least where events of this process arrive."""

Schedule: TypeAlias = Callable[[Callable[[], None]], object]
"""Runs a function on the thread that recommends, soon."""


def catch_up(followed: FollowedEvents, state: State) -> None:
    """Count all stored events that are not counted yet; what cannot be read now is left to the feed.

    The bundle must not be in use by another thread.
    """
    try:
        while followed.components and (events := state.events(followed.upto, CHUNK)):
            followed.add(events)
    except StateUnavailable as error:
        logger.warning("the latest events are not counted yet: %s", error)


class EventFeed:
    """Reads the events of a state in a thread, and hands them to the components that follow."""

    def __init__(self, state: State, followed: Callable[[], Sequence[FollowedEvents]]) -> None:
        """Feed what `followed` returns at each look; the state may be slow, as nothing waits for this thread."""
        self.state, self._followed = state, followed
        self._wake, self._ended = threading.Event(), threading.Event()
        self._failed, self._identity = False, 0

    def start(self, schedule: Schedule) -> None:
        """Start the thread."""
        threading.Thread(target=self._work, args=(schedule,), name="pasand feed", daemon=True).start()

    def wake(self) -> None:
        """Look at the state soon, as this process has stored events."""
        self._wake.set()

    def close(self) -> None:
        """End the thread, without waiting for it."""
        self._ended.set()
        self._wake.set()

    def _work(self, schedule: Schedule) -> None:
        while not self._ended.wait(MIN_SECONDS):
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            try:
                self._look(schedule)
                self._failed = False
            except Exception as error:  # whatever it is, the next round must come
                if not self._failed and not self._ended.is_set():
                    logger.warning("stored events are not counted: %s", failure_cause(error))
                self._failed = True

    def _look(self, schedule: Schedule) -> None:
        followed = [one for one in self._followed() if one.components]
        if not followed:
            return
        identity = self.state.counters().identity
        if self._identity not in (0, identity):  # another state, whose numbers start again
            for one in followed:
                one.upto = 0
        self._identity = identity
        for one in followed:
            while not self._ended.is_set() and (events := self.state.events(one.upto, CHUNK)):
                if not self._counted(one, events, schedule):
                    return

    def _counted(self, one: FollowedEvents, events: Sequence[tuple[int, Event]], schedule: Schedule) -> bool:
        """Wait until the events are counted, and return whether they are; False if the feed ends before."""
        done = threading.Event()

        def count() -> None:
            try:
                one.add(events)
            finally:
                one.upto = max(one.upto, events[-1][0])  # what fails once is not tried forever
                done.set()

        schedule(count)
        while not done.wait(POLL_SECONDS):
            if self._ended.is_set():
                return False
        return True
