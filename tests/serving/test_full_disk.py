"""A disk that is full, under a running server: answers go on, losses are told, and what was acknowledged stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.resources import small_disk
from tests.serving.conftest import Served, serving

MANY = {"requests": [{"user": "u", "k": 100}] * 256}
"""Shows some 25,600 items; of 100,000 a file is made."""


def fill(disk: Path) -> Path:
    """Leave no byte free; return the file that takes them."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as opened, suppress(OSError):
        while True:
            opened.write(b"x" * 4096)
    return filler


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def show(served: Served) -> None:
    """Let the server show enough for a file of impressions, all of it answered."""
    for _ in range(5):
        answers = served.ask("POST", "/v1/recommend", json=MANY)["answers"]
        assert {len(one["items"]) > 90 for one in answers} == {True}


def test_a_full_disk_stops_events_and_impressions_but_no_answer(bundle_folder: Path, tmp_path: Path) -> None:
    lost, written = (f'pasand_impressions_total{{outcome="{one}"}}' for one in ("disk full", "written"))
    acknowledged: list[str] = []

    def send(served: Served) -> int:
        name = f"event {len(acknowledged)}"
        told = {"id": name, "user": "u", "item": "PK"}
        status = served.client.post("/v1/events", json=told).status_code
        if status == 200:
            acknowledged.append(name)
        return status

    with small_disk(tmp_path / "state", "2m") as disk:
        with serving(bundle_folder, tmp_path) as served:
            show(served)
            until(lambda: served.figure(written) > 0)
            assert served.figure(lost) == 0
            assert send(served) == 200
            filler = fill(disk)
            while (status := send(served)) == 200:  # while the log of SQLite has room in itself
                pass
            assert status == 503
            refused = served.ask("POST", "/v1/events", 503, json={"user": "u", "item": "PK"})["error"]
            assert refused["code"] == "state_gone"
            assert served.figure('pasand_events_total{outcome="refused"}') == 2
            served.ask("PUT", "/v1/items/new", 503, json={})
            served.ask("DELETE", "/v1/users/u", 503)
            history = served.ask("GET", "/v1/users/u/view")["history"]
            assert len(history) == min(len(acknowledged), 50)
            show(served)
            until(lambda: served.figure(lost) > 0)
            assert not served.ask("POST", "/v1/recommend", json={"user": "u"})["degraded"]
            told = served.output.read_text()
            assert "impressions were lost; since the start: disk full" in told
            assert told.count("events are refused") == 1
            filler.unlink()
            until(lambda: send(served) == 200)
            assert "events are kept again" in served.output.read_text()
            before = served.figure(written)
            show(served)
            until(lambda: served.figure(written) > before)
            served.process.kill()
        with serving(bundle_folder, tmp_path) as served:
            lines = [{"id": name, "user": "u", "item": "PK"} for name in acknowledged]
            again = served.ask("POST", "/v1/events", json={"events": lines})
            assert again["duplicates"] == len(lines)
            assert not list((disk / "impressions").glob("*.part"))


def test_a_server_whose_own_log_finds_no_room_answers_on(bundle_folder: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "2m") as disk, serving(bundle_folder, disk) as served:
        filler = fill(disk)
        for number in range(200):
            assert len(served.ask("POST", "/v1/recommend", json={"user": f"u{number}"})["items"]) == 10
        until(lambda: served.figure("pasand_log_lines_lost_total") > 0)
        filler.unlink()
        served.ask("POST", "/v1/recommend", json={"user": "later"})
        until(lambda: "/v1/recommend" in served.output.read_text())
        served.process.terminate()
        served.process.wait(timeout=20)
        assert "Traceback" not in served.output.read_text()
