"""Estimates the memory that data and models need, before training starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pasand.data.dataset import Dataset
from pasand.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Peak memory of a training run, in bytes."""

    data: int
    """Bytes of the events, their groupings by user and by item, and the impressions."""
    model: int
    """Bytes of the parameters and of the training state."""
    free: int | None
    """Bytes free on the machine now; None: unknown."""

    @property
    def total(self) -> int:
        """Bytes needed in all."""
        return self.data + self.model

    @property
    def fits(self) -> bool:
        """Whether the total fits into the free memory; true where that is unknown."""
        return self.free is None or self.total <= self.free

    def __str__(self) -> str:
        """Return the estimate as a readable sentence.

        >>> print(Estimate(data=2_000_000, model=8_000_000_000, free=4_000_000_000))
        memory needed about 8.0 GB (data 2.0 MB, model 8.0 GB), free 4.0 GB: this will not fit
        """
        text = f"memory needed about {_size(self.total)} (data {_size(self.data)}, model {_size(self.model)})"
        if self.free is not None:
            text += f", free {_size(self.free)}" + ("" if self.fits else ": this will not fit")
        return text


def estimate(data: Dataset, *, model: int = 0) -> Estimate:
    """Return the memory that training needs, of which `model` bytes beside the data, and the memory that is free."""
    events = 4 + 4 + 8 + (0 if data.value is None else 4) + 4 * len(data.columns)
    # by user: event and item; the sparse matrix twice, by rows and by columns
    groups = (8 + 4) + 2 * (4 + 4)
    data_bytes = len(data) * (events + groups) + 8 * (data.n_users + data.n_items)
    if data.impressions is not None:
        data_bytes += data.impressions.nbytes
    return Estimate(data=data_bytes, model=model, free=free_bytes())


def require_memory(model: str, data: Dataset, needed: int, cure: str, n_items: int | None = None) -> None:
    """Raise InputError if fitting a model to this many items needs more bytes than are free; None: all items."""
    free = free_bytes()
    if free is not None and needed > free:
        cause = f"{model} needs {_size(needed)} for {n_items or data.n_items:,} items squared, {_size(free)} are free"
        raise InputError(data.name, cause=cause, cure=cure)


def free_bytes() -> int | None:
    """Return the bytes of memory available on this machine, within its cgroup limit; None where that is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    paths = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")]
    try:
        limit, used = (int(path.read_text()) for path in paths)
    except (OSError, ValueError):
        return free
    return min(free, max(0, limit - used))


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
