"""Micro-batches: requests that arrive together are answered together, on the thread of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pasand.serving.engine.engine import Engine
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError

LARGEST = 64
"""Requests that are answered by one call at most."""
MOST_WAITING = 4096
"""Requests that may wait; further ones are refused."""


def nothing(size: int) -> None:
    """Observe nothing."""


class Batcher:
    """Collects the requests of one turn of the event loop, and answers them at its end.

    Nobody waits for others to come: an idle server answers at once. Under load, the requests that came in while the
    last batch was computed make up the next one.
    """

    def __init__(self, engine: Engine, observe: Callable[[int], None] = nothing) -> None:
        """Ask an engine; `observe` is told how many requests each batch holds."""
        self.engine, self._observe = engine, observe
        self._waiting: list[tuple[RecommendRequest, asyncio.Future[RecommendResponse]]] = []
        self._called = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def ask(self, asks: Sequence[RecommendRequest]) -> list[RecommendResponse]:
        """Return the answers to requests; raises Refused for the first that has none, or where too many wait."""
        if len(self._waiting) + len(asks) > MOST_WAITING:
            raise RequestError(503, "overloaded", f"more than {MOST_WAITING:,} requests are waiting; try again later")
        loop = asyncio.get_running_loop()
        promised = [loop.create_future() for _ in asks]
        self._waiting += zip(asks, promised, strict=True)
        if not self._called:
            self._called = True
            loop.call_soon(self._answer)
        if len(promised) == 1:
            return [await promised[0]]
        found: list[RecommendResponse | BaseException] = await asyncio.gather(*promised, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [one for one in found if isinstance(one, RecommendResponse)]

    def _answer(self) -> None:
        batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
        self._called = bool(self._waiting)
        if self._called:  # what came in meanwhile is read first, and joins the next batch
            asyncio.get_running_loop().call_soon(self._answer)
        batch = [(ask, promise) for ask, promise in batch if not promise.done()]
        self._observe(len(batch))
        try:
            found: Sequence[RecommendResponse | BaseException] = self.engine.answer([ask for ask, _ in batch])
        except Exception as error:  # whatever it is, nobody may wait for ever
            found = [error] * len(batch)
        for (_, promise), one in zip(batch, found, strict=True):
            if isinstance(one, RecommendResponse):
                promise.set_result(one)
            else:
                promise.set_exception(one)
