"""Peak memory of fitting and evaluating: the measured one, and an estimate before training."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import Estimate, estimate
from pasand.errors import InputError
from pasand.models.classical.ease import EASE
from pasand.models.dimensions import default_dimensions
from pasand.models.towers.tower import DeepTower

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Reset the peak to the memory in use now; does nothing on systems without that feature."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """Return the peak resident memory since `reset_peak` (or since the start) in 2**20 bytes; nan if unknown."""
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


def training_memory(data: Dataset, models: Iterable[object]) -> Estimate:
    """Return the estimated peak memory of fitting these models to the data, one after another."""
    models = list(models)
    tables = [  # copies of the parameters while training, and dimensions
        (
            5 + (model.averaging > 0) if isinstance(model, DeepTower) else 3,
            model.dimensions or default_dimensions(data.n_items),
        )
        for model in models
        if hasattr(model, "dimensions")
    ]
    copies, dimensions = max(tables, key=lambda table: table[0] * table[1], default=(3, 0))
    matrices = 2 if any(isinstance(model, EASE) for model in models) else 0
    return estimate(data, dimensions=dimensions, copies=copies, item_matrices=matrices)


def check_memory(needed: Estimate, where: str) -> None:
    """Raise InputError if the estimate of a model alone exceeds the free memory; the data are in memory already."""
    if needed.free is not None and needed.model > needed.free:
        cause = f"too large for this machine: {needed}"
        raise InputError(where, cause=cause, cure="choose a smaller model, fewer items or a machine with more memory")


def is_near_limit(needed: Estimate) -> bool:
    """Return whether a model is expected to need more than two thirds of the free memory."""
    return needed.free is not None and needed.model > needed.free * 2 // 3
