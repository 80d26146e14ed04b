"""Optional resources of tests: data sets, programs, disks, Milvus. A test skips if its resource is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

DATA = Path(os.environ.get("PASAND_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it if PASAND_REQUIRE_ALL is set."""
    if os.environ.get("PASAND_REQUIRE_ALL"):
        pytest.fail(f"{what} is missing though PASAND_REQUIRE_ALL is set")
    pytest.skip(f"{what} is missing")


def real_data(name: str) -> Path:
    """Return the folder of a real data set."""
    folder = DATA / name
    if not folder.exists():
        missing(f"the data set {name} (set PASAND_DATA to the folder that holds it)")
    return folder


def program(*names: str) -> Path:
    """Return the path of the first of these programs that is installed."""
    extra = ":".join(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=extra)
        if found:
            return Path(found)
    missing(" or ".join(names))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Create the folder as a separate disk of this size, in the syntax of `mount`: 64k, 2m."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def milvus(folder: Path) -> Iterator[str]:
    """Give the URI of a new Milvus database in a file of the folder."""
    for package in ("pymilvus", "milvus_lite"):
        if importlib.util.find_spec(package) is None:
            missing(package)
    from milvus_lite.server_manager import server_manager_instance  # type: ignore[import-untyped]

    file = folder / "milvus.db"
    try:
        yield str(file)
    finally:
        server_manager_instance.release_server(str(file))
