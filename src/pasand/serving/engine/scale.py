"""The scale of a log's ratings, which values of events and of histories must be on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pasand.data.dataset import Dataset
from pasand.serving.schemas import RequestError

ENDS = (1.0, 5.0, 10.0, 100.0)
"""Usual highest ratings."""


class Scale(NamedTuple):
    """The lowest and the highest rating that a log may have; infinite where its values are not ratings."""

    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def of(cls, data: Dataset) -> Scale:
        """Return the scale of a log: its range of ratings, extended to a usual one, since a log may lack the extremes.

        From 2 to 4 becomes from 1 to 5; from -3 to 8 becomes from -8 to 8.
        """
        if data.values != "rating" or data.value is None or not np.isfinite(data.value).any():
            return cls()
        low, high = float(np.nanmin(data.value)), float(np.nanmax(data.value))
        if low < 0:
            return cls(-max(-low, high), max(-low, high))
        return cls(min(low, 1.0), next((end for end in ENDS if high <= end), high))

    @property
    def lowest(self) -> float | None:
        """The lowest rating; None where the values are not ratings."""
        return float(self.low) if np.isfinite(self.low) else None

    def check(self, value: float | None, where: str) -> None:
        """Raise RequestError, at the field `where`, for a rating that is not on the scale."""
        if value is not None and not self.low <= value <= self.high:
            cause = f"{value:g} is not on the scale of the log's ratings, from {self.low:g} to {self.high:g}"
            raise RequestError(422, "invalid", cause, where)

    def nearest(self, value: float | None) -> float | None:
        """Return the value of the scale that is nearest to a value; None stays None."""
        return None if value is None else min(max(value, self.low), self.high)
