"""Origin of a result: commit, versions, threads, seeds, machine, date, and the hashes of the code that was measured.

The code of a benchmark is its own file, the helpers that it imports from this folder, the peers' scripts that it names,
and what `MEASURES` names, a constant of the benchmark: files, folders and definitions in `src/pasand` (`code_hashes`).
Without that constant it is every module of pasand that was loaded when the benchmark ended, and all recipes.
"""

from __future__ import annotations

import ast
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks.code_hashes import SOURCE, code_hash, names, texts
from benchmarks.rows import ROOT, peer_versions

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
PACKAGES = ("numpy", "scipy", "numba", "torch", "onnxruntime", "polars", "faiss-cpu", "lightgbm")
INSTRUCTIONS = ("avx512_vnni", "avx512f", "avx2", "asimd")
"""Instruction sets, those of the widest vectors first, by their names in /proc/cpuinfo."""
NOT_MEASURED = {"__init__", "__main__", "code_hashes", "fit_cache", "provenance", "rows"}
"""Modules of this folder without influence on a figure."""


def all_texts() -> dict[str, str]:
    """Return the text of every file of `src/pasand` and of this folder, by its path relative to the repository."""
    return texts(SOURCE, FOLDER)


def helpers(name: str) -> set[str]:
    """Return the files of this folder on which a module of it depends, itself included: imports and peers' scripts."""
    found: set[str] = set()
    waiting = [f"{name}.py"]
    while waiting:
        file = waiting.pop()
        if file in found or Path(file).stem in NOT_MEASURED or not (FOLDER / file).exists():
            continue
        found.add(file)
        for node in ast.walk(ast.parse((FOLDER / file).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
                waiting += [f"{alias.name}.py" for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmarks."):
                waiting.append(f"{str(node.module).partition('.')[2]}.py")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".py"):
                waiting.append(f"peers/{node.value}")
    return found


def measured(module: ModuleType) -> list[str]:
    """Return the names of the code that an imported benchmark measures."""
    own = {f"benchmarks/{file}" for file in helpers(module.__name__.partition(".")[2])}
    declared: Iterable[str] | None = getattr(module, "MEASURES", None)
    if declared is not None:
        return sorted(own | set(names(declared)))
    loaded = (Path(str(other.__file__)) for name, other in sys.modules.items() if name.partition(".")[0] == "pasand")
    return sorted(own | {str(file.relative_to(ROOT)) for file in loaded} | set(names(["recipes"])))


def provenance(module: ModuleType, before: Mapping[str, str]) -> dict[str, object]:
    """Return the origin of the result of a benchmark that has just run, given `all_texts` before it was imported."""
    code = {name: hash_in(before, name) for name in measured(module)}
    after = all_texts()
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", ".", ":!benchmarks/results")),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "threads": threads(),
        "seeds": seeds(module),
        "code": code,
        "changed_while_running": [name for name, mark in code.items() if hash_in(after, name) != mark],
    }


def seeds(module: ModuleType) -> list[int] | str:
    """Return the seeds of a benchmark: its `SEEDS`, a sequence or the number of seeds from 0, or its `SEED`."""
    found = getattr(module, "SEEDS", getattr(module, "SEED", None))
    if isinstance(found, int):
        return list(range(found)) if hasattr(module, "SEEDS") else [found]
    return list(found) if found and all(isinstance(seed, int) for seed in found) else "in the code"


def machine() -> dict[str, object]:
    """Return the processor, instructions, cores, Python and present speed, on which ratios depend too."""
    return {
        "processor": _processor().get("model name", platform.processor() or platform.machine()).strip(),
        "instructions": instructions(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "speed": speed(),
    }


def instructions() -> str:
    """Return the first of `INSTRUCTIONS` that this processor has; "" where it has none, or where that is unknown."""
    facts = _processor()
    flags = set((facts.get("flags") or facts.get("Features", "")).split())
    return next((name for name in INSTRUCTIONS if name in flags), "")


def _processor() -> dict[str, str]:
    """Return the entries of the last processor in /proc/cpuinfo; none where there is no such file."""
    cpus = Path("/proc/cpuinfo")
    return dict(re.findall(r"^(.+?)\s*: ?(.*)$", cpus.read_text(), re.MULTILINE)) if cpus.exists() else {}


def speed() -> dict[str, float]:
    """Return what this machine reaches now: GFLOP/s of a float32 product on all cores, and GB/s read by one thread.

    Each is the median of nine runs after one that does not count; about .3 s together.
    """
    square, long = np.ones((1024, 1024), dtype=np.float32), np.ones(1 << 25, dtype=np.float32)
    product = 2 * 1024**3 / 1e9 / _seconds(lambda: square @ square)
    read = long.nbytes / 1e9 / _seconds(long.sum)
    return {"product_gflops": round(product, 1), "read_gb_per_s": round(read, 2)}


def _seconds(work: Callable[[], object]) -> float:
    """Return the median seconds of nine runs after one that does not count."""
    spent = []
    for _ in range(10):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def versions() -> dict[str, object]:
    """Return the versions of Python, of the packages that compute, and of the peers by environment."""
    installed = {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}
    found: dict[str, object] = {name: installed[name] for name in PACKAGES if name in installed}
    peers = peer_versions()
    return {"python": platform.python_version(), **found, **({"peers": peers} if peers else {})}


def threads() -> dict[str, int]:
    """Return the cores that this process may use, and the threads of torch and numba where these were loaded."""
    found = {"cores": len(os.sched_getaffinity(0))}
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].get_num_threads()
    if "numba" in sys.modules:
        found["numba"] = sys.modules["numba"].get_num_threads()
    return found


def stale(folder: Path = RESULTS) -> dict[str, str]:
    """Return, by the name of the result, why each result of a folder is older than its code or unknown to be."""
    found = {}
    now = all_texts()
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text())
        if "code" not in result:
            found[file.stem] = "unknown: the result has no hashes of its code"
            continue
        changed = [name for name, mark in result["code"].items() if hash_in(now, name) != mark]
        changed += [name for name in result.get("changed_while_running", []) if name not in changed]
        if changed:
            commit = (result.get("commit") or "")[:10] or "an unknown commit"
            found[file.stem] = f"code changed since {commit}: {', '.join(changed)}"
    return found


def hash_in(files: Mapping[str, str], name: str) -> str | None:
    """Return the hash of code in the texts of files; None where the file or the definition is missing."""
    try:
        return code_hash(name, files[name.partition(":")[0]])
    except LookupError:
        return None


def _git(*arguments: str) -> str | None:
    """Return the output of a git command; None where git or the repository is missing."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
