"""Runs the service: sockets, workers, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, replace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pasand.errors import InputError
from pasand.serving.http.app import create_app
from pasand.serving.http.security import Keys
from pasand.serving.metrics import SEVERAL
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service, Settings

SETTINGS = "PASAND_SERVE"
"""Environment variable that tells workers their settings."""
LARGEST_HEAD = 32_768
"""Bytes of a request's line and headers at most."""
HEAD_SECONDS = 10.0
"""Time in which the line and the headers of a request must have come, once its first byte has."""
SWITCH = 0.0002
"""Seconds after which a thread that logs or writes hands over to the one that answers; 25 times as often as usual."""


class Protocol(HttpToolsProtocol):
    """HTTP with a limit on the size of a request's head, and on the time that it may take to come."""

    _head = 0
    _overdue: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if (self._overdue is None and self.cycle is None) or (self.cycle is not None and self.cycle.response_complete):
            self._start()
        super().data_received(data)

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._done()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        super().connection_lost(exc)

    def _start(self) -> None:
        if self._overdue is None:
            self._overdue = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _done(self) -> None:
        self._head = 0
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _give_up(self) -> None:
        self._overdue = None
        if not self.transport.is_closing():
            self.transport.close()

    def _grow(self, size: int) -> None:
        self._head += size
        if self._head > LARGEST_HEAD and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
            self.transport.close()


def run(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is under way and end; raises InputError as `Service` does."""
    common: dict[str, Any] = {
        "host": host,
        "port": port,
        "http": Protocol,
        "ws": "none",
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": 15,
        "backlog": 4096,
    }
    if workers == 1:
        uvicorn.run(create_app(service_of(settings)), **common)
        return
    # in memory, since these files are mapped: on a disk that is full, writing to them would end the worker
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    figures = tempfile.mkdtemp(prefix="pasand-metrics-", dir=memory)
    os.environ[SEVERAL] = figures
    os.environ[SETTINGS] = (
        json.dumps(asdict(replace(settings, keys=Keys()))) + "\n" + json.dumps(dict(settings.keys.scope))
    )
    try:
        uvicorn.run("pasand.serving.http.server:of_environment", factory=True, workers=workers, **common)
    finally:
        shutil.rmtree(figures, ignore_errors=True)


def service_of(settings: Settings) -> Service:
    """Return the service, ready to answer, in a process that is set up for it (threads hand over soon, less garbage).

    Raises InputError where a bundle or the state is no good.
    """
    try:
        service = Service(settings)
    except RequestError as error:
        raise InputError(settings.variants[0][1], cause=error.message, cure="fit the bundle again") from None
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()  # what is there by now stays: looking through it for garbage would hold up answers
    return service


def of_environment() -> Starlette:
    """Return the application of a worker, as its parent wrote the settings down; ends the worker where they are bad."""
    told, _, keys = os.environ[SETTINGS].partition("\n")
    options = json.loads(told) | {"keys": Keys(json.loads(keys))}
    try:
        return create_app(service_of(Settings(**options)))
    except InputError as error:
        print(f"error {error}", file=sys.stderr)
        raise SystemExit(2) from None
