"""pasand serve: a bundle as an HTTP service, with a page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from pasand.errors import InputError

KEYS = "PASAND_API_KEYS"
HASH = "PASAND_HASH_SECRET"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
"""What tells libraries how many threads to start; read when they are loaded."""


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    variant: list[str] = typer.Option(
        [], help="A further bundle for a share of the users: NAME=FOLDER:SHARE, such as new=bundle2:0.1."
    ),
    host: str = typer.Option("127.0.0.1", help="Address; one that others can reach asks for --keys."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port."),
    workers: int = typer.Option(1, min=1, max=64, help="Processes that answer; one a core at most."),
    folder: Path = typer.Option(Path("pasand-state"), help="Where events and the log of impressions are kept."),
    state: str | None = typer.Option(None, help="Another place for events: a file, or redis://HOST:PORT/0."),
    keys: Path | None = typer.Option(None, help=f'File of API keys, lines "SCOPE KEY"; or set {KEYS}.'),
    rate: float = typer.Option(0, min=0, help="Requests a second of one caller; 0: no limit."),
    impressions: bool = typer.Option(True, help="Log what is shown, as Parquet."),
    impressions_mb: int = typer.Option(1000, min=1, help="Megabytes that the log of impressions takes at most."),
    hash_users: bool = typer.Option(False, help=f"Write ids of users to logs as hashes by the secret in {HASH}."),
    report: Path | None = typer.Option(None, help="Report of `pasand compare` that the page links to."),
    clock: str = typer.Option("real", help='"log": now begins at the end of the log, for data of the past.'),
    log: bool = typer.Option(True, "--log/--no-log", help="Write a line of JSON for every request."),
) -> None:
    """Answer requests over HTTP, and show a page at the same address."""
    for name in THREADS:  # a worker computes on one thread; those of libraries would only wake each other
        os.environ.setdefault(name, "1")
    settings = settings_of(
        bundle, variant, folder, state, keys, rate, impressions, impressions_mb, hash_users, report, clock, log
    )
    serve(settings, host, port, workers)


def settings_of(
    bundle: Path,
    variant: list[str],
    folder: Path,
    state: str | None,
    keys: Path | None,
    rate: float,
    impressions: bool,
    impressions_mb: int,
    hash_users: bool,
    report: Path | None,
    clock: str,
    log: bool,
) -> object:
    """Return the settings of a service; raises InputError for what cannot be."""
    ready()
    from pasand.serving.http.security import Keys
    from pasand.serving.service import Settings

    if clock not in ("real", "log"):
        raise InputError("--clock", value=clock, cause="no such clock", cure="write real or log")
    if report is not None and not report.is_file():
        raise InputError(report, cause="no such file", cure="write one with: pasand compare SOURCE --report FILE")
    secret = os.environ.get(HASH)
    if hash_users and not secret:
        raise InputError(HASH, cause="not set", cure="set it to a long random text that stays the same")
    chosen = Keys.of_file(keys) if keys is not None else Keys.read(os.environ.get(KEYS, "").split("\n"))
    others = [_variant(text) for text in variant]
    rest = 1 - sum(share for _, _, share in others)
    names = ["main", *(name for name, _, _ in others)]
    if rest < 0 or len(set(names)) < len(names):
        cause = "the shares are more than 1" if rest < 0 else "a name comes twice (the first bundle is called main)"
        raise InputError("--variant", value=", ".join(variant), cause=cause, cure="mend it")
    return Settings(
        variants=[("main", str(bundle.absolute()), rest), *others],
        folder=str(folder),
        state=state,
        keys=chosen,
        rate=rate,
        impressions=impressions,
        impressions_size=1_000_000 * impressions_mb,
        hash_users=secret if hash_users else None,
        clock=clock,
        report=None if report is None else str(report.absolute()),
        log_requests=log,
    )


def serve(settings: object, host: str, port: int, workers: int) -> None:
    """Serve until Ctrl-C; raises InputError for an address that is not safe, and where a bundle is no good."""
    from pasand.serving.http.security import check_address
    from pasand.serving.http.server import run
    from pasand.serving.service import Settings

    assert isinstance(settings, Settings)
    check_address(host, settings.keys)
    port = open_port(host, port)
    where = f"[{host}]" if ":" in host else host
    print(f"http://{where}:{port}/ (Ctrl-C ends)", file=sys.stderr, flush=True)
    run(settings, host=host, port=port, workers=workers)


def open_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0; raises InputError where the address cannot be had."""
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            return int(tried.getsockname()[1])
    except OSError as error:
        cause = f"cannot be had: {error.strerror or error}"
        raise InputError(f"{host}:{port}", cause=cause, cure="choose another with --port") from None


def ready() -> None:
    """Raise InputError where what serving needs is not installed."""
    import importlib.util

    missing = [
        name
        for name in ("starlette", "uvicorn", "httptools", "prometheus_client")
        if not importlib.util.find_spec(name)
    ]
    if missing:
        raise InputError(
            "pasand serve", cause=f"{', '.join(missing)} not installed", cure="pip install 'pasand[serve]'"
        )


def _variant(text: str) -> tuple[str, str, float]:
    name, _, rest = text.partition("=")
    place, _, share = rest.rpartition(":")
    try:
        number = float(share)
    except ValueError:
        number = -1.0
    if not name or not place or not 0 < number <= 1:
        cure = "write --variant new=FOLDER:0.1"
        raise InputError("--variant", value=text, cause="not of the form NAME=FOLDER:SHARE", cure=cure)
    return name, str(Path(place).absolute()), number
