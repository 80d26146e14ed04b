"""Micro-batching: requests that arrive together are computed together, on the thread of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pasand.serving.engine.engine import Engine
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError

MAX_BATCH = 64
"""Requests of one batch at most."""
MAX_WAITING = 4096
"""Requests that may wait; further ones are refused."""


def ignore_size(size: int) -> None:
    """Observe nothing."""


class Batcher:
    """Collects the requests of one turn of the event loop and computes their recommendations at its end.

    No request waits for others to arrive: an idle server responds at once. Under load, the requests that arrived during
    the computation of the last batch form the next one.
    """

    def __init__(self, engine: Engine, observe: Callable[[int], None] = ignore_size) -> None:
        """Collect requests for an engine; `observe` gets the number of requests of each batch."""
        self.engine, self._observe = engine, observe
        self._waiting: list[tuple[RecommendRequest, asyncio.Future[RecommendResponse]]] = []
        self._scheduled = False

    def __len__(self) -> int:
        """Return the number of requests that wait."""
        return len(self._waiting)

    async def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse]:
        """Return the responses; raises RequestError for the first request that fails, or if too many wait."""
        if len(self._waiting) + len(requests) > MAX_WAITING:
            raise RequestError(503, "overloaded", f"more than {MAX_WAITING:,} requests are waiting; try again later")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in requests]
        self._waiting += zip(requests, futures, strict=True)
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

    def _run_batch(self) -> None:
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        self._scheduled = bool(self._waiting)
        if self._scheduled:  # what arrived meanwhile is read first and joins the next batch
            asyncio.get_running_loop().call_soon(self._run_batch)
        batch = [(request, future) for request, future in batch if not future.done()]
        self._observe(len(batch))
        try:
            results: Sequence[RecommendResponse | BaseException] = self.engine.recommend(
                [request for request, _ in batch]
            )
        except Exception as error:  # whatever it is, no caller may wait for ever
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, RecommendResponse):
                future.set_result(result)
            else:
                future.set_exception(result)
