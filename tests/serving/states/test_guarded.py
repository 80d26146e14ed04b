"""A remote state that hangs: its callers are refused at once, and it is used again when it responds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pasand.serving.states import guarded, open_state
from pasand.serving.states.contract import Change, RecentEvents, State, StateUnavailable
from pasand.serving.states.guarded import Guarded
from pasand.serving.states.redis import Redis
from tests.serving.states.servers import RedisServer, event


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path)
    yield started
    started.close()


def eventually(call: Callable[[], Any]) -> Any:
    """Return the result of a call as soon as the state responds."""
    end = time.monotonic() + 30
    while True:
        try:
            return call()
        except StateUnavailable:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_only_a_remote_state_is_guarded(tmp_path: Path) -> None:
    state, remote = open_state(str(tmp_path / "state")), Redis("redis://127.0.0.1:1/0")
    assert guarded(state) is state
    assert isinstance(guarded(remote), Guarded)
    assert isinstance(guarded(remote), State)
    state.close()


def test_a_server_that_hangs_refuses_at_once_and_is_used_again(server: RedisServer) -> None:
    state = Guarded(Redis(server.url), deadline=0.5)
    assert eventually(lambda: state.append([event(1)])) == [True]
    assert eventually(lambda: state.recent_events(["u"], 1)) == [RecentEvents([event(1)], False)]
    server.pause()
    began = time.monotonic()
    for _ in range(20):
        for call in (
            lambda: state.recent_events(["u"], 1),
            lambda: state.changes(0),
            lambda: state.counters(),
            lambda: state.append([event(2)]),
            lambda: state.put_item("i", {}),
        ):
            with pytest.raises(StateUnavailable):
                call()
    assert time.monotonic() - began < 30  # 100 time-outs of 2 s take 200 s
    server.resume()
    assert eventually(lambda: state.append([event(2)])) == [True]
    assert eventually(lambda: state.recent_events(["u"], 9)) == [RecentEvents([event(1), event(2)], False)]
    assert eventually(lambda: state.changes(0)) == []
    state.close()


class SlowChanges(Redis):
    """A store with so many changes that reading them takes a while."""

    def changes(self, after: int) -> list[Change]:
        time.sleep(1)
        return super().changes(after)


def test_reading_many_changes_may_take_longer_than_the_deadline(server: RedisServer) -> None:
    state = Guarded(SlowChanges(server.url), deadline=0.25)
    state.put_item("i", {"a": 1})
    with pytest.raises(StateUnavailable, match="longer than 250 ms"):
        state.changes(0)
    assert eventually(lambda: state.changes(0)) == [Change(1, "i", {"a": 1}, False)]
    state.close()
