"""Clients that pipeline, reset, stall or say nothing, against the real protocol with a small application."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, ClassVar

import pytest
import uvicorn

from pasand.serving.http import connections, protocol
from pasand.serving.http.connections import Connections
from pasand.serving.http.protocol import Protocol
from tests.serving.conftest import free_port

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
SMALL, END = b"ok", b"the end"


class Application:
    """Responds with `body` to every request, once `released`."""

    def __init__(self, body: bytes = SMALL) -> None:
        self.body, self.started, self.held = body, 0, 0
        self.released = threading.Event()
        self.released.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.started += 1
        while not self.released.is_set():
            await asyncio.sleep(0.01)
        headers = [(b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Watched(Protocol):
    """A protocol whose objects can be counted."""

    alive: ClassVar[weakref.WeakSet[Watched]] = weakref.WeakSet()

    def __init__(self, *positional: Any, **options: Any) -> None:
        super().__init__(*positional, **options)
        self.alive.add(self)


class Listening:
    """A server on a thread of this process."""

    def __init__(self, application: Any, limit: int) -> None:
        self.connections, self.port = Connections(limit), free_port()
        http: Any = partial(Watched, self.connections)
        config = uvicorn.Config(application, port=self.port, http=http, lifespan="off", log_config=None)
        self.server = uvicorn.Server(config)

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        return client


@contextmanager
def listening(application: Any, limit: int = 100) -> Iterator[Listening]:
    found = Listening(application, limit)
    thread = threading.Thread(target=found.server.run)
    thread.start()
    try:
        until(lambda: found.server.started)
        yield found
    finally:
        found.server.should_exit = True
        thread.join()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def drained(client: socket.socket) -> bytes:
    """Return what a client still receives until its connection ends, in order or by a reset."""
    received = b""
    with suppress(ConnectionError):
        while part := client.recv(1_000_000):
            received += part
    return received


def received_until(client: socket.socket, end: bytes) -> bytes:
    """Return what a client receives up to the first `end`."""
    received = b""
    while not received.endswith(end):
        received += client.recv(1_000_000) or pytest.fail("the connection was closed")
    return received


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the times after which connections are closed."""
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.5)
    monkeypatch.setattr(connections, "PROGRESS_BYTES", 10_000)
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)


def test_pipelined_requests_are_read_one_ahead_and_all_are_answered() -> None:
    application = Application()
    application.released.clear()
    with listening(application) as server, server.connect() as client:
        client.setblocking(False)
        sent, ending = 0, time.monotonic() + 2
        while time.monotonic() < ending:  # endless requests: the server stops reading them
            try:
                sent += client.send(GET * 100)
            except BlockingIOError:
                time.sleep(0.01)
        (served,) = Watched.alive
        assert application.started == 1
        assert len(served.pipeline) == 1
        assert server.connections.held == len(served._held) < 300_000
        application.released.set()
        client.setblocking(True)
        client.settimeout(30)
        wanted, received = sent // len(GET), b""
        reader = client.makefile("rb")
        for _ in range(min(wanted, 20_000)):
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            while line := reader.readline().strip():
                received = line
            assert reader.read(len(SMALL)) == SMALL
        assert received
        reader.close()
    assert server.connections.held == 0


def test_requests_in_pieces_and_bodies_of_blank_lines_are_read_whole() -> None:
    bodies: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        bodies.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    body = b"\r\n\r\n" * 30_000
    post = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    with listening(application) as server, server.connect() as client:
        client.sendall(post + post + GET)
        until(lambda: len(bodies) == 3)
        for at in range(0, len(GET), 7):
            client.sendall(GET[at : at + 7])
        until(lambda: len(bodies) == 4)
    assert bodies == [body, body, b"", b""]


def test_lost_connections_leave_nothing_behind() -> None:
    large = b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 30_000 + b"\r\n\r\n"
    gc.collect()
    gc.disable()
    try:
        with listening(Application()) as server:
            for number in range(40):
                client = server.connect()
                client.sendall(large if number % 2 else large[:-2])
                if number % 4 == 1:
                    assert client.recv(100)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()  # by a reset
            until(lambda: len(server.connections) == 0)
            until(lambda: len(Watched.alive) <= 1)  # the loop may still hold the last one
    finally:
        gc.enable()


@pytest.mark.usefixtures("quick")
def test_silent_connections_are_closed() -> None:
    post = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n"
    with listening(Application()) as server, ExitStack() as opened:
        for sent in (b"", GET[:-2], b"\r\n", GET + GET[:5], post):  # the response to the last comes before its body
            client = opened.enter_context(server.connect())
            client.sendall(sent)
            while client.recv(1000):
                pass
        trickling = opened.enter_context(server.connect())
        trickling.sendall(post)
        with suppress(OSError):
            for _ in range(600):
                trickling.sendall(b"x")
                time.sleep(0.05)
        until(lambda: len(server.connections) == 0)


@pytest.mark.usefixtures("quick")
def test_a_reader_that_stalls_is_cut_off_and_a_slow_one_is_not() -> None:
    size = 6_000_000
    with (
        listening(Application(b"x" * size + END)) as server,
        server.connect(4096) as stalled,
        server.connect(100_000) as slow,
    ):
        stalled.sendall(GET)
        slow.sendall(GET)
        received = b""
        while part := slow.recv(200_000):
            received += part
            if received.endswith(END):
                break
            time.sleep(0.005)
        assert received.endswith(END)
        until(lambda: len(server.connections) <= 1)
        assert len(drained(stalled)) < size


@pytest.mark.usefixtures("quick")
def test_a_response_that_fits_the_buffers_of_the_system_is_watched_too() -> None:
    with listening(Application(b"x" * 100_000 + END)) as server, server.connect(4096) as stalled:
        kept = server.connect()
        kept.sendall(GET)
        assert received_until(kept, END)
        stalled.sendall(GET)
        until(lambda: bool(len(server.connections) == 2))
        until(lambda: len(server.connections) == 1)  # and not after 75 seconds, as one that is idle
        assert len(drained(stalled)) < 100_000
        kept.sendall(GET)
        assert received_until(kept, END)
        kept.close()


def test_the_slowest_readers_are_cut_off_when_their_responses_take_too_much_memory(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WRITE_SECONDS", 1000.0)
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 50_000_000)
    with listening(Application(b"x" * 20_000_000)) as server, ExitStack() as opened:
        for _ in range(6):
            opened.enter_context(server.connect(4096)).sendall(GET)
        until(lambda: len(server.connections) <= 2)


def test_a_connection_too_many_takes_the_place_of_the_one_idle_longest() -> None:
    application = Application()
    with listening(application, limit=3) as server, ExitStack() as opened:
        clients = [opened.enter_context(server.connect()) for _ in range(3)]
        until(lambda: len(server.connections) == 3)
        clients[0].sendall(GET)
        assert clients[0].recv(1000).endswith(SMALL)  # now the second one is idle longest
        further = opened.enter_context(server.connect())
        further.sendall(GET)
        assert further.recv(1000).endswith(SMALL)
        assert drained(clients[1]) == b""
        application.released.clear()
        for client in (clients[0], clients[2], further):
            client.sendall(GET)
        until(lambda: application.started == 5)
        assert opened.enter_context(server.connect()).recv(1000).startswith(b"HTTP/1.1 503")
        application.released.set()
        for client in (clients[0], clients[2], further):
            assert client.recv(1000).endswith(SMALL)


def test_a_low_limit_of_open_files_is_reported() -> None:
    def allowed(files: int) -> tuple[str, str]:
        code = (
            f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({min(200, files)}, {files})); "
            "from pasand.serving.http.connections import connections_allowed; print(connections_allowed())"
        )
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return process.stdout.strip(), process.stderr

    assert allowed(300)[0] == "172"
    assert "300 open files allow 172 connections" in allowed(300)[1]
    assert "LimitNOFILE" in allowed(300)[1]
    assert allowed(1200) == ("1072", "")  # the soft limit is raised to the hard one
