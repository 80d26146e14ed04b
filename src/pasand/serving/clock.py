"""Clock of a service: the system's clock without small steps back, or a clock that starts in the past."""

from __future__ import annotations

from collections.abc import Callable
from time import time

MAX_CORRECTION = 300
"""Seconds of a usual correction of a clock; after a larger step back the new time is believed."""


class Clock:
    """Returns the time in whole seconds since 1970, and holds it while the system's clock is slightly set back.

    So later events never get an earlier time. A step back of more than `MAX_CORRECTION` seconds is followed.
    """

    def __init__(self, wall: Callable[[], float] = time, *, begin: int | None = None) -> None:
        """Start at `begin`, or at the system's time; `wall` returns that, in seconds since 1970."""
        self._wall = wall
        self._offset = 0 if begin is None else begin - int(wall())
        self._last = int(wall()) + self._offset

    def __call__(self) -> int:
        now = int(self._wall()) + self._offset
        if not 0 <= self._last - now <= MAX_CORRECTION:
            self._last = now
        return self._last
