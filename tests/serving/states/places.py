"""Places where each store of the folder can be tried: real files, and real servers that a test starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pasand.serving.states.contract import Event
from tests.resources import missing, program


class RedisServer:
    """A server of its own in a folder, durable, on a free port that it keeps."""

    def __init__(self, folder: Path, *options: str) -> None:
        try:
            import redis
        except ImportError:
            missing("redis, the client")
        self.program, self.folder = program("redis-server"), folder
        self.options = options or ("--appendonly", "yes", "--appendfsync", "always")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.client: Any = redis.Redis(port=self.port)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        import redis

        told = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([self.program, *told, *self.options], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                answering = self.client.info("server")["process_id"]
                assert answering == self.process.pid, "another server took the port"
                self.client.ping()  # refused while it still loads
                return
            except (redis.ConnectionError, redis.TimeoutError):
                assert time.monotonic() < until, "the server does not start"
                time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.client.close()
        self.stop(kill=True)


@contextmanager
def sqlite_places(folder: Path) -> Iterator[Callable[[], str]]:
    yield lambda: str(folder / f"{time.monotonic_ns()}.state")


@contextmanager
def redis_places(folder: Path) -> Iterator[Callable[[], str]]:
    server = RedisServer(folder)

    def emptied() -> str:
        server.client.flushall()
        return server.url

    try:
        yield emptied
    finally:
        server.close()


PLACES = {"sqlite": sqlite_places, "redis": redis_places}
"""How to get the place of an empty store, by the name of its file."""


def event(number: int, user: str = "u", item: str = "i", time: int | None = None, **told: Any) -> Event:
    return Event(f"e{number}", user, item, number if time is None else time, **told)


def python(code: str, *told: str) -> subprocess.Popen[str]:
    """Start a process that runs the code."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code, *told]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
