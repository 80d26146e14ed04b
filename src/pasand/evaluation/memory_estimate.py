"""Peak memory of fitting and evaluating: the measured one, and an estimate before training."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import Estimate, estimate
from pasand.errors import InputError
from pasand.models.deep_model import DeepModel
from pasand.models.dimensions import default_dimensions

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
    return estimate(data, model=max((_needed(data, model) for model in models), default=0))


def _needed(data: Dataset, model: object) -> int:
    """Return the bytes that a model needs beside the data: its own forecast, or copies of its table of vectors.

    The copies are three for the parameters, the gradient (or linear system) and the best epoch, five with Adam's two
    running means, six with a weight average; 0 for a model without vectors.
    """
    forecast = getattr(model, "memory_needed", None)
    if forecast is not None:
        return int(forecast(data))
    if not hasattr(model, "dimensions"):
        return 0
    copies = 5 + (model.averaging > 0) if isinstance(model, DeepModel) else 3
    return int(copies * 4 * (model.dimensions or default_dimensions(data.n_items)) * (data.n_users + data.n_items))


def check_memory(needed: Estimate, where: str) -> None:
    """Raise InputError if the estimate of a model alone exceeds the free memory; the data are in memory already."""
    if needed.free is not None and needed.model > needed.free:
        cause = f"too large for this machine: {needed}"
        raise InputError(where, cause=cause, cure="choose a smaller model, fewer items or a machine with more memory")


def is_near_limit(needed: Estimate) -> bool:
    """Return whether a model is expected to need more than two thirds of the free memory."""
    return needed.free is not None and needed.model > needed.free * 2 // 3
