"""A real server for the tests of serving: `pasand serve` as a process of its own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from pasand import bundle as bundle_files
from pasand import recipe
from pasand.sources import load
from tests.serving.recipes import CONTENT


class Served:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, folder: Path, output: Path) -> None:
        self.process, self.url, self.folder, self.output = process, url, folder, output
        self.client = httpx.Client(base_url=url, timeout=30)

    def metric(self, name: str) -> float:
        """Return a value of /metrics by its name and labels, 0 if it is missing."""
        text = self.client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    @property
    def admin(self) -> dict[str, str]:
        """Headers with the key of scope admin that a service without keys has in its folder."""
        return {"x-api-key": (self.folder / "state" / "admin-key").read_text().strip()}

    def request(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """Return the JSON of a response, which must have this status."""
        response = self.client.request(method, path, **options)
        assert response.status_code == status, response.text
        return response.json()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(
    bundle: Path,
    folder: Path,
    *options: str,
    environment: dict[str, str] | None = None,
    output_to: IO[bytes] | int | None = None,
) -> Iterator[Served]:
    """Give a service of a bundle that keeps its state in a folder; it is ended by SIGTERM if it still runs.

    Its output goes to a file, or to `output_to`.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "output"
    command = [
        sys.executable,
        "-c",
        "from pasand.cli.main import run; run()",
        "serve",
        str(bundle),
        "--port",
        str(port),
        "--clock",
        "log",
    ]
    with output.open("ab") as file:
        process = subprocess.Popen(
            [*command, "--folder", str(folder / "state"), *options],
            stdout=file if output_to is None else output_to,
            stderr=file if output_to is None else output_to,
            env={**os.environ, **(environment or {})},
        )
    served = Served(process, f"http://127.0.0.1:{port}", folder, output)
    try:
        for _ in range(600):
            with suppress(httpx.TransportError):
                served.client.get("/readyz").raise_for_status()
                break
            assert process.poll() is None, output.read_text()
            time.sleep(0.1)
        yield served
    finally:
        served.client.close()
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return the folder of a bundle of content and popularity, fitted to bollywood, a different one for each seed."""
    folders: dict[int, Path] = {}

    def of(seed: int) -> Path:
        if seed not in folders:
            data = load("bollywood", impressions="none")
            folders[seed] = tmp_path_factory.mktemp("bundle") / f"seed{seed}"
            bundle_files.write(
                folders[seed], recipe.build(CONTENT.format(days=30 + seed)).fit(data, seed=seed), data, seed=seed
            )
        return folders[seed]

    return of


@pytest.fixture(scope="session")
def bundle_folder(bundles: Callable[[int], Path]) -> Path:
    return bundles(0)


@pytest.fixture
def server(bundle_folder: Path, tmp_path: Path) -> Iterator[Served]:
    """A service with its own state."""
    with serving(bundle_folder, tmp_path) as served:
        yield served


@pytest.fixture(scope="session")
def shared(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service for tests that do not change it."""
    with serving(bundle_folder, tmp_path_factory.mktemp("shared")) as served:
        yield served


@pytest.fixture(scope="session")
def served(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service shared by the tests of the web page."""
    with serving(bundle_folder, tmp_path_factory.mktemp("page")) as service:
        yield service.url
