"""Redis stopped and started again under load: the service keeps responding and recovers by itself."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.resources import program
from tests.serving.conftest import free_port, serving


class Redis:
    """A Redis server that can be stopped and started again, and keeps its data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes"]
        self._process = subprocess.Popen([program("redis-server"), *options], stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    server.start()
    time.sleep(0.5)
    yield server
    server.stop()


def test_the_service_responds_without_redis_and_recovers(redis: Redis, bundle_folder: Path, tmp_path: Path) -> None:
    address = f"redis://127.0.0.1:{redis.port}/0"
    with serving(bundle_folder, tmp_path / "service", "--state", address) as served:
        served.request("POST", "/v1/events", json={"user_id": "new", "item_id": "Sholay"})
        known = served.request("POST", "/v1/recommend", json={"user_id": "new"})["items"]
        ended, slowest, statuses = threading.Event(), [0.0], set[int]()

        def load() -> None:
            with httpx.Client(base_url=served.url, timeout=30) as client:
                while not ended.is_set():
                    began = time.monotonic()
                    statuses.add(client.post("/v1/recommend", json={"user_id": "new"}).status_code)
                    slowest[0] = max(slowest[0], time.monotonic() - began)

        loading = [threading.Thread(target=load) for _ in range(2)]
        for thread in loading:
            thread.start()
        try:
            time.sleep(0.5)
            redis.stop()
            degraded = served.request("POST", "/v1/recommend", json={"user_id": "new"})
            assert degraded["degraded"]
            assert degraded["items"] == known
            assert served.request("GET", "/readyz")["status"] == "degraded"
            assert len(served.request("POST", "/v1/recommend", json={"user_id": "other"})["items"]) == 10
            refused = served.request("POST", "/v1/events", 503, json={"user_id": "new", "item_id": "PK"})
            assert refused["error"]["code"] == "state_unavailable"
            redis.start()
            end = time.monotonic() + 30
            while served.request("POST", "/v1/recommend", json={"user_id": "new"})["degraded"]:
                assert time.monotonic() < end
                time.sleep(0.1)
            served.request("POST", "/v1/events", json={"user_id": "new", "item_id": "PK"})
        finally:
            ended.set()
            for thread in loading:
                thread.join()
        assert statuses == {200}
        assert slowest[0] < 10
        history = served.request("GET", "/v1/users/new/view")["history"]
        assert {one["item_id"] for one in history} == {"PK", "Sholay"}
