"""What is special about a Redis server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pasand.errors import InputError
from pasand.serving.states.contract import Change, RecentEvents, StateUnavailable
from pasand.serving.states.redis import Redis
from tests.serving.states.servers import RedisServer, event


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path)
    yield started
    started.close()


def test_a_stopped_server_is_unavailable_until_it_is_back(server: RedisServer) -> None:
    state = Redis(server.url)
    state.append([event(1)])
    server.stop()
    for call in (
        lambda: state.append([event(2)]),
        lambda: state.recent_events(["u"], 1),
        lambda: state.changes(0),
        state.last,
    ):
        with pytest.raises(StateUnavailable, match=r"127\.0\.0\.1"):
            call()
    server.start()
    assert state.append([event(1), event(2)]) == [False, True]
    assert state.recent_events(["u"], 9) == [RecentEvents([event(1), event(2)], False)]
    state.close()


def test_what_was_acknowledged_survives_a_kill_of_the_server(server: RedisServer) -> None:
    state = Redis(server.url)
    for number in range(50):
        state.append([event(number)])
    server.stop(kill=True)
    server.start()
    assert [number for number, _ in state.events(0, 99)] == list(range(1, 51))
    state.close()


def test_a_durable_server_causes_no_warning(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    state = Redis(server.url)
    state.append([event(1)])
    assert not caplog.records
    state.close()


def test_a_server_that_is_not_durable_causes_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer(tmp_path, "--appendonly", "no")
    state = Redis(server.url)
    with caplog.at_level(logging.WARNING):
        state.append([event(1)])
        state.append([event(2)])
    assert [record.getMessage().split(":")[-1] for record in caplog.records] == [
        " set appendonly yes, appendfsync always"
    ]
    state.close()
    server.close()


def test_prefixes_separate_states(server: RedisServer) -> None:
    one, other = Redis(server.url, prefix="one"), Redis(server.url, prefix="other")
    one.append([event(1)])
    assert other.append([event(1)]) == [True]
    assert one.forget("u") == 1
    assert other.recent_events(["u"], 9) == [RecentEvents([event(1)], False)]
    assert {key.split(b":")[0] for key in server.client.scan_iter()} == {b"{one}", b"{other}"}
    one.close()
    other.close()


def test_forgotten_users_are_in_no_key(server: RedisServer) -> None:
    state = Redis(server.url)
    state.append([event(1, "one-user-who-leaves"), event(2, "stays")])
    state.forget("one-user-who-leaves")
    dumped = b"".join(key + (server.client.dump(key) or b"") for key in server.client.scan_iter())
    assert b"one-user-who-leaves" not in dumped
    assert b"stays" in dumped
    state.close()


def test_a_write_whose_caller_gave_up_is_not_made_later(server: RedisServer) -> None:
    state = Redis(server.url, timeout=0.3)
    state.put_item("i", {})
    server.pause()
    for call in (
        lambda: state.append([event(1), event(2)]),
        lambda: state.put_item("i", {"a": 1}),
        lambda: state.remove_item("i"),
        lambda: state.forget("v"),
    ):
        with pytest.raises(StateUnavailable):
            call()
    server.resume()
    assert state.last() == 0
    assert state.changes(0) == [Change(1, "i", {}, False)]
    assert state.recent_events(["v"], 1) == [RecentEvents([], False)]
    assert state.append([event(1), event(2)]) == [True, True]
    assert state.append([event(1), event(2)]) == [False, False]
    state.close()


def test_a_wrong_address_is_refused_without_its_password() -> None:
    with pytest.raises(InputError) as error:
        Redis("redis://:secret@host:port/0")
    assert "secret" not in str(error.value)


def test_items_of_events_that_an_earlier_version_stored_count(server: RedisServer) -> None:
    state = Redis(server.url)
    state.append([event(1, item="i"), event(2, item="j"), event(3, item="i")])
    for write in (False, True):
        server.client.delete("{pasand}:seen:u", "{pasand}:identity")
        if write:
            state.append([event(4, item="k")])
        assert state.seen_items("u", 0) == (["k", "i", "j"], 4) if write else (["i", "j"], 3)
        assert state.counters().identity
    state.close()
