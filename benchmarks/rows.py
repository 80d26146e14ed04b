"""The row that every benchmark reports, the folders of data sets, and the environments in which peers run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
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
        names = ("target", "value", "limit", "holds", "peer", "peer_value", "ratio", "detail")
        return {name: getattr(self, name) for name in names}


def data_folder(name: str) -> Path:
    """Return the folder of a real data set; exit with a message if it is missing."""
    folder = Path(os.environ.get("PASAND_DATA", DATA)) / name
    if not folder.exists():
        sys.exit(f"{folder} is missing: set PASAND_DATA to the folder that contains {name}")
    return folder


def peer_python(name: str, *packages: str) -> Path:
    """Return the Python of the peer's own environment under `.cache/peers`, which the first call creates."""
    mark = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    folder = ROOT / ".cache" / "peers" / f"{name}-{mark}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"creating an environment for {name} ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        constraints = ROOT / "constraints.txt"
        command = [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), *packages]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (folder / "ready").touch()
    return python


def run_peer(python: Path, script: str, *arguments: object) -> Any:
    """Run a script of `benchmarks/peers/` in a peer's environment, and return the JSON of its last line of output."""
    command = [str(python), str(ROOT / "benchmarks" / "peers" / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])
