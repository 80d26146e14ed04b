"""Empty stores of each kind for the tests: files, and real servers that a test starts."""

from __future__ import annotations

import os
import signal
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
    """A durable Redis server of its own in a folder, on a free port that it keeps."""

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

        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([self.program, *arguments, *self.options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                process_id = self.client.info("server")["process_id"]
                assert process_id == self.process.pid, "another server uses the port"
                self.client.ping()  # refused while it still loads
                return
            except (redis.ConnectionError, redis.TimeoutError):
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the server continue, and return when it has run the commands that it received meanwhile."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        for _ in range(3):
            self.client.ping()

    def close(self) -> None:
        self.client.close()
        self.stop(kill=True)


@contextmanager
def sqlite_addresses(folder: Path) -> Iterator[Callable[[], str]]:
    yield lambda: str(folder / f"{time.monotonic_ns()}.state")


@contextmanager
def redis_addresses(folder: Path) -> Iterator[Callable[[], str]]:
    server = RedisServer(folder)

    def emptied() -> str:
        server.client.flushall()
        return server.url

    try:
        yield emptied
    finally:
        server.close()


ADDRESSES = {"sqlite": sqlite_addresses, "redis": redis_addresses}
"""Context manager of a function that returns the address of an empty store, by the name of the store's file."""


def event(number: int, user: str = "u", item: str = "i", time: int | None = None, **fields: Any) -> Event:
    return Event(f"e{number}", user, item, number if time is None else time, **fields)


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that runs the code."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
