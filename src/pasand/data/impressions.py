"""`Impressions`: items shown to users, their positions, whether they were clicked, and logging propensities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pasand.types import Array, Mask, Offsets, Rows, Scores, Times


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """n items shown, clicked or not, in order of time and then of position."""

    user: Rows
    """(n,) row of the user who was shown the item."""
    item: Rows
    """(n,)"""
    time: Times
    """(n,) seconds since 1970, UTC, non-decreasing; all 0 where unknown."""
    position: Rows
    """(n,) position in the list, 1 is the first; 0: unknown."""
    clicked: Mask
    """(n,) whether the item was clicked, watched or bought from this impression."""
    watched_seconds: Scores | None = None
    """(n,) at least 0, and 0 where not clicked; nan: unknown. None: unknown for all."""
    propensity: Scores | None = None
    """(n,) probability with which the item was shown there, in (0, 1]; None: unknown."""
    features: Mapping[str, Array] = field(default_factory=dict)
    """(n, ...) further numbers about each impression."""

    def __post_init__(self) -> None:
        for column in (self.item, self.time, self.position, self.clicked, self.watched_seconds, self.propensity):
            if column is not None and column.shape != self.user.shape:
                raise ValueError(f"columns must have one shape, got {self.user.shape} and {column.shape}")
        for name, values in self.features.items():
            if len(values) != len(self):
                raise ValueError(f"feature {name} must have {len(self)} rows, got {len(values)}")
        if not len(self):
            return
        if self.user.min() < 0 or self.item.min() < 0:
            raise ValueError("user and item must be rows, got -1")
        if self.position.min() < 0:
            raise ValueError(f"position must be at least 0, got {self.position.min()}")
        same = self.time[1:] == self.time[:-1]
        if (self.time[1:] < self.time[:-1]).any() or (same & (self.position[1:] < self.position[:-1])).any():
            raise ValueError("impressions must be in order of time and then of position")
        watched = self.watched_seconds
        if watched is not None and ((watched < 0) | np.isinf(watched) | (~self.clicked & (watched != 0))).any():
            raise ValueError("watched_seconds must be at least 0 and finite, and 0 where not clicked")
        if self.propensity is not None and not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise ValueError("propensity must be in (0, 1]")

    def __len__(self) -> int:
        return len(self.user)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all columns."""
        columns: list[Array | None] = [self.user, self.item, self.time, self.position, self.clicked]
        columns += [self.watched_seconds, self.propensity, *self.features.values()]
        return sum(column.nbytes for column in columns if column is not None)

    def select(self, which: Mask | Offsets | slice) -> Impressions:
        """Return the chosen impressions, which must be given in ascending order."""
        return Impressions(
            user=self.user[which],
            item=self.item[which],
            time=self.time[which],
            position=self.position[which],
            clicked=self.clicked[which],
            watched_seconds=None if self.watched_seconds is None else self.watched_seconds[which],
            propensity=None if self.propensity is None else self.propensity[which],
            features={name: values[which] for name, values in self.features.items()},
        )

    def before(self, time: int | Times) -> Impressions:
        """Return the impressions strictly before a time, or strictly before a time of each user, (U,)."""
        if isinstance(time, np.ndarray) and time.ndim:
            return self.select(self.time < time[self.user])
        return self.select(slice(0, int(np.searchsorted(self.time, time))))

    def since(self, time: int) -> Impressions:
        """Return the impressions at a time and after it."""
        return self.select(slice(int(np.searchsorted(self.time, time)), len(self)))

    @property
    def fingerprint(self) -> str:
        """sha256 of all columns, hexadecimal; features are hashed in order of name."""
        digest = hashlib.sha256()
        columns = (self.user, self.item, self.time, self.position, self.clicked, self.watched_seconds, self.propensity)
        for column in columns:
            digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        for name in sorted(self.features):
            digest.update(name.encode() + b"\0" + np.ascontiguousarray(self.features[name]).tobytes())
        return digest.hexdigest()
