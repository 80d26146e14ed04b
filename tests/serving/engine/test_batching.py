from __future__ import annotations

import asyncio
import math
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

    def recommend(
        self, requests: Sequence[RecommendRequest], until: float = math.inf
    ) -> list[RecommendResponse | Exception | None]:
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


def test_an_error_of_a_whole_batch_reaches_its_own_request_only() -> None:
    batcher = Batcher(Counting())

    async def go() -> list[list[RecommendResponse] | BaseException]:
        calls = [batcher.recommend([RecommendRequest(user_id=user)]) for user in ("one", "broken", "two")]
        return await asyncio.gather(*calls, return_exceptions=True)

    one, broken, two = asyncio.run(go())
    assert isinstance(broken, RuntimeError)
    assert isinstance(one, list)
    assert isinstance(two, list)
    assert [one[0].request_id, two[0].request_id] == ["for one", "for two"]


class Slow(Counting):
    """Computes one request, and then has no time left; the clock is that of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.users: list[str | None] = []
        self._now = 0.0
        monkeypatch.setattr(batching, "perf_counter", lambda: self._now)

    def recommend(
        self, requests: Sequence[RecommendRequest], until: float = math.inf
    ) -> list[RecommendResponse | Exception | None]:
        self.users.append(requests[0].user_id)
        self._now += 1
        return [super().recommend(requests[:1])[0], *[None] * (len(requests) - 1)]


def test_a_call_of_many_requests_does_not_delay_others(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Batcher(engine := Slow(monkeypatch))

    async def go() -> None:
        many = asyncio.create_task(batcher.recommend([RecommendRequest(user_id=f"m{n}") for n in range(3)]))
        await asyncio.sleep(0)
        await asyncio.gather(*(batcher.recommend([RecommendRequest(user_id=user)]) for user in ("one", "two")))
        await many

    asyncio.run(go())
    assert engine.users == ["m0", "one", "two", "m1", "m2"]


def test_a_call_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Batcher(engine := Slow(monkeypatch))
    with pytest.raises(RequestError, match="the call exceeded 5 seconds") as refused:
        asyncio.run(batcher.recommend([RecommendRequest(user_id=str(n)) for n in range(50)]))
    assert refused.value.status == 503
    assert len(engine.users) == 6
    assert len(batcher) == 0


def test_no_caller_waits_forever_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(Batcher(Counting()).recommend([RecommendRequest(user_id="broken")]))


def test_too_many_waiting_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_WAITING", 3)
    with pytest.raises(RequestError, match="waiting"):
        asyncio.run(Batcher(Counting()).recommend([RecommendRequest() for _ in range(4)]))


def test_calls_that_want_too_many_items_together_are_refused_and_single_requests_are_not() -> None:
    batcher = Batcher(Counting())
    half = [RecommendRequest(k=1000)] * (batching.MAX_ITEMS // 2000)

    async def go() -> list[list[RecommendResponse] | BaseException]:
        single = [batcher.recommend([RecommendRequest(k=1000)]) for _ in range(20)]
        calls = [batcher.recommend(half) for _ in range(3)]
        return await asyncio.gather(*calls, *single, return_exceptions=True)

    found = asyncio.run(go())
    (refused,) = [one for one in found if isinstance(one, BaseException)]
    assert isinstance(refused, RequestError)
    assert (refused.status, refused.code) == (503, "overloaded")
    assert len(asyncio.run(batcher.recommend(half))) == len(half)


def test_single_calls_take_turns_with_batches() -> None:
    batcher, order = Batcher(Counting()), list[str]()

    async def recommend() -> None:
        await batcher.recommend([RecommendRequest(user_id="one")])
        order.append("recommended")

    async def go() -> None:
        calls = [batcher.compute(lambda n=n: order.append(str(n))) for n in range(20)]  # type: ignore[misc]
        await asyncio.gather(*calls, recommend())

    asyncio.run(go())
    assert [one for one in order if one != "recommended"] == [str(n) for n in range(20)]
    assert order.index("recommended") < 4


def test_a_single_call_whose_turn_comes_too_late_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher, now, computed = Batcher(Counting()), [0.0], list[int]()
    monkeypatch.setattr(batching, "perf_counter", lambda: now[0])

    def slow(number: int) -> int:
        now[0] += 2
        computed.append(number)
        if number == 1:
            raise ZeroDivisionError
        return number

    async def go() -> list[int | BaseException]:
        calls = [batcher.compute(lambda n=n: slow(n)) for n in range(5)]  # type: ignore[misc]
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(go())
    assert computed == [0, 1, 2]
    assert (found[0], found[2]) == (0, 2)
    assert [type(one) for one in found[1:2] + found[3:]] == [ZeroDivisionError, RequestError, RequestError]
