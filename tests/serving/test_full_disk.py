"""A full disk under a running server: it keeps responding, logs the losses, and keeps acknowledged events."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.resources import small_disk
from tests.serving.conftest import Served, serving

MANY = {"requests": [{"user_id": "u", "k": 100}] * 256}
"""Makes about 25,600 impressions; a file is written for 100,000."""


def fill(disk: Path) -> Path:
    """Fill the disk and return the file that does."""
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


def recommend(served: Served) -> None:
    """Request enough recommendations for a file of impressions."""
    for _ in range(5):
        responses = served.request("POST", "/v1/recommend", json=MANY)["responses"]
        assert {len(one["items"]) > 90 for one in responses} == {True}


def test_a_full_disk_stops_events_and_impressions_but_not_recommendations(bundle_folder: Path, tmp_path: Path) -> None:
    lost, written = (f'pasand_impressions_total{{outcome="{one}"}}' for one in ("disk full", "written"))
    acknowledged: list[str] = []

    def send(served: Served) -> int:
        name = f"event {len(acknowledged)}"
        event = {"id": name, "user_id": "u", "item_id": "PK"}
        status = served.client.post("/v1/events", json=event).status_code
        if status == 200:
            acknowledged.append(name)
        return status

    with small_disk(tmp_path / "state", "2m") as disk:
        with serving(bundle_folder, tmp_path) as served:
            recommend(served)
            until(lambda: served.metric(written) > 0)
            assert served.metric(lost) == 0
            assert send(served) == 200
            filler = fill(disk)
            while (status := send(served)) == 200:  # while SQLite's log has free space inside
                pass
            assert status == 503
            refused = served.request("POST", "/v1/events", 503, json={"user_id": "u", "item_id": "PK"})["error"]
            assert refused["code"] == "state_unavailable"
            assert served.metric('pasand_events_total{outcome="refused"}') == 2
            while served.client.put("/v1/items/new", json={}).status_code == 200:  # it needs fewer pages than an event
                pass
            served.request("PUT", "/v1/items/new", 503, json={})
            served.request("DELETE", "/v1/users/u", 503)
            history = served.request("GET", "/v1/users/u/view")["history"]
            assert len(history) == min(len(acknowledged), 50)
            recommend(served)
            until(lambda: served.metric(lost) > 0)
            assert not served.request("POST", "/v1/recommend", json={"user_id": "u"})["degraded"]
            until(lambda: "impressions were lost; since the start: disk full" in served.output.read_text())
            refusals = served.output.read_text().count("events are refused")
            assert refusals in (1, 2)  # twice if a PUT was stored in between
            filler.unlink()
            until(lambda: send(served) == 200)
            until(lambda: "events are stored again" in served.output.read_text())
            before = served.metric(written)
            recommend(served)
            until(lambda: served.metric(written) > before)
            served.process.kill()
        with serving(bundle_folder, tmp_path) as served:
            lines = [{"id": name, "user_id": "u", "item_id": "PK"} for name in acknowledged]
            again = served.request("POST", "/v1/events", json={"events": lines})
            assert again["duplicates"] == len(lines)
            assert not list((disk / "impressions").glob("*.part"))


def test_a_server_that_cannot_write_its_request_log_keeps_responding(bundle_folder: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "2m") as disk, serving(bundle_folder, disk) as served:
        filler = fill(disk)
        for number in range(200):
            assert len(served.request("POST", "/v1/recommend", json={"user_id": f"u{number}"})["items"]) == 10
        until(lambda: served.metric("pasand_log_lines_lost_total") > 0)
        filler.unlink()
        served.request("POST", "/v1/recommend", json={"user_id": "later"})
        until(lambda: "/v1/recommend" in served.output.read_text())
        served.process.terminate()
        served.process.wait(timeout=20)
        assert "Traceback" not in served.output.read_text()
