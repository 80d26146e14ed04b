from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from pasand.serving.engine import batching
from pasand.serving.engine.batching import Batcher
from pasand.serving.engine.engine import Engine
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError


class Counting(Engine):
    """Recommends to all users but "unknown", and keeps the sizes of the batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse | RequestError]:
        self.sizes.append(len(requests))
        if any(request.user_id == "broken" for request in requests):
            raise RuntimeError("broken")
        return [
            RequestError(404, "no", "unknown")
            if request.user_id == "unknown"
            else RecommendResponse(f"for {request.user_id}", "main", "", True, False, [])
            for request in requests
        ]


def test_requests_that_arrive_together_form_one_batch() -> None:
    engine = Counting()
    observed: list[int] = []
    batcher = Batcher(engine, observed.append)

    async def go() -> list[list[RecommendResponse]]:
        return await asyncio.gather(
            *(
                batcher.recommend([RecommendRequest(user_id=str(n)), RecommendRequest(user_id=f"{n}b")])
                for n in range(10)
            )
        )

    found = asyncio.run(go())
    assert engine.sizes == observed == [20]
    assert [[one.request_id for one in pair] for pair in found] == [[f"for {n}", f"for {n}b"] for n in range(10)]


def test_large_batches_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_BATCH", 4)
    engine = Counting()
    asyncio.run(Batcher(engine).recommend([RecommendRequest(user_id=str(n)) for n in range(10)]))
    assert engine.sizes == [4, 4, 2]


def test_a_failing_request_does_not_affect_others() -> None:
    batcher = Batcher(Counting())

    async def go() -> list[list[RecommendResponse] | BaseException]:
        both = [batcher.recommend([RecommendRequest(user_id=user)]) for user in ("unknown", "one")]
        return await asyncio.gather(*both, return_exceptions=True)

    failed, succeeded = asyncio.run(go())
    assert isinstance(failed, RequestError)
    assert isinstance(succeeded, list)
    assert succeeded[0].request_id == "for one"


def test_no_caller_waits_forever_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(Batcher(Counting()).recommend([RecommendRequest(user_id="broken")]))


def test_too_many_waiting_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_WAITING", 3)
    with pytest.raises(RequestError, match="waiting"):
        asyncio.run(Batcher(Counting()).recommend([RecommendRequest() for _ in range(4)]))
