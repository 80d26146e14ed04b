"""pasand serve: serves a bundle over HTTP, with a web page."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from pasand.errors import InputError

KEYS = "PASAND_API_KEYS"
HASH = "PASAND_HASH_SECRET"
PORTS = 50
"""Ports that are tried for one that is free."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
"""Environment variables by which libraries choose their number of threads when they are loaded."""


EXAMPLES = (
    "pasand serve bundle",
    "pasand serve bundle --report report.html --port 8080",
    "pasand serve bundle --variant new=bundle2:0.1",
)


def command(
    bundle: Path = typer.Argument(..., help="Folder that `pasand fit` wrote."),
    variant: list[str] = typer.Option(
        [], help="Further bundle for a share of the users: NAME=FOLDER:SHARE, such as new=bundle2:0.1; may be repeated."
    ),
    host: str = typer.Option("127.0.0.1", help="Address to listen on; one that others can reach requires --keys."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port to listen on; 0: any free port."),
    workers: int = typer.Option(1, min=1, max=64, help="Number of worker processes; at most one per core is useful."),
    folder: Path | None = typer.Option(
        None, help="Folder for stored events and the impression log; by default BUNDLE-state, beside the bundle."
    ),
    state: str | None = typer.Option(None, help="Store events elsewhere: in another file, or in redis://HOST:PORT/0."),
    keys: Path | None = typer.Option(None, help=f'File of API keys, with lines "SCOPE KEY"; or set {KEYS}.'),
    rate: float = typer.Option(0, min=0, help="Requests per second allowed to one caller; 0: no limit."),
    allow_host: list[str] = typer.Option(
        [], help="Further host name to accept, in requests and from the web pages of that host; may be repeated."
    ),
    trusted_proxy: list[str] = typer.Option(
        [], help="Address or network of a proxy whose X-Forwarded-For header is trusted; may be repeated."
    ),
    impressions: bool = typer.Option(True, help="Log impressions, the items shown, as Parquet."),
    impressions_mb: int = typer.Option(1000, min=1, help="Maximum size of the impression log, in megabytes."),
    hash_users: bool = typer.Option(False, help=f"Log user ids as hashes, made with the secret in {HASH}."),
    report: Path | None = typer.Option(None, help="Report of `pasand compare` to link from the page."),
    audit: Path | None = typer.Option(None, help="Audit of `pasand audit --json` to show on the page."),
    noun: str | None = typer.Option(
        None, help="What the page calls an item, and what users do with it: song, or song/play."
    ),
    clock: str = typer.Option("real", help='"log" starts the clock at the end of the log, for data of the past.'),
    log: bool = typer.Option(True, "--log/--no-log", help="Log every request as a line of JSON."),
) -> None:
    """Serve the recommendations of BUNDLE over HTTP, with a web page at the same address."""
    for name in THREADS:  # a worker computes on one thread; the libraries' thread pools would only compete
        os.environ.setdefault(name, "1")
    settings = settings_of(
        bundle,
        variant,
        folder,
        state,
        keys,
        rate,
        impressions,
        impressions_mb,
        hash_users,
        report,
        clock,
        log,
        allow_host,
        trusted_proxy,
        audit,
        noun,
    )
    serve(settings, host, port, workers)


def settings_of(
    bundle: Path,
    variant: list[str],
    folder: Path | None,
    state: str | None,
    keys: Path | None,
    rate: float,
    impressions: bool,
    impressions_mb: int,
    hash_users: bool,
    report: Path | None,
    clock: str,
    log: bool,
    hosts: Sequence[str] = (),
    trusted_proxies: Sequence[str] = (),
    audit: Path | None = None,
    noun: str | None = None,
) -> object:
    """Return the settings of a service; raises InputError for options that are invalid or contradict each other."""
    check_installed()
    from pasand.serving.http.security import Keys
    from pasand.serving.service import Settings
    from pasand.serving.state_owner import folder_of, of_earlier_version
    from pasand.serving.wording import parsed

    if clock not in ("real", "log"):
        raise InputError("--clock", value=clock, cause="no such clock", cure="write real or log")
    if report is not None and not report.is_file():
        raise InputError(report, cause="no such file", cure="write one with: pasand compare SOURCE --report FILE")
    if audit is not None:
        _check_audit(audit)
    if folder is None and (line := of_earlier_version(folder_of(bundle))):
        print(f"warning: {line}", file=sys.stderr)
    secret = os.environ.pop(HASH, None)  # no process that this one starts needs to see it
    if hash_users and not secret:
        raise InputError(HASH, cause="not set", cure="set it to a long random text, and do not change it later")
    lines = os.environ.pop(KEYS, "").split("\n")
    chosen = Keys.of_file(keys) if keys is not None else Keys.read(lines)
    others = [_variant(text) for text in variant]
    rest = 1 - sum(share for _, _, share in others)
    names = ["main", *(name for name, _, _ in others)]
    if rest < 0 or len(set(names)) < len(names):
        cause, cure = "a name is used twice (the first bundle is called main)", "use different names"
        if rest < 0:
            cause, cure = "the shares sum to more than 1", "use smaller shares"
        raise InputError("--variant", value=", ".join(variant), cause=cause, cure=cure)
    return Settings(
        variants=[("main", str(bundle.absolute()), rest), *others],
        folder=str(folder if folder is not None else folder_of(bundle)),
        state=state,
        keys=chosen,
        rate=rate,
        impressions=impressions,
        impressions_size=1_000_000 * impressions_mb,
        hash_users=secret if hash_users else None,
        clock=clock,
        report=None if report is None else str(report.absolute()),
        audit=None if audit is None else str(audit.absolute()),
        wording=None if noun is None else parsed(noun),
        log_requests=log,
        hosts=[_host(name) for name in hosts],
        trusted_proxies=[_proxy(text) for text in trusted_proxies],
    )


def serve(settings: object, host: str, port: int, workers: int) -> None:
    """Serve until Ctrl-C; raises InputError for an unsafe address and for a bundle that cannot be loaded."""
    from pasand.serving.http.security import check_address
    from pasand.serving.http.server import run
    from pasand.serving.service import Settings

    assert isinstance(settings, Settings)
    check_address(host, settings.keys)
    port = open_port(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    for line in described(settings):
        print(line, file=sys.stderr)
    print(f"http://{shown_host}:{port}/ (press Ctrl-C to stop)", file=sys.stderr, flush=True)
    run(settings, host=host, port=port, workers=workers)


def described(settings: object) -> list[str]:
    """Return lines about what a service uses: bundles with their data, state, report and keys."""
    from pasand.bundle_files import read_manifest
    from pasand.cli.console import printable
    from pasand.serving import active_bundles
    from pasand.serving.http.security import LOCAL_KEY
    from pasand.serving.service import Settings

    assert isinstance(settings, Settings)
    folder, lines = Path(settings.folder).absolute(), []
    active = active_bundles.read(folder / active_bundles.NAME)
    for name, given, _ in settings.variants:
        used = active.get(name, given)
        data = read_manifest(Path(used)).get("data", {})
        known = (
            f"data set {data['name']}, {data['events']:,} events"
            if {"name", "events"} <= set(data)
            else "no data named"
        )
        after = f", in use after {given}" if used != given else ""
        lines.append(f"{'bundle' if name == 'main' else f'variant {name}'}: {used} ({known}{after})")
    where = str(folder) if settings.state is None else f"{settings.state.split('@')[-1]}, files in {folder}"
    lines.append(f"state: {where}")
    lines.append(f"report: {settings.report or 'none; link one with --report FILE'}")
    keys = (
        "from --keys or the environment"
        if settings.keys.scope
        else f"this machine only; {folder / LOCAL_KEY} has the admin key"
    )
    lines.append(f"keys: {keys}")
    return [printable(line, lines=False) for line in lines]


def open_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0; raises InputError if the address cannot be bound."""
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            return int(trial.getsockname()[1])
    except OSError as error:
        cause = f"cannot be bound: {error.strerror or error}"
        raise InputError(f"{host}:{port}", cause=cause, cure="choose another with --port") from None


def next_open_port(host: str, port: int) -> int:
    """Return the port or the next one that is free, and print which if it is another; raises InputError without one."""
    for other in range(port, min(port + PORTS, 65536)):
        try:
            found = open_port(host, other)
        except InputError:
            continue
        if other != port:
            print(f"port {port} is in use; the page will be at port {found}", file=sys.stderr)
        return found
    return open_port(host, port)


def _check_audit(path: Path) -> None:
    """Raise InputError for a file that is not an audit as JSON."""
    import json

    cure = "write one with: pasand audit BUNDLE SOURCE --json FILE"
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError:
        raise InputError(path, cause="no such file", cure=cure) from None
    except ValueError:
        raise InputError(path, cause="not JSON", cure=cure) from None
    needed = ("bundle", "recipe", "known", "sections", "policy", "checklist", "left_out")
    if not isinstance(found, dict) or not all(name in found for name in needed):
        raise InputError(path, cause="JSON, but not an audit", cure=cure)


def check_installed() -> None:
    """Raise InputError if a package that serving needs is not installed."""
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


def _host(name: str) -> str:
    """Return a name that Host headers may have; raises InputError for an address with a scheme, a port or a path."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", name):
        cure = "write the name alone, such as --allow-host films.example.org"
        raise InputError("--allow-host", value=name, cause="not the name of a host", cure=cure)
    return name


def _proxy(text: str) -> str:
    """Return the address or network of a proxy; raises InputError for any other text."""
    import ipaddress

    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        cure = "write --trusted-proxy 10.0.0.2 or 10.0.0.0/24"
        raise InputError("--trusted-proxy", value=text, cause=str(error), cure=cure) from None
    return text


def _variant(text: str) -> tuple[str, str, float]:
    """Return the name, folder and share of a text NAME=FOLDER:SHARE; raises InputError for any other text."""
    name, _, rest = text.partition("=")
    folder, _, share = rest.rpartition(":")
    try:
        number = float(share)
    except ValueError:
        number = -1.0
    if not name or not folder or not 0 < number <= 1:
        cure = "write --variant new=FOLDER:0.1"
        raise InputError("--variant", value=text, cause="not of the form NAME=FOLDER:SHARE", cure=cure)
    return name, str(Path(folder).absolute()), number
