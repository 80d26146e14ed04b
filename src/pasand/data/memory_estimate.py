"""How much memory data and models will need, told before training starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pasand.data.dataset import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes that work will need at its peak."""

    data: int
    """The events, their groupings by user and by item, and the impressions."""
    model: int
    """What is learnt, and what is held while learning."""
    free: int | None
    """What the machine has left now; None: unknown."""

    @property
    def total(self) -> int:
        """All that is needed."""
        return self.data + self.model

    @property
    def fits(self) -> bool:
        """Whether it fits into what is free; true where that is unknown."""
        return self.free is None or self.total <= self.free

    def __str__(self) -> str:
        """Return the estimate as a person reads it.

        >>> print(Estimate(data=2_000_000, model=8_000_000_000, free=4_000_000_000))
        memory needed about 8.0 GB (data 2.0 MB, model 8.0 GB), free 4.0 GB: this will not fit
        """
        text = f"memory needed about {_size(self.total)} (data {_size(self.data)}, model {_size(self.model)})"
        if self.free is not None:
            text += f", free {_size(self.free)}" + ("" if self.fits else ": this will not fit")
        return text


def estimate(data: Dataset, *, dimensions: int = 0, copies: int = 3, item_matrices: int = 0) -> Estimate:
    """Return the memory that training needs, to be held against what is free.

    `dimensions` counts the float32 learnt per user and per item, held in so many `copies`: three are parameters,
    gradient or system, and the best epoch; Adam's two means make it five, an average of the weights six.
    `item_matrices` counts float64 matrices of items by items, as EASE and dense item neighbours hold two.
    """
    events = 4 + 4 + 8 + (0 if data.value is None else 4) + 4 * len(data.columns)
    # by user: place and item; the sparse matrix twice, by rows and by columns
    groups = (8 + 4) + 2 * (4 + 4)
    held = len(data) * (events + groups) + 8 * (data.n_users + data.n_items)
    if data.impressions is not None:
        held += data.impressions.nbytes
    model = copies * 4 * dimensions * (data.n_users + data.n_items) + 8 * item_matrices * data.n_items**2
    return Estimate(data=held, model=model, free=free_bytes())


def free_bytes() -> int | None:
    """Return the bytes of memory that new work may take on this machine; None where that is not told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    limits = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")]
    try:
        most, used = (int(path.read_text()) for path in limits)
    except (OSError, ValueError):
        return free
    return min(free, max(0, most - used))


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
