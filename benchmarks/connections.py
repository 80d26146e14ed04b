"""Memory under clients that pipeline without end, reset, read slowly, or send nothing, and whether they are closed.

Every attack lasts SECONDS against a server of its own on the loopback address; CONNECTIONS_SECONDS and
CONNECTIONS_IDLE shorten it.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from benchmarks.rows import Row
from benchmarks.served import LOAD_CORE, Server, bundle_of, server
from pasand.serving.schemas import MAX_CALL_ITEMS, MAX_REQUESTS

MEASURES = ("serving",)
ITEMS = 20_000
SECONDS = float(os.environ.get("CONNECTIONS_SECONDS", "40"))
IDLE = int(os.environ.get("CONNECTIONS_IDLE", "10000"))
CLOSED_WITHIN = 30.0
LARGEST = 1.3
"""Resident memory at most, relative to the same server before the attack."""
RECIPE = """
[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@from_popular"
"""
"""What is recommended does not matter here."""
ADDRESS = b"host: localhost\r\n"
GET = b"GET /v1/users/u000001/recommendations?k=100 HTTP/1.1\r\n" + ADDRESS + b"\r\n"
LARGE_HEAD = b"GET /healthz HTTP/1.1\r\n" + ADDRESS + b"x: " + b"x" * 30_000 + b"\r\n\r\n"


def connect(served: Server, receive_buffer: int | None = None) -> socket.socket:
    """Return a connection that does not block."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(10)
    client.connect(("127.0.0.1", served.port))
    client.setblocking(False)
    return client


class Watch:
    """The largest resident memory of a server and the slowest response to a well-behaved client, during an attack."""

    def __init__(self, served: Server) -> None:
        self.served, self.largest, self.slowest = served, served.resident_mb, 0.0
        self.end, self._next = time.monotonic() + SECONDS, 0.0

    def running(self) -> bool:
        """Return whether the attack goes on; measures four times a second."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.25
            self.largest = max(self.largest, self.served.resident_mb)
        return now < self.end

    def check(self) -> None:
        """Send a request and wait for the response."""
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.served.port), timeout=60) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n" + ADDRESS + b"connection: close\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        self.slowest = max(self.slowest, time.perf_counter() - began)


def pipelining(watch: Watch) -> list[socket.socket]:
    """Send requests without end on four connections, and read the responses of two of them."""
    clients = [connect(watch.served) for _ in range(4)]
    requests = GET * 500
    while watch.running():
        for number, client in enumerate(clients):
            with suppress(OSError):
                client.send(requests)
            if number % 2:
                with suppress(OSError):
                    client.recv(1_000_000)
        time.sleep(0.001)
    return clients


def resets(watch: Watch) -> list[socket.socket]:
    """Open connections, send a large head, and reset them."""
    while watch.running():
        with suppress(OSError):
            client = connect(watch.served)
            client.send(LARGE_HEAD)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
    return []


def slow_readers(watch: Watch) -> list[socket.socket]:
    """Request the largest responses on up to 40 connections, and read none of them."""
    one = b'{"user_id":"u000001","k":%d}' % (MAX_CALL_ITEMS // MAX_REQUESTS)
    body = b'{"requests":[' + b",".join([one] * MAX_REQUESTS) + b"]}"
    head = b"POST /v1/recommend HTTP/1.1\r\n" + ADDRESS + b"content-type: application/json\r\n"
    request = head + b"content-length: %d\r\n\r\n" % len(body) + body
    clients: list[socket.socket] = []
    while watch.running():
        if len(clients) < 40:
            clients.append(connect(watch.served, 4096))
            with suppress(OSError):
                clients[-1].send(request)
        time.sleep(0.25)
    return clients


def silent(watch: Watch) -> list[socket.socket]:
    """Open connections and send nothing."""
    clients: list[socket.socket] = []
    while watch.running():
        if len(clients) < IDLE:
            with suppress(OSError):
                clients.append(connect(watch.served))
        else:
            time.sleep(0.05)
    return clients


def sockets(served: Server) -> int:
    """Return how many sockets the server has open; the clients would not see the end of what they do not read."""
    folder, count = f"/proc/{served.process.pid}/fd", 0
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            count += os.readlink(f"{folder}/{name}").startswith("socket:")
    return count


def left_open(served: Server, before: int) -> int:
    """Return how many connections the server has not closed within CLOSED_WITHIN seconds of the attack's end."""
    end = time.monotonic() + CLOSED_WITHIN
    while sockets(served) > before and time.monotonic() < end:
        time.sleep(0.2)
    return max(0, sockets(served) - before)


def measure(name: str, attack: Callable[[Watch], list[socket.socket]]) -> list[Row]:
    """Return the memory of a server during an attack and the connections that are left of it."""
    with server(bundle_of(ITEMS, RECIPE)) as served:
        quiet = Watch(served)
        for _ in range(20):
            quiet.check()
        before, files = served.resident_mb, sockets(served)
        watch = Watch(served)
        clients = attack(watch)
        with suppress(OSError, AssertionError):
            watch.check()
        print(f"{name}: {watch.largest / before:.2f}", file=sys.stderr, flush=True)
        # pipelining clients are served on as long as they read, so nothing has to close them
        left = 0 if attack is pipelining else left_open(served, files)
        largest = max(watch.largest, served.resident_mb)
        for client in clients:
            client.close()
    detail = f"{before:,.0f} MB before, {largest:,.0f} MB at most in {SECONDS:.0f} s"
    rows = [
        Row(
            target=f"{name}: memory over quiet",
            value=largest / before,
            limit=LARGEST,
            better="lower",
            comparable=True,
            detail=detail,
        )
    ]
    if clients and attack is not pipelining:
        of = f"of {len(clients):,}; a response after the attack: {1000 * watch.slowest:.0f} ms"
        target = f"{name}: open after {CLOSED_WITHIN:.0f} s"
        rows.append(Row(target=target, value=float(left), limit=0, better="lower", comparable=True, detail=of))
    return rows


def run() -> list[Row]:
    """Attack a server in four ways, one after another."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 20_000), hard))
    os.sched_setaffinity(0, {LOAD_CORE})
    attacks = (
        ("pipelining", pipelining),
        ("resets", resets),
        ("slow readers", slow_readers),
        (f"{IDLE:,} silent connections", silent),
    )
    return [row for name, attack in attacks for row in measure(name, attack)]
