"""Runs the service under uvicorn: one process or several, and graceful shutdown."""

from __future__ import annotations

import gc
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from pasand.errors import InputError
from pasand.serving.http.app import create_app
from pasand.serving.http.connections import Connections, connections_allowed
from pasand.serving.http.protocol import Protocol
from pasand.serving.http.shared_folder import end_with_the_parent, shared_folder
from pasand.serving.logs.lines import log_from_a_thread
from pasand.serving.metrics import SHARED_FOLDER
from pasand.serving.schemas import RequestError
from pasand.serving.service import Service, Settings

SWITCH_SECONDS = 0.0002
"""Interval at which background threads yield to the serving thread, 1/25 of Python's default."""


class Workers(Multiprocess):
    """Worker processes that end in order after SIGHUP, too, as after SIGTERM."""

    handle_hup = Multiprocess.handle_term


def run(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then finish open requests and return; raises InputError as `Service` does.

    Settings are completed by the address.
    """
    settings = replace(settings, address=host)
    common: dict[str, Any] = {
        "host": host,
        "port": port,
        "http": partial(Protocol, Connections(connections_allowed())),
        "ws": "none",
        "access_log": False,
        "log_config": None,
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
        "timeout_graceful_shutdown": 15,
        "backlog": 4096,
    }
    log = log_from_a_thread()
    end_after_hangup()
    try:
        if workers == 1:
            uvicorn.run(create_app(service_of(settings)), **common)
        else:
            run_workers(settings, common, workers)
    finally:
        log.writer.close()


def run_workers(settings: Settings, common: dict[str, Any], workers: int) -> None:
    """Serve with several processes until they end."""
    with shared_folder() as folder:
        os.environ[SHARED_FOLDER] = str(folder)
        # through a pipe: others that can see the environment of a process would find keys and secrets there
        application = partial(worker_application, settings)
        config = uvicorn.Config(application, factory=True, workers=workers, **common)
        Workers(config, sockets=[config.bind_socket()]).run()


def end_after_hangup() -> None:
    """Have SIGHUP end this process as SIGTERM does, unless it is ignored, as under nohup."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


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


def worker_application(settings: Settings) -> Starlette:
    """Return the application of a worker process; exits where the settings are invalid."""
    log_from_a_thread()
    end_after_hangup()
    end_with_the_parent()
    try:
        return create_app(service_of(settings))
    except InputError as error:
        print(f"error {error}", file=sys.stderr)
        raise SystemExit(2) from None
