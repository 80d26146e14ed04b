"""Log of requests: one line of JSON each on standard output."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from pasand.serving.logs.lines import LineWriter, records_lost

FLUSH_SECONDS = 0.2
"""Seconds between a line and its output, together with the lines added meanwhile."""
STANDARD_OUTPUT = 1


class RequestLog:
    """Writes structured log lines to standard output, several at a time, and never waits for their reader."""

    def __init__(self, enabled: bool) -> None:
        self._enabled, self._scheduled = enabled, False
        self._lines: list[str] = []
        self._writer = LineWriter(STANDARD_OUTPUT)

    @property
    def lost(self) -> int:
        """Lines of this log, and of Python's logging, that could not be written."""
        return self._writer.lost + records_lost()

    def add(self, **fields: Any) -> None:
        """Write the fields as a line of JSON soon; the event loop must be running."""
        if not self._enabled:
            return
        self._lines.append(msgspec.json.encode(fields).decode())
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand the waiting lines to the thread that writes them."""
        lines, self._lines, self._scheduled = self._lines, [], False
        if lines:
            self._writer.write(lines)

    def close(self) -> None:
        """Write the waiting lines, if their reader takes them within a second."""
        self.flush()
        self._writer.close()
