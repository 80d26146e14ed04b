"""Micro-batching: requests that arrive together are computed together, on the thread of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from time import perf_counter
from typing import TypeVar

from pasand.serving.engine.engine import Engine
from pasand.serving.schemas import MAX_CALL_ITEMS, RecommendRequest, RecommendResponse, RequestError

Result = TypeVar("Result")

MAX_BATCH = 64
"""Requests of one batch at most."""
MAX_WAITING = 4096
"""Requests that may wait; further ones are refused."""
MAX_ITEMS = 4 * MAX_CALL_ITEMS
"""Items that the calls of several requests may want together: their lists wait in memory until a call is complete."""
TURN_SECONDS = 0.1
"""Time after which a batch is cut: what was not begun waits for the next one, behind the requests of other calls."""
CALL_SECONDS = 5.0
"""Time after which the requests of a call that still wait are refused."""


def ignore_size(size: int) -> None:
    """Observe nothing."""


@dataclass(frozen=True, eq=False, slots=True)
class _Waiting:
    request: RecommendRequest
    future: asyncio.Future[RecommendResponse]
    position: int
    """Position in its call."""
    until: float
    """Time after which it is refused, in seconds of `perf_counter`."""


_by_position = attrgetter("position")


class Batcher:
    """Collects the requests of one turn of the event loop and computes their recommendations at its end.

    No request waits for others to arrive: an idle server responds at once. Under load, the requests that arrived during
    the computation of the last batch form the next one. The first requests of all calls come before the second ones,
    and so on, so that a call with many or slow requests delays itself, and not the calls of others.
    """

    def __init__(self, engine: Engine, observe: Callable[[int], None] = ignore_size) -> None:
        """Collect requests for an engine; `observe` gets the number of requests of each batch."""
        self.engine, self._observe = engine, observe
        self._waiting: list[_Waiting] = []
        self._scheduled = False
        self._one = asyncio.Lock()
        self._items = 0
        """Items that the calls of several requests in progress want."""

    def __len__(self) -> int:
        """Return the number of requests that wait."""
        return len(self._waiting)

    async def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse]:
        """Return the responses; raises RequestError for the first request that fails, or if too many wait.

        A call that takes more than `CALL_SECONDS` fails, too, and its remaining requests are not computed.
        """
        if len(self._waiting) + len(requests) > MAX_WAITING:
            raise RequestError(503, "overloaded", f"more than {MAX_WAITING:,} requests are waiting; try again later")
        wanted = sum(request.k for request in requests) if len(requests) > 1 else 0
        if wanted and self._items and self._items + wanted > MAX_ITEMS:
            message = f"the calls of several requests in progress want more than {MAX_ITEMS:,} items; try again later"
            raise RequestError(503, "overloaded", message)
        self._items += wanted
        try:
            return await self._computed(requests)
        finally:
            self._items -= wanted

    async def _computed(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[RecommendResponse]] = [loop.create_future() for _ in requests]
        until = perf_counter() + CALL_SECONDS
        self._waiting += [
            _Waiting(request, future, position, until)
            for position, (request, future) in enumerate(zip(requests, futures, strict=True))
        ]
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._run_batch)
        if len(futures) == 1:
            return [await futures[0]]
        results: list[RecommendResponse | BaseException] = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, RecommendResponse)]

    async def compute(self, call: Callable[[], Result]) -> Result:
        """Return what a call computes that has no batches, such as a view; one call in each turn of the event loop.

        Raises RequestError, and computes nothing, if that turn does not come within `CALL_SECONDS`.
        """
        until = perf_counter() + CALL_SECONDS
        async with self._one:
            await asyncio.sleep(0)  # what arrived meanwhile is read, and what waits for a batch is recommended
            if perf_counter() > until:
                message = f"the call waited for more than {CALL_SECONDS:g} seconds; try again later"
                raise RequestError(503, "out_of_time", message)
            return call()

    def _run_batch(self) -> None:
        now = perf_counter()
        waiting = self._in_time([each for each in self._waiting if not each.future.done()], now)
        waiting.sort(key=_by_position)
        batch, self._waiting = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
        self._scheduled = False
        if batch:
            self._observe(len(batch))
            results = self._results([each.request for each in batch], now + TURN_SECONDS)
            self._waiting = [
                each for each, result in zip(batch, results, strict=True) if result is None
            ] + self._waiting
            for each, result in zip(batch, results, strict=True):
                if isinstance(result, RecommendResponse):
                    each.future.set_result(result)
                elif result is not None:
                    each.future.set_exception(result)
        if self._waiting:  # what arrived meanwhile is read first and joins the next batch
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_batch)

    def _in_time(self, waiting: list[_Waiting], now: float) -> list[_Waiting]:
        """Return the requests whose calls have time left, and refuse the others."""
        late = [each for each in waiting if each.until < now]
        if not late:
            return waiting
        for each in late:
            message = f"the call exceeded {CALL_SECONDS:g} seconds; send fewer requests in one, or simpler filters"
            each.future.set_exception(RequestError(503, "out_of_time", message))
        return [each for each in waiting if each.until >= now]

    def _results(
        self, requests: Sequence[RecommendRequest], until: float
    ) -> Sequence[RecommendResponse | Exception | None]:
        """Return the results of a batch; if the whole batch fails, each request is computed alone."""
        try:
            return self.engine.recommend(requests, until)
        except Exception as error:  # whatever it is, no caller may wait for ever
            if len(requests) == 1:
                return [error]
            return [result for request in requests for result in self._results([request], until)]
