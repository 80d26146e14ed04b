"""States that hang or are locked by others: requests that need not wait for them do not."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from pasand.serving.states import open_state
from tests.serving.conftest import Served, serving
from tests.serving.states.servers import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    yield server
    server.close()


def until_healthy(served: Served) -> None:
    end = time.monotonic() + 60
    while served.request("POST", "/v1/recommend", json={"user_id": "new"})["degraded"]:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_redis_that_hangs_degrades_responses_and_stores_nothing_that_was_refused(
    redis: RedisServer, bundle_folder: Path, tmp_path: Path
) -> None:
    refused = [{"id": f"refused {n}", "user_id": "new", "item_id": "PK"} for n in range(30)]
    with serving(bundle_folder, tmp_path / "service", "--state", redis.url) as served:
        until_healthy(served)
        served.request("POST", "/v1/events", json={"id": "first", "user_id": "new", "item_id": "Sholay"})
        until_healthy(served)
        known = served.request("POST", "/v1/recommend", json={"user_id": "new"})["items"]
        redis.pause()
        try:
            began = time.monotonic()
            for event in refused:
                degraded = served.request("POST", "/v1/recommend", json={"user_id": "new"})
                assert degraded["degraded"]
                assert degraded["items"] == known
                served.request("GET", "/healthz")
                error = served.request("POST", "/v1/events", 503, json=event)["error"]
                assert error["code"] == "state_unavailable"
                assert "with the same ids" in error["message"]
                served.request("PUT", "/v1/items/new", 503, json={"features": {}})
            assert time.monotonic() - began < 60  # waiting for each takes 6 minutes
        finally:
            redis.resume()
        until_healthy(served)
        state = open_state(redis.url)
        assert [one.id for _, one in state.events(0, 99)] == ["first"]
        assert state.changes(0) == []
        for event in refused:
            for _ in range(2):
                served.request("POST", "/v1/events", json=event)
        assert [one.id for _, one in state.events(0, 99)] == ["first", *(event["id"] for event in refused)]
        state.close()


def test_a_locked_database_delays_only_those_who_write(server: Served) -> None:
    statuses: dict[str, httpx.Response] = {}

    def write(method: str) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            statuses[method] = client.request(method, "/v1/items/PK", json={"features": {}})

    with closing(sqlite3.connect(server.folder / "state" / "state.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writers = [threading.Thread(target=write, args=(method,)) for method in ("PUT", "DELETE")]
        for writer in writers:
            writer.start()
        time.sleep(0.5)
        server.request("GET", "/healthz")
        assert not server.request("POST", "/v1/recommend", json={"user_id": "new"})["degraded"]
        assert all(writer.is_alive() for writer in writers)
        for writer in writers:
            writer.join()
        other.execute("ROLLBACK")
    for response in statuses.values():
        assert response.status_code == 503
        assert response.headers["retry-after"]
    server.request("PUT", "/v1/items/PK", json={"features": {}})
