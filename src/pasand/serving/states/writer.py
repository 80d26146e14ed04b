"""Events of many requests are kept in one transaction, since it is the wait for the disk that takes the time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from pasand.serving.states.contract import Event, State, StateUnavailable

logger = logging.getLogger(__name__)

LONGEST = 0.002
"""Seconds that an append waits at most for senders who were just answered."""

Answer: TypeAlias = list[bool] | BaseException


class Busy(Exception):
    """Raised where more events wait to be kept than there is room for; they may be sent again a moment later."""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    events: Sequence[Event]
    future: asyncio.Future[list[bool]] | Future[list[bool]]
    loop: asyncio.AbstractEventLoop | None
    """Whose thread alone may touch the future."""

    def answer(self, answer: Answer) -> None:
        if self.future.done():
            return
        if isinstance(answer, BaseException):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class EventWriter:
    """Keeps the events of whatever requests wait in one append, in a thread of its own, in order of arrival.

    A request is answered when its events are durable, and with StateGone where they could not be kept: then whoever
    sent them sends them again, under the same ids. Nothing waits longer than `State.append` does.
    """

    def __init__(self, state: State, *, room: int = 20_000, group: int = 2_000) -> None:
        """Begin; `room`: events that may wait, `group`: events of one append, both but for one larger request."""
        if room < 1 or group < 1:
            raise ValueError(f"room and group must be positive, got {room} and {group}")
        self._state, self._room, self._group = state, room, group
        self._waiting: deque[_Request] = deque()
        self._events = 0
        self._closed = False
        self._enough = 1
        self._together, self._took = 1, 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="pasand events", daemon=True)
        self._thread.start()

    async def append(self, events: Sequence[Event]) -> list[bool]:
        """Return which events are new, once all are durable; raises StateGone or Busy where none will be kept.

        Events whose sender stops waiting may be kept all the same.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[bool]] = loop.create_future()
        self._take(_Request(events, future, loop))
        return await future

    def submit(self, events: Sequence[Event]) -> Future[list[bool]]:
        """Return at once what `append` will; raises StateGone after `close`, and Busy."""
        future: Future[list[bool]] = Future()
        future.set_running_or_notify_cancel()
        self._take(_Request(events, future, None))
        return future

    def __len__(self) -> int:
        """Return how many events wait."""
        return self._events

    def close(self) -> None:
        """Keep what waits, answer it, and end the thread; the state stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _take(self, request: _Request) -> None:
        with self._changed:
            if self._closed:
                raise StateUnavailable("the server is closing")
            if self._events and self._events + len(request.events) > self._room:
                raise Busy(f"{self._events} events wait to be kept")
            self._waiting.append(request)
            self._events += len(request.events)
            if len(self._waiting) == self._enough:
                self._changed.notify()

    def _work(self) -> None:
        while requests := self._next():
            begun = time.monotonic()
            answers = self._kept(requests)
            self._took = time.monotonic() - begun
            self._together = len(requests) + len(self._waiting)
            _answer(requests, answers)

    def _next(self) -> list[_Request]:
        """Return the requests of the next append, waiting for one; none where all is done and nothing will come."""
        with self._changed:
            self._wait_for(1, None)
            # who was answered may send again at once: without them, the senders would take turns in two halves
            self._wait_for(self._together, min(self._took / 4, LONGEST))
            requests: list[_Request] = []
            count = 0
            while self._waiting and (not requests or count + len(self._waiting[0].events) <= self._group):
                requests.append(self._waiting.popleft())
                count += len(requests[-1].events)
            self._events -= count
            return requests

    def _wait_for(self, enough: int, seconds: float | None) -> None:
        self._enough = enough
        self._changed.wait_for(lambda: len(self._waiting) >= enough or self._closed, seconds)

    def _kept(self, requests: list[_Request]) -> list[Answer]:
        """Return the answer to each request; one that the state cannot take spoils no other."""
        try:
            new = iter(self._state.append([event for request in requests for event in request.events]))
        except StateUnavailable as error:
            return [StateUnavailable(str(error)) for _ in requests]
        except BaseException as error:
            if len(requests) == 1:
                logger.exception("events could not be kept")
                return [error]
            return [answer for request in requests for answer in self._kept([request])]
        return [list(islice(new, len(request.events))) for request in requests]


def _answer(requests: list[_Request], answers: list[Answer]) -> None:
    """Answer each request in the thread that waits, and wake each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Request, Answer]]] = {}
    for request, answer in zip(requests, answers, strict=True):
        if request.loop is None:
            request.answer(answer)
        else:
            loops.setdefault(request.loop, []).append((request, answer))
    for loop, pairs in loops.items():
        try:
            loop.call_soon_threadsafe(_answer_all, pairs)
        except RuntimeError:  # the loop was closed, so nobody waits
            logger.debug("an event loop ended before %d requests were answered", len(pairs))


def _answer_all(pairs: list[tuple[_Request, Answer]]) -> None:
    for request, answer in pairs:
        request.answer(answer)
