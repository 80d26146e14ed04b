"""The row in which every benchmark reports, and the environments in which peers run."""

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
"""Where the real data sets lie; `PASAND_DATA` in the environment overrides it (see `data_folder`)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure against its limit, and a peer's figure from the same run where there is a peer."""

    target: str
    """What is measured, in words, with its unit."""
    value: float
    limit: float | None
    """The figure asked for; None: shown for information."""
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
        """Return the row as the benchmark results spell it."""
        names = ("target", "value", "limit", "holds", "peer", "peer_value", "ratio", "detail")
        return {name: getattr(self, name) for name in names}


def data_folder(name: str) -> Path:
    """Return the folder of a real data set; exits with a sentence where it is absent."""
    folder = Path(os.environ.get("PASAND_DATA", DATA)) / name
    if not folder.exists():
        sys.exit(f"{folder} is absent: set PASAND_DATA to the folder that holds {name}")
    return folder


def peer_python(name: str, *packages: str) -> Path:
    """Return the Python of an environment of the peer's own under `.cache/peers`, made at the first call."""
    mark = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    folder = ROOT / ".cache" / "peers" / f"{name}-{mark}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making an environment for {name} ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        constraints = ROOT / "constraints.txt"
        command = [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), *packages]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (folder / "ready").touch()
    return python


def run_peer(python: Path, script: str, *arguments: object) -> Any:
    """Run a script of `benchmarks/peers/` in a peer's environment; return what its last line of output says in JSON."""
    command = [str(python), str(ROOT / "benchmarks" / "peers" / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])
