"""Events of many requests in one append."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pasand.serving.states.contract import Event, StateUnavailable
from pasand.serving.states.sqlite import SQLite
from pasand.serving.states.writer import Busy, EventWriter
from tests.serving.states.servers import RedisServer, event


class Held(SQLite):
    """A store that waits for a signal before it stores anything, and records how many events each call gets."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go, self.begun, self.sizes = threading.Event(), threading.Event(), list[int]()

    def append(self, events: Sequence[Event]) -> list[bool]:
        self.begun.set()
        assert self.go.wait(20)
        self.sizes.append(len(events))
        return super().append(events)


def test_waiting_requests_are_stored_together(tmp_path: Path) -> None:
    state = Held(tmp_path / "state")
    writer = EventWriter(state, batch_size=20)
    first = writer.submit([event(0)])
    assert state.begun.wait(20)
    others = [writer.submit([event(number), event(number - 1)]) for number in range(2, 26)]
    assert len(writer) == 48
    state.go.set()
    assert first.result(20) == [True]
    assert others[0].result(20) == [True, True]
    assert all(other.result(20) == [True, False] for other in others[1:])
    assert state.sizes == [1, 20, 20, 8]
    writer.close()
    state.close()


def test_no_request_completes_before_it_is_stored(tmp_path: Path) -> None:
    state = Held(tmp_path / "state")
    writer = EventWriter(state)
    result = writer.submit([event(0)])
    assert state.begun.wait(20)
    assert not result.done()
    state.go.set()
    assert result.result(20) == [True]
    assert state.last() == 1
    writer.close()
    state.close()


def test_event_loops_wait_for_their_own(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    writer = EventWriter(state)

    async def send(loop: int) -> list[list[bool]]:
        return await asyncio.gather(*(writer.append([event(100 * loop + n), event(100 * loop)]) for n in range(20)))

    results: list[list[list[bool]]] = []
    threads = [threading.Thread(target=lambda n=n: results.append(asyncio.run(send(n)))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[[True, False]] * 20] * 3
    assert state.last() == 60
    writer.close()
    state.close()


def test_beyond_the_queue_size_it_is_busy(tmp_path: Path) -> None:
    state = Held(tmp_path / "state")
    writer = EventWriter(state, queue_size=4)
    writer.submit([event(0)])
    assert state.begun.wait(20)
    kept = writer.submit([event(number) for number in range(1, 4)])
    with pytest.raises(Busy, match="3 events wait"):
        writer.submit([event(4), event(5)])
    state.go.set()
    assert kept.result(20) == [True] * 3
    assert writer.submit([event(number) for number in range(4, 20)]).result(20) == [True] * 16
    writer.close()
    state.close()


def test_closing_stores_what_waits(tmp_path: Path) -> None:
    state = Held(tmp_path / "state")
    writer = EventWriter(state, batch_size=3)
    results = [writer.submit([event(number)]) for number in range(30)]
    closing = threading.Thread(target=writer.close)
    closing.start()
    state.go.set()
    closing.join()
    assert all(result.result(0) == [True] for result in results)
    with pytest.raises(StateUnavailable, match="closing"):
        writer.submit([event(99)])
    writer.close()
    assert state.last() == 30
    state.close()


def test_a_rejected_request_does_not_affect_others(tmp_path: Path) -> None:
    state = Held(tmp_path / "state")
    writer = EventWriter(state)
    writer.submit([event(0)])
    assert state.begun.wait(20)
    results = [writer.submit([event(number, item="\ud800" if number == 2 else "i")]) for number in range(1, 4)]
    state.go.set()
    assert results[0].result(20) == results[2].result(20) == [True]
    with pytest.raises(UnicodeEncodeError):
        results[1].result(20)
    assert [one.id for _, one in state.events(0, 9)] == ["e0", "e1", "e3"]
    writer.close()
    state.close()


def test_a_cancelled_sender_does_not_affect_others(tmp_path: Path) -> None:
    state = Held(tmp_path / "state")
    writer = EventWriter(state)

    async def send() -> list[bool]:
        gone = asyncio.ensure_future(writer.append([event(1)]))
        stays = asyncio.ensure_future(writer.append([event(2)]))
        await asyncio.sleep(0)
        gone.cancel()
        state.go.set()
        return await stays

    assert asyncio.run(send()) == [True]
    writer.close()
    state.close()


def test_an_ended_event_loop_does_not_affect_others(tmp_path: Path) -> None:
    state = Held(tmp_path / "state")
    writer = EventWriter(state)

    async def send() -> None:
        waits = asyncio.ensure_future(writer.append([event(1)]))
        await asyncio.sleep(0)
        waits.cancel()

    asyncio.run(send())
    state.go.set()
    assert writer.submit([event(2)]).result(20) == [True]
    assert state.last() == 2
    writer.close()
    state.close()


def test_an_unavailable_state_fails_the_requests_and_recovers(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    from pasand.serving.states.redis import Redis

    state = Redis(server.url)
    writer = EventWriter(state)
    assert writer.submit([event(0)]).result(20) == [True]
    server.stop()
    results = [writer.submit([event(number)]) for number in range(1, 5)]
    for result in results:
        with pytest.raises(StateUnavailable):
            result.result(20)
    server.start()
    assert writer.submit([event(number) for number in range(5)]).result(20) == [False] + [True] * 4
    writer.close()
    state.close()
    server.close()
