"""Now, for a service: the system's clock, which may be set back, and data of the past, whose now is long ago."""

from __future__ import annotations

from collections.abc import Callable
from time import time

BACK = 300
"""Seconds by which a clock is commonly set right; beyond, it was wrong before."""


class Clock:
    """Gives now in whole seconds since 1970, and stands still where the system's clock is set back a little.

    So what happens later has no earlier time. A clock that is set back by more than `BACK` seconds is believed.
    """

    def __init__(self, wall: Callable[[], float] = time, *, begin: int | None = None) -> None:
        """Begin at `begin`, or where the system's clock stands; `wall` gives the seconds of that."""
        self._wall = wall
        self._ahead = 0 if begin is None else begin - int(wall())
        self._last = int(wall()) + self._ahead

    def __call__(self) -> int:
        now = int(self._wall()) + self._ahead
        if not 0 <= self._last - now <= BACK:
            self._last = now
        return self._last
