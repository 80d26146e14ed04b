"""Writer that stores the events of many requests in one transaction, since waiting for the disk dominates the cost.

Its thread also makes the other changes of the state, so that no event loop ever waits for the lock of a database.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from pasand.serving.states.contract import Event, State, StateUnavailable

logger = logging.getLogger(__name__)

MAX_DELAY = 0.002
"""Seconds that an append waits at most for clients whose previous request was just completed."""

Result: TypeAlias = Any | BaseException
Changed = TypeVar("Changed")


class Busy(Exception):
    """Raised if too many events wait to be stored; the client may send them again shortly after."""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    events: Sequence[Event]
    future: asyncio.Future[Any] | Future[Any]
    loop: asyncio.AbstractEventLoop | None
    """Event loop whose thread alone may touch the future; None if any thread may."""
    change: Callable[[], Any] | None = None
    """Change of the state other than storing events, None for events."""
    arrived: float = field(default_factory=time.monotonic)

    def complete(self, result: Result) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class EventWriter:
    """Stores the events of all waiting requests with one append, in its own thread and in order of arrival.

    A request completes when its events are durable, or fails with StateUnavailable if they could not be stored; the
    client then sends them again with the same ids. No request waits for two calls of the state that fail: whatever
    waited while one failed, fails as well.
    """

    def __init__(self, state: State, *, queue_size: int = 20_000, batch_size: int = 2_000) -> None:
        """Start the thread; `queue_size` limits the waiting events, `batch_size` those of one append.

        Both may be exceeded by a single larger request.
        """
        if queue_size < 1 or batch_size < 1:
            raise ValueError(f"queue_size and batch_size must be positive, got {queue_size} and {batch_size}")
        self._state, self._queue_size, self._batch_size = state, queue_size, batch_size
        self._waiting: deque[_Request] = deque()
        self._events = 0
        self._closed = False
        self._enough = 1
        self._senders, self._append_seconds = 1, 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="pasand events", daemon=True)
        self._thread.start()

    async def append(self, events: Sequence[Event]) -> list[bool]:
        """Return which events are new, once all are durable; raises StateUnavailable or Busy if none is stored.

        Events may be stored even if their sender stops waiting.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[bool]] = loop.create_future()
        self._enqueue(_Request(events, future, loop))
        return await future

    async def run(self, change: Callable[[], Changed]) -> Changed:
        """Return the result of a change, made after the events that wait; raises what it raises, or Busy.

        Raises StateUnavailable without making the change if a call before it failed so while it waited.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Changed] = loop.create_future()
        self._enqueue(_Request((), future, loop, change))
        return await future

    def submit(self, events: Sequence[Event]) -> Future[list[bool]]:
        """Return a future of what `append` returns without waiting; raises StateUnavailable after `close`, and Busy."""
        future: Future[list[bool]] = Future()
        future.set_running_or_notify_cancel()
        self._enqueue(_Request(events, future, None))
        return future

    def __len__(self) -> int:
        """Return the number of events that wait."""
        return self._events

    def close(self) -> None:
        """Store the waiting events, complete their requests and end the thread; the state stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _enqueue(self, request: _Request) -> None:
        with self._changed:
            if self._closed:
                raise StateUnavailable("the server is closing")
            if self._events and self._events + _size(request) > self._queue_size:
                raise Busy(f"{self._events} events wait to be stored")
            self._waiting.append(request)
            self._events += _size(request)
            if len(self._waiting) == self._enough:
                self._changed.notify()

    def _work(self) -> None:
        while requests := self._next():
            started = time.monotonic()
            results = self._store(requests)
            if any(isinstance(result, StateUnavailable) for result in results):
                requests += self._waiting_since(started)
                late = range(len(requests) - len(results))
                results += [StateUnavailable("the state was unavailable while the request waited") for _ in late]
            self._append_seconds = time.monotonic() - started
            self._senders = len(requests) + len(self._waiting)
            _complete(requests, results)

    def _next(self) -> list[_Request]:
        """Return the requests of the next append, waiting for the first; empty after `close` if none is left."""
        with self._changed:
            self._wait_for(1, None)
            # clients that were just served may send again at once; without this wait, two halves would take turns
            self._wait_for(self._senders, min(self._append_seconds / 4, MAX_DELAY))
            requests: list[_Request] = []
            count = 0
            while self._waiting and (not requests or self._fits(requests[0], count)):
                requests.append(self._waiting.popleft())
                count += _size(requests[-1])
            self._events -= count
            return requests

    def _fits(self, first: _Request, count: int) -> bool:
        """Return whether the next request is stored together with the first; changes are made one by one."""
        following = self._waiting[0]
        return first.change is None and following.change is None and count + _size(following) <= self._batch_size

    def _waiting_since(self, started: float) -> list[_Request]:
        """Take out and return the requests that were waiting at a time."""
        with self._changed:
            requests: list[_Request] = []
            while self._waiting and self._waiting[0].arrived <= started:
                requests.append(self._waiting.popleft())
                self._events -= _size(requests[-1])
            return requests

    def _wait_for(self, enough: int, seconds: float | None) -> None:
        self._enough = enough
        self._changed.wait_for(lambda: len(self._waiting) >= enough or self._closed, seconds)

    def _store(self, requests: list[_Request]) -> list[Result]:
        """Return the result of each request; one that the state rejects does not affect the others."""
        change = requests[0].change
        try:
            if change is not None:
                return [change()]
            new = iter(self._state.append([event for request in requests for event in request.events]))
        except StateUnavailable as error:
            return [StateUnavailable(str(error)) for _ in requests]
        except BaseException as error:
            if len(requests) == 1:
                logger.exception("events or a change could not be stored")
                return [error]
            return [result for request in requests for result in self._store([request])]
        return [list(islice(new, len(request.events))) for request in requests]


def _size(request: _Request) -> int:
    return len(request.events) if request.change is None else 1


def _complete(requests: list[_Request], results: list[Result]) -> None:
    """Complete each request in the thread that waits for it, waking each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Request, Result]]] = {}
    for request, result in zip(requests, results, strict=True):
        if request.loop is None:
            request.complete(result)
        else:
            loops.setdefault(request.loop, []).append((request, result))
    for loop, pairs in loops.items():
        try:
            loop.call_soon_threadsafe(_complete_all, pairs)
        except RuntimeError:  # the loop was closed, so no sender waits
            logger.debug("an event loop ended before %d requests were completed", len(pairs))


def _complete_all(pairs: list[tuple[_Request, Result]]) -> None:
    for request, result in pairs:
        request.complete(result)
