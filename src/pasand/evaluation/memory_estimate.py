"""The memory that a piece of work takes at its peak."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import Estimate, estimate
from pasand.models.classical.ease import EASE
from pasand.models.dimensions import carried
from pasand.models.towers.tower import DeepTower

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak start anew from what is held now; does nothing where the system does not offer it."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """Return the largest resident memory since `forget_peak` (else since the start) in 2**20 bytes; nan if unknown."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return _peak_of_process()


def _peak_of_process() -> float:
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def needed(data: Dataset, models: Iterable[object]) -> Estimate:
    """Return the memory that fitting these models to the data will take at its peak, one after another."""
    models = list(models)
    asked = [
        (5 + (model.averaging > 0) if isinstance(model, DeepTower) else 3, model.dimensions or carried(data.n_items))
        for model in models
        if hasattr(model, "dimensions")
    ]
    copies, dimensions = max(asked, key=lambda each: each[0] * each[1], default=(3, 0))
    matrices = 2 if any(isinstance(model, EASE) for model in models) else 0
    return estimate(data, dimensions=dimensions, copies=copies, item_matrices=matrices)
