"""States that were replaced by an older copy: it is noticed, and deleted users do not come back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pasand.serving.forgotten import ForgottenUsers
from pasand.serving.states import open_state, sqlite_acknowledged, sqlite_backup
from pasand.serving.states.contract import Event, digest
from pasand.serving.states.older import Numbers, OlderState
from tests.serving.conftest import Served, serving
from tests.serving.states.servers import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    yield server
    server.close()


def copy_of(server: RedisServer) -> dict[bytes, bytes]:
    return {key: server.client.dump(key) for key in server.client.keys("*")}


def put_back(server: RedisServer, copy: dict[bytes, bytes]) -> None:
    with server.client.pipeline() as together:
        together.flushdb()
        for key, value in copy.items():
            together.restore(key, 0, value)
        together.execute()


def users_in(server: RedisServer) -> set[str]:
    state = open_state(server.url)
    found = {event.user_id for _, event in state.events(0, 1000)}
    state.close()
    return found


def readiness(served: Served, wanted: str) -> dict[str, Any]:
    """Return the response of /readyz once it says what the state lacks."""
    end = time.monotonic() + 60
    while (found := served.request("GET", "/readyz")).get("state_lacks") != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return dict(found)


def test_deleted_users_do_not_come_back_with_an_older_copy(
    redis: RedisServer, bundle_folder: Path, tmp_path: Path
) -> None:
    def start() -> Any:
        return serving(bundle_folder, tmp_path / "service", "--state", redis.url)

    with start() as served:
        for user in ("gone", "other"):
            served.request("POST", "/v1/events", json={"id": user, "user_id": user, "item_id": "PK"})
        older = copy_of(redis)
        served.request("DELETE", "/v1/users/gone")
        served.request("POST", "/v1/events", json={"id": "late", "user_id": "late", "item_id": "PK"})
        served.request("DELETE", "/v1/items/Sholay")
        numbers = tmp_path / "service" / "state" / "state-numbers"
        last = numbers.read_bytes()
        end = time.monotonic() + 30
        while numbers.read_bytes() == last and time.monotonic() < end:
            time.sleep(0.1)
        assert "state_lacks" not in served.request("GET", "/readyz")
        put_back(redis, older)  # while the service runs
        readiness(served, "events: 1, changes of the catalogue: 1, deletions of users: 1")
        assert users_in(redis) == {"other"}
        assert served.request("GET", "/v1/users/gone/view")["history"] == []
        assert served.request("GET", "/v1/users/other/view")["history"]
        # of a user who comes back, later events count
        served.request("POST", "/v1/events", json={"id": "again", "user_id": "gone", "item_id": "Dangal"})
        assert len(served.request("GET", "/v1/users/gone/view")["history"]) == 1
    put_back(redis, older)  # while it is off
    with start() as served:
        readiness(served, "events: 1, deletions of users: 1")
        assert users_in(redis) == {"other"}
        assert "users deleted from it again: 1" in served.output.read_text()


def test_an_sqlite_state_that_was_exchanged_is_another_one(tmp_path: Path) -> None:
    file, forgotten = tmp_path / "numbers", ForgottenUsers()
    forgotten.add([digest("gone")])
    for number, lacks in enumerate(("", "everything, since it is another state", "")):
        state = open_state(str(tmp_path / f"{min(number, 1)}.sqlite"))
        state.append([Event(f"{user}{number}", user, "i", 5) for user in ("gone", "other")])
        watch = OlderState(state, forgotten, file)
        watch.check()
        assert watch.lost == lacks
        users = {event.user_id for _, event in state.events(0, 10)}
        assert users == ({"gone", "other"} if not lacks else {"other"})
        state.close()


def test_a_state_whose_loss_was_accepted_lacks_that_alone(tmp_path: Path) -> None:
    file, database, copy = tmp_path / "numbers", tmp_path / "state.sqlite", tmp_path / "copy"
    forgotten, lacks = ForgottenUsers(), "what `pasand state accept` printed"
    forgotten.add([digest("gone")])

    def check() -> str:
        state = open_state(str(database))
        watch = OlderState(state, forgotten, file)
        watch.check()
        state.close()
        return watch.lost

    state = open_state(str(database))
    state.append([Event("a", "gone", "i", 5)])
    sqlite_backup.backup(database, copy)
    state.append([Event("b", "other", "i", 5)])
    state.close()
    assert check() == ""
    copy.replace(database)
    assert sqlite_acknowledged.accept(database) == "event 2"
    assert check() == lacks
    state = open_state(str(database))
    assert state.events(0, 10) == []  # the deleted user did not come back
    sqlite_backup.backup(database, copy)
    state.append([Event("c", "other", "i", 5)])
    state.forget("other")
    state.close()
    assert check() == ""
    copy.replace(database)
    assert sqlite_acknowledged.accept(database) == "event 3"
    assert check() == f"{lacks}, deletions of users: 1"


def test_what_is_lost_is_counted() -> None:
    seen = Numbers(7, 10, 5, 2)
    assert Numbers().lost_from(seen) == seen.lost_from(seen) == seen.lost_from(Numbers(7, 11, 5, 9)) == ""
    assert seen.lost_from(Numbers(7, 8, 5, 1)) == "events: 2, deletions of users: 1"
