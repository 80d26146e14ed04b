"""The row that every benchmark reports, the folders of data sets, and the environments in which peers run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
"""Folder of the real data sets; `PASAND_DATA` in the environment overrides it (see `data_folder`)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure with its limit, and the peer's figure from the same run if there is a peer."""

    target: str
    """Text that describes the figure, with its unit."""
    value: float
    limit: float | None
    """Figure to be reached; None: reported for information."""
    better: Literal["higher", "lower"]
    peer: str = ""
    peer_value: float | None = None
    detail: str = ""
    comparable: bool = False
    """Whether the table of docs/benchmarks.md shows the row. Limit and peer are then of the same data, protocol and
    work; a limit without a peer is an absolute one."""
    reason: str = ""
    """Why a row with a limit or a peer's value is not comparable; "" for all other rows."""
    synthetic: bool = False
    """Whether the data are simulated, such as `bollywood`."""

    @property
    def is_marked(self) -> bool:
        """Whether a row with a limit or a peer's value states that it is comparable, or why not; True for others."""
        return (self.limit, self.peer_value) == (None, None) or self.comparable != bool(self.reason)

    @property
    def holds(self) -> bool | None:
        """Whether the value is at least as good as the limit; None without a limit."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.better == "higher" else self.value <= self.limit

    @property
    def ratio(self) -> float | None:
        """value / peer_value."""
        return None if not self.peer_value else self.value / self.peer_value

    def as_json(self) -> dict[str, Any]:
        """Return the row as it is written to the result files."""
        names = ("target", "value", "limit", "holds", "peer", "peer_value", "ratio", "detail", "comparable")
        return {name: getattr(self, name) for name in names} | {
            name: getattr(self, name) for name in ("reason", "synthetic") if getattr(self, name)
        }


def data_folder(name: str) -> Path:
    """Return the folder of a real data set; exit with a message if it is missing."""
    folder = Path(os.environ.get("PASAND_DATA", DATA)) / name
    if not folder.exists():
        sys.exit(f"{folder} is missing: set PASAND_DATA to the folder that contains {name}")
    return folder


def interpreter(version: str) -> str | None:
    """Return a Python of this version, as "3.13", from the path or the folder of pyenv; None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))]
    for command in filter(None, found):
        if subprocess.run([command, "-c", ""], capture_output=True, check=False).returncode == 0:  # no pyenv shim
            return command
    return None


def peer_python(name: str, *packages: str, base: str = sys.executable) -> Path:
    """Return the Python of the peer's own environment under `.cache/peers`, which the first call creates.

    `base` is the Python to create it with. Our constraints hold for our own one only.
    """
    own = base == sys.executable
    mark = hashlib.sha256(" ".join(packages if own else (base, *packages)).encode()).hexdigest()[:8]
    folder = ROOT / ".cache" / "peers" / f"{name}-{mark}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"creating an environment for {name} ...", file=sys.stderr)
        subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True, stdout=sys.stderr)
        constraints = ["-c", str(ROOT / "constraints.txt")] if own else []
        command = [str(python), "-m", "pip", "install", "-q", *constraints, *packages]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (folder / "ready").touch()
    _used[name] = (python, packages)
    return python


_used: dict[str, tuple[Path, tuple[str, ...]]] = {}
"""The environments that this process has used: their Python, and the packages named by the benchmark."""


def peer_versions() -> dict[str, dict[str, str]]:
    """Return the versions of the named packages in each peer's environment that this process has used."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    found = {}
    for name, (python, packages) in _used.items():
        wanted = [re.split(r"[\[=<>!~ ]", package)[0] for package in packages]
        found[name] = json.loads(subprocess.check_output([str(python), "-c", code, *wanted]))
    return found


def run_peer(python: Path, script: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """Run a script of `benchmarks/peers/` in a peer's environment, and return the JSON of its last line of output.

    `environment` are additional environment variables of the process.
    """
    command = [str(python), str(ROOT / "benchmarks" / "peers" / script), *map(str, arguments)]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables)
    return json.loads(done.stdout.strip().splitlines()[-1])
