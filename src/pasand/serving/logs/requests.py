"""The log of requests: lines of JSON on standard output."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec


class Lines:
    """Writes structured log lines to standard output, some at a time."""

    def __init__(self, wanted: bool) -> None:
        self._wanted, self._due = wanted, False
        self.lost = 0
        """Lines that could not be written."""
        self._lines: list[str] = []

    def add(self, **told: Any) -> None:
        """Write a line of JSON soon."""
        if not self._wanted:
            return
        self._lines.append(msgspec.json.encode(told).decode())
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(0.2, self.flush)

    def flush(self) -> None:
        """Write what is waiting; what finds no room, on a full disk, is lost."""
        lines, self._lines, self._due = self._lines, [], False
        if lines:
            try:
                print("\n".join(lines), flush=True)
            except OSError:
                self.lost += len(lines)
