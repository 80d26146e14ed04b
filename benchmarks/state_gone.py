"""Responses and health checks while Redis, which holds the state, is stopped by SIGSTOP: it accepts, and never replies.

`PASAND_STATE_GONE` in the environment sets the seconds for which it is stopped; 60 is the default.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.rows import Row
from benchmarks.served import Server, free_port, server
from pasand import bundle, recipe
from pasand.sources import load

MEASURES = ("serving",)
SECONDS = float(os.environ.get("PASAND_STATE_GONE", "60"))
CLIENTS, PAUSE = 4, 0.04
"""Clients that request recommendations, and the seconds between two requests of one."""


class Client(threading.Thread):
    """A client that sends one request after another and keeps what it saw."""

    def __init__(self, served: Server, method: str, path: str, bodies: list[object], pause: float) -> None:
        super().__init__(daemon=True)
        self.connection = HTTPConnection("127.0.0.1", served.port, timeout=200)
        self.method, self.path, self.bodies, self.pause = method, path, bodies, pause
        self.ended = threading.Event()
        self.seen: list[tuple[float, float, int, bool]] = []
        """Time of the request, milliseconds until the response, status, whether the response was degraded."""

    def run(self) -> None:
        number = 0
        while not self.ended.wait(self.pause):
            body = self.bodies[number % len(self.bodies)] if self.bodies else None
            number += 1
            began = time.perf_counter()
            headers = {"content-type": "application/json"}
            self.connection.request(self.method, self.path, None if body is None else json.dumps(body), headers)
            response = self.connection.getresponse()
            content = json.loads(response.read())
            spent = 1000 * (time.perf_counter() - began)
            self.seen.append((began, spent, response.status, bool(content.get("degraded"))))


def start_redis(folder: str, port: int) -> subprocess.Popen[bytes]:
    """Start a durable Redis server and return when it accepts commands."""
    options = ["--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen(["redis-server", "--port", str(port), *options], stdout=subprocess.DEVNULL)
    command = ["redis-cli", "-p", str(port), "ping"]
    while subprocess.run(command, capture_output=True, text=True).stdout != "PONG\n":
        time.sleep(0.05)
    return process


def run() -> list[Row]:
    """Serve with a state in Redis, stop it under load, let it continue, and report the time in which it was stopped."""
    with TemporaryDirectory() as folder:
        data = load("bollywood", impressions="none")
        bundle.write(Path(folder, "bundle"), recipe.read("linear").fit(data, seed=0), data, seed=0)
        users = data.users.ids(range(400))
        port = free_port()
        redis = start_redis(folder, port)
        try:
            with server(Path(folder, "bundle"), "--state", f"redis://127.0.0.1:{port}/0") as served:
                return measure(served, redis, users)
        finally:
            redis.send_signal(signal.SIGCONT)
            redis.terminate()
            redis.wait(timeout=60)


def measure(served: Server, redis: subprocess.Popen[bytes], users: list[str]) -> list[Row]:
    """Return what clients see while Redis is stopped."""
    bodies = [{"user_id": user, "k": 20} for user in users]
    readers = [
        Client(served, "POST", "/v1/recommend", list(bodies[number::CLIENTS]), PAUSE) for number in range(CLIENTS)
    ]
    health = Client(served, "GET", "/healthz", [], PAUSE)
    writer = Client(served, "POST", "/v1/events", [{"user_id": "new", "item_id": "PK"}], 0.5)
    clients = [*readers, health, writer]
    for client in clients:
        client.start()
    time.sleep(5)
    stopped = time.perf_counter()
    redis.send_signal(signal.SIGSTOP)
    time.sleep(SECONDS)
    continued = time.perf_counter()
    redis.send_signal(signal.SIGCONT)
    time.sleep(5)
    for client in clients:
        client.ended.set()
    for client in clients:
        client.join()
    meanwhile = [one for client in readers for one in client.seen if stopped <= one[0] < continued]
    checks = [one for one in health.seen if stopped <= one[0] < continued]
    afterwards = [one for client in readers for one in client.seen if one[0] > continued + 4]
    before = [one[1] for client in readers for one in client.seen if one[0] < stopped]
    statuses = Counter(status for _, _, status, _ in meanwhile)
    events = Counter(status for began, _, status, _ in writer.seen if stopped <= began < continued)
    worst = max(one[1] for one in meanwhile)
    share = np.mean([degraded for *_, degraded in meanwhile])
    detail = (
        f"{len(meanwhile):,} in {SECONDS:g} s, statuses {dict(statuses)}, {share:.1%} degraded, "
        f"longest {worst:.0f} ms; p99 before {np.quantile(before, 0.99):.1f} ms; events {dict(events)}"
    )
    return [
        Row(
            target="Redis stopped by SIGSTOP: p99 of responses, ms",
            value=_p99(meanwhile),
            limit=50,
            better="lower",
            comparable=True,
            detail=detail,
        ),
        Row(
            target="Redis stopped by SIGSTOP: p99 of /healthz, ms",
            value=_p99(checks),
            limit=100,
            better="lower",
            comparable=True,
            detail=f"{len(checks):,} checks, longest {max(one[1] for one in checks):.0f} ms",
        ),
        Row(
            target="responses other than 200 meanwhile",
            value=float(len(meanwhile) - statuses[200]),
            limit=0,
            better="lower",
            comparable=True,
        ),
        Row(
            target="degraded responses from 4 s after Redis continued",
            value=float(sum(one[3] for one in afterwards)),
            limit=0,
            better="lower",
            comparable=True,
            detail=f"{len(afterwards):,} responses",
        ),
    ]


def _p99(seen: list[tuple[float, float, int, bool]]) -> float:
    return float(np.quantile([one[1] for one in seen], 0.99))
