"""Runs the service under uvicorn: limits on request heads, worker processes, and graceful shutdown."""

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
from pasand.serving.metrics import SHARED_FOLDER
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service, Settings

SETTINGS = "PASAND_SERVE"
"""Environment variable that passes the settings to worker processes."""
MAX_HEAD_BYTES = 32_768
"""Largest size of a request line and headers together."""
HEAD_SECONDS = 10.0
"""Time within which the request line and headers must arrive, from the first byte."""
SWITCH_SECONDS = 0.0002
"""Interval at which background threads yield to the serving thread, 1/25 of Python's default."""


class Protocol(HttpToolsProtocol):
    """HTTP with limits on the size and on the arrival time of a request's head (request line and headers)."""

    _head = 0
    _overdue: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if (self._overdue is None and self.cycle is None) or (self.cycle is not None and self.cycle.response_complete):
            self._start_timer()
        super().data_received(data)

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        if self._overdue is None:
            self._overdue = self.loop.call_later(HEAD_SECONDS, self._close_overdue)

    def _end_head(self) -> None:
        self._head = 0
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _close_overdue(self) -> None:
        self._overdue = None
        if not self.transport.is_closing():
            self.transport.close()

    def _grow(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
            self.transport.close()


def run(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1) -> None:
    """Serve until SIGINT or SIGTERM, then finish open requests and return; raises InputError as `Service` does."""
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
    # in memory: these files are mapped, and on a full disk a write to them would kill the worker
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="pasand-metrics-", dir=parent)
    os.environ[SHARED_FOLDER] = folder
    os.environ[SETTINGS] = (
        json.dumps(asdict(replace(settings, keys=Keys()))) + "\n" + json.dumps(dict(settings.keys.scope))
    )
    try:
        uvicorn.run("pasand.serving.http.server:of_environment", factory=True, workers=workers, **common)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def service_of(settings: Settings) -> Service:
    """Return the service, ready for requests, and tune the process for latency (thread switches, garbage collector).

    Raises InputError where a bundle or the state cannot be used.
    """
    try:
        service = Service(settings)
    except RequestError as error:
        raise InputError(settings.variants[0][1], cause=error.message, cure="fit the bundle again") from None
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # the objects made so far stay; searching them for garbage would delay responses
    return service


def of_environment() -> Starlette:
    """Return the application of a worker process, from the settings its parent passed; exits where they are invalid."""
    options_json, _, keys = os.environ[SETTINGS].partition("\n")
    options = json.loads(options_json) | {"keys": Keys(json.loads(keys))}
    try:
        return create_app(service_of(Settings(**options)))
    except InputError as error:
        print(f"error {error}", file=sys.stderr)
        raise SystemExit(2) from None
