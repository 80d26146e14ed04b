"""A clock set back under a running server: histories, repeated events, rate limits and the log keep working."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import uvicorn

from pasand.serving.clock import MAX_CORRECTION, Clock
from pasand.serving.http.app import create_app
from pasand.serving.logs.segments import log_files
from pasand.serving.service import Service, Settings
from tests.serving.conftest import free_port

DAY = 86_400


class Wall:
    """A clock that can be set."""

    def __init__(self) -> None:
        self.now = 2_000_000_000.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """Sends requests to a server in this process, which reads the time from a clock that can be set."""

    def __init__(self, url: str, wall: Wall) -> None:
        self.wall, self.client = wall, httpx.Client(base_url=url, timeout=30)

    def request(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        response = self.client.request(method, path, **options)
        assert response.status_code == status, response.text
        return response.json()

    def watch(self, user: str, *items: str) -> None:
        for item in items:
            self.request("POST", "/v1/events", json={"user_id": user, "item_id": item})

    def history(self, user: str) -> list[str]:
        """Return the items of a user's history, latest last, after checking that their times do not fall."""
        events = self.request("GET", f"/v1/users/{user}/view")["history"][::-1]
        times = [one["time"] for one in events]
        assert times == sorted(times)
        return [one["item_id"] for one in events]


@contextmanager
def serving(bundle: Path, folder: Path, **settings: Any) -> Iterator[Caller]:
    """Give a server of a bundle that runs in a thread."""
    wall, port = Wall(), free_port()
    service = Service(Settings(variants=[("main", str(bundle), 1.0)], folder=str(folder), **settings), wall)
    server = uvicorn.Server(uvicorn.Config(create_app(service), port=port, log_level="warning"))
    running = threading.Thread(target=server.run)
    running.start()
    caller = Caller(f"http://127.0.0.1:{port}", wall)
    try:
        end = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.02)
        yield caller
    finally:
        caller.client.close()
        server.should_exit = True
        running.join()


def test_the_clock_holds_during_small_steps_back_and_follows_larger_ones() -> None:
    wall = Wall()
    clock = Clock(wall, begin=1000)
    for change, now in (
        (5.5, 1005),
        (-MAX_CORRECTION, 1005),
        (MAX_CORRECTION - 1, 1005),
        (2, 1006),
        (-DAY, 1006 - DAY),
        (1, 1007 - DAY),
    ):
        wall.now += change
        assert clock() == now


def test_histories_stay_in_order_when_the_clock_is_set_back(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as caller:
        first = caller.request("POST", "/v1/recommend", json={"user_id": "u"})
        caller.watch("u", "Sholay", "PK")
        caller.wall.now -= 60
        caller.watch("u", "Dangal")
        assert caller.history("u") == ["Sholay", "PK", "Dangal"]
        caller.wall.now -= DAY
        caller.watch("u", "Deewaar")
        assert caller.history("u") == ["Deewaar", "Sholay", "PK", "Dangal"]
        response = caller.request("POST", "/v1/recommend", json={"user_id": "u", "history": ["Lagaan"], "k": 20})
        items = [one["item_id"] for one in response["items"]]
        assert len(set(items)) == 20
        assert not {"Deewaar", "Sholay", "PK", "Dangal", "Lagaan"} & set(items)
        assert items != [one["item_id"] for one in first["items"]]
        caller.request("GET", "/v1/users/u/home")
    with serving(bundle_folder, tmp_path) as caller:
        caller.wall.now -= 2 * DAY
        assert caller.history("u") == ["Deewaar", "Sholay", "PK", "Dangal"]


def test_a_clock_of_the_log_goes_on_after_the_events_of_earlier_runs(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path, clock="log") as caller:
        caller.wall.now += DAY
        caller.watch("u", "Sholay", "PK")
    with serving(bundle_folder, tmp_path, clock="log") as caller:
        caller.watch("u", "Dangal")
        assert caller.history("u") == ["Sholay", "PK", "Dangal"]


def test_a_late_event_is_sorted_by_its_time(bundle_folder: Path, tmp_path: Path) -> None:
    """A known user gets an event older than the bundle's, sorted as the next refresh will sort it."""
    with serving(bundle_folder, tmp_path) as caller:
        known = caller.history("user 00001")
        caller.request("POST", "/v1/events", json={"user_id": "user 00001", "item_id": "PK", "time": 1})
        assert caller.history("user 00001") == ["PK", *known][-50:]


def test_a_repeated_event_is_a_duplicate_whatever_the_clock(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as caller:
        event = {"id": "one", "user_id": "u", "item_id": "PK"}
        assert caller.request("POST", "/v1/events", json=event)["accepted"] == 1
        for change in (-DAY, 2 * DAY, -60):
            caller.wall.now += change
            assert caller.request("POST", "/v1/events", json=event)["duplicates"] == 1
        assert caller.history("u") == ["PK"]
        caller.wall.now -= DAY
        late = {"user_id": "u", "item_id": "PK", "time": int(caller.wall.now) + DAY}
        assert caller.request("POST", "/v1/events", 422, json=late)["error"]["code"] == "future"


def test_rate_limits_ignore_the_clock(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path / "slow", rate=0.001) as caller:
        caller.request("POST", "/v1/recommend", json={})
        for change in (0, DAY, -2 * DAY):
            caller.wall.now += change
            caller.request("POST", "/v1/recommend", 429, json={})
    with serving(bundle_folder, tmp_path / "fast", rate=20) as caller:
        while caller.client.post("/v1/recommend", json={}).status_code == 200:
            pass
        caller.wall.now -= DAY
        end = time.monotonic() + 20
        while caller.client.post("/v1/recommend", json={}).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_impressions_are_logged_in_order_of_files(bundle_folder: Path, tmp_path: Path) -> None:
    ids = []
    for change in (0, -DAY, -60):
        with serving(bundle_folder, tmp_path) as caller:
            caller.wall.now += change
            ids.append(caller.request("POST", "/v1/recommend", json={"user_id": "u", "k": 2})["request_id"])
    files = log_files(tmp_path / "impressions")
    assert [pl.read_parquet(file)["request_id"][0] for file in files] == ids
    times = [pl.read_parquet(file)["time"][0] for file in files]
    assert times == [2_000_000_000, 2_000_000_000 - DAY, 2_000_000_000]
