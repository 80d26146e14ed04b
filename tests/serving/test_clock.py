"""The clock set back under a running server: histories, events sent again, rates, and the log go on as they should."""

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

from pasand.serving.clock import BACK, Clock
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
    """Asks a server in this process, which reads the time from a clock that can be set."""

    def __init__(self, url: str, wall: Wall) -> None:
        self.wall, self.client = wall, httpx.Client(base_url=url, timeout=30)

    def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.client.request(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def watch(self, user: str, *items: str) -> None:
        for item in items:
            self.ask("POST", "/v1/events", json={"user": user, "item": item})

    def history(self, user: str) -> list[str]:
        """Return the items of a user, the latest last, whose times must not fall."""
        told = self.ask("GET", f"/v1/users/{user}/view")["history"][::-1]
        times = [one["time"] for one in told]
        assert times == sorted(times)
        return [one["item"] for one in told]


@contextmanager
def answering(bundle: Path, folder: Path, **settings: Any) -> Iterator[Caller]:
    """Give a server of a bundle, on a thread of its own."""
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


def test_the_clock_stands_still_where_it_is_set_back_a_little_and_follows_beyond() -> None:
    wall = Wall()
    clock = Clock(wall, begin=1000)
    for change, now in ((5.5, 1005), (-BACK, 1005), (BACK - 1, 1005), (2, 1006), (-DAY, 1006 - DAY), (1, 1007 - DAY)):
        wall.now += change
        assert clock() == now


def test_histories_stay_in_order_when_the_clock_is_set_back(bundle_folder: Path, tmp_path: Path) -> None:
    with answering(bundle_folder, tmp_path) as caller:
        first = caller.ask("POST", "/v1/recommend", json={"user": "u"})
        caller.watch("u", "Sholay", "PK")
        caller.wall.now -= 60
        caller.watch("u", "Dangal")
        assert caller.history("u") == ["Sholay", "PK", "Dangal"]
        caller.wall.now -= DAY
        caller.watch("u", "Deewaar")
        assert caller.history("u") == ["Deewaar", "Sholay", "PK", "Dangal"]
        answer = caller.ask("POST", "/v1/recommend", json={"user": "u", "history": ["Lagaan"], "k": 20})
        items = [one["item"] for one in answer["items"]]
        assert len(set(items)) == 20
        assert not {"Deewaar", "Sholay", "PK", "Dangal", "Lagaan"} & set(items)
        assert items != [one["item"] for one in first["items"]]
        caller.ask("GET", "/v1/users/u/home")
    with answering(bundle_folder, tmp_path) as caller:
        caller.wall.now -= 2 * DAY
        assert caller.history("u") == ["Deewaar", "Sholay", "PK", "Dangal"]


def test_what_came_late_stands_where_its_time_says(bundle_folder: Path, tmp_path: Path) -> None:
    """A known user's history has an event that is older than what the bundle learnt, as the next refresh will have."""
    with answering(bundle_folder, tmp_path) as caller:
        known = caller.history("user 00001")
        caller.ask("POST", "/v1/events", json={"user": "user 00001", "item": "PK", "time": 1})
        assert caller.history("user 00001") == ["PK", *known][-50:]


def test_an_event_sent_again_is_the_same_whatever_the_clock_says(bundle_folder: Path, tmp_path: Path) -> None:
    with answering(bundle_folder, tmp_path) as caller:
        event = {"id": "one", "user": "u", "item": "PK"}
        assert caller.ask("POST", "/v1/events", json=event)["accepted"] == 1
        for change in (-DAY, 2 * DAY, -60):
            caller.wall.now += change
            assert caller.ask("POST", "/v1/events", json=event)["duplicates"] == 1
        assert caller.history("u") == ["PK"]
        caller.wall.now -= DAY
        late = {"user": "u", "item": "PK", "time": int(caller.wall.now) + DAY}
        assert caller.ask("POST", "/v1/events", 422, json=late)["error"]["code"] == "future"


def test_rates_do_not_look_at_the_clock(bundle_folder: Path, tmp_path: Path) -> None:
    with answering(bundle_folder, tmp_path / "slow", rate=0.001) as caller:
        caller.ask("POST", "/v1/recommend", json={})
        for change in (0, DAY, -2 * DAY):
            caller.wall.now += change
            caller.ask("POST", "/v1/recommend", 429, json={})
    with answering(bundle_folder, tmp_path / "fast", rate=20) as caller:
        while caller.client.post("/v1/recommend", json={}).status_code == 200:
            pass
        caller.wall.now -= DAY
        end = time.monotonic() + 20
        while caller.client.post("/v1/recommend", json={}).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_what_was_shown_is_logged_in_order_of_files(bundle_folder: Path, tmp_path: Path) -> None:
    told = []
    for change in (0, -DAY, -60):
        with answering(bundle_folder, tmp_path) as caller:
            caller.wall.now += change
            told.append(caller.ask("POST", "/v1/recommend", json={"user": "u", "k": 2})["request_id"])
    files = log_files(tmp_path / "impressions")
    assert [pl.read_parquet(file)["request_id"][0] for file in files] == told
    times = [pl.read_parquet(file)["time"][0] for file in files]
    assert times == [2_000_000_000, 2_000_000_000 - DAY, 2_000_000_000]
