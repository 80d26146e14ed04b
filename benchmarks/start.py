"""Seconds to the first result: `pasand demo` after installation, and the import of pasand."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row

MEASURES = ("__init__.py", "audit", "cli", "data", "reranking", "serving/http", "simulation", "sources")
RUNS = 5


def run() -> list[Row]:
    """Time `pasand demo` in a fresh folder, first without cached kernels, which it compiles, and then again."""
    code = "import time; began = time.perf_counter(); import pasand; print(time.perf_counter() - began)"
    imports = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(RUNS)]
    command = [str(Path(sys.executable).parent / "pasand"), "demo", "--no-serve"]
    with tempfile.TemporaryDirectory() as folder:
        first, again = (_seconds(command, folder) for _ in range(2))
    detail = f"then, with the compiled kernels cached, {again:.1f} s"
    return [
        Row(
            target="make demo once installed, seconds",
            value=first,
            limit=60,
            better="lower",
            comparable=True,
            detail=detail,
        ),
        Row(
            target="import pasand, seconds",
            value=statistics.median(imports),
            limit=0.5,
            better="lower",
            comparable=True,
        ),
    ]


def _seconds(command: list[str], folder: str) -> float:
    import os

    environment = {**os.environ, "NUMBA_CACHE_DIR": f"{folder}/kernels"}
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, timeout=600)
    return time.perf_counter() - began
