"""Log of requests: one line of JSON each on standard output."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

FLUSH_SECONDS = 0.2
"""Seconds between a line and its output, together with the lines added meanwhile."""


class RequestLog:
    """Writes structured log lines to standard output, several at a time."""

    def __init__(self, enabled: bool) -> None:
        self._enabled, self._scheduled = enabled, False
        self.lost = 0
        """Lines that could not be written."""
        self._lines: list[str] = []

    def add(self, **fields: Any) -> None:
        """Write the fields as a line of JSON soon; the event loop must be running."""
        if not self._enabled:
            return
        self._lines.append(msgspec.json.encode(fields).decode())
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the waiting lines; if the disk is full they are lost and counted."""
        lines, self._lines, self._scheduled = self._lines, [], False
        if lines:
            try:
                print("\n".join(lines), flush=True)
            except OSError:
                self.lost += len(lines)
