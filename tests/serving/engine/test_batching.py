from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from pasand.serving.engine import batching
from pasand.serving.engine.batching import Batcher
from pasand.serving.engine.engine import Engine
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError


class Counting(Engine):
    """Answers everybody but "nobody", and keeps the sizes of the batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def answer(self, asks: Sequence[RecommendRequest]) -> list[RecommendResponse | RequestError]:
        self.sizes.append(len(asks))
        if any(ask.user == "broken" for ask in asks):
            raise RuntimeError("broken")
        return [
            RequestError(404, "no", "nobody")
            if ask.user == "nobody"
            else RecommendResponse(f"for {ask.user}", "main", "", True, False, [])
            for ask in asks
        ]


def test_what_arrives_together_is_answered_together() -> None:
    engine = Counting()
    told: list[int] = []
    batcher = Batcher(engine, told.append)

    async def go() -> list[list[RecommendResponse]]:
        return await asyncio.gather(
            *(batcher.ask([RecommendRequest(user=str(n)), RecommendRequest(user=f"{n}b")]) for n in range(10))
        )

    found = asyncio.run(go())
    assert engine.sizes == told == [20]
    assert [[one.request_id for one in pair] for pair in found] == [[f"for {n}", f"for {n}b"] for n in range(10)]


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "LARGEST", 4)
    engine = Counting()
    asyncio.run(Batcher(engine).ask([RecommendRequest(user=str(n)) for n in range(10)]))
    assert engine.sizes == [4, 4, 2]


def test_one_that_is_refused_does_not_harm_others() -> None:
    batcher = Batcher(Counting())

    async def go() -> list[list[RecommendResponse] | BaseException]:
        both = [batcher.ask([RecommendRequest(user=user)]) for user in ("nobody", "one")]
        return await asyncio.gather(*both, return_exceptions=True)

    refused, answered = asyncio.run(go())
    assert isinstance(refused, RequestError)
    assert isinstance(answered, list)
    assert answered[0].request_id == "for one"


def test_nobody_waits_for_ever_behind_a_fault() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(Batcher(Counting()).ask([RecommendRequest(user="broken")]))


def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_WAITING", 3)
    with pytest.raises(RequestError, match="waiting"):
        asyncio.run(Batcher(Counting()).ask([RecommendRequest() for _ in range(4)]))
