"""The versions and threads with which results were made, as they depend on both."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import Any

from pasand import __version__

PACKAGES = ("numpy", "torch", "onnxruntime")


def environment() -> dict[str, Any]:
    """Return the versions of Python, pasand, numpy, torch and onnxruntime, None for a missing one, and the threads.

    `threads` holds the cores that this process may use, `OMP_NUM_THREADS` if it is set, and the threads of torch if it
    is loaded. Another number of threads adds floats in another order, so the last bits of a result may differ.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads: dict[str, Any] = {"cores": cores}
    if "OMP_NUM_THREADS" in os.environ:
        threads["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
    if (torch := sys.modules.get("torch")) is not None:
        threads["torch"] = torch.get_num_threads()
    packages = {name: _version(name) for name in PACKAGES}
    return {"versions": {"python": platform.python_version(), "pasand": __version__} | packages, "threads": threads}


def environment_text() -> str:
    """Return the versions and threads in words."""
    found = environment()
    versions = ", ".join(f"{name} {version or 'not installed'}" for name, version in found["versions"].items())
    return f"{versions}; threads: {', '.join(f'{name} {count}' for name, count in found['threads'].items())}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
