"""Lines of text written by a thread, so that a reader who stops reading stops nothing else."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Sequence

MAX_WAITING = 20_000
"""Lines that wait to be written at most; further ones are dropped and counted."""
MAX_LINE = 20_000
"""Characters of a line of Python's logging at most."""
CLOSE_SECONDS = 1.0
"""Time that is left to the waiting lines at the end."""


class LineWriter:
    """Writes lines to an open file in a thread of its own; no caller waits for the file."""

    def __init__(self, file: int) -> None:
        """Write to a file descriptor, past Python's buffers, whose locks would be held by a stalled write."""
        self._file = file
        self.lost = 0
        """Lines that were dropped or could not be written."""
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._thread: threading.Thread | None = None

    def write(self, lines: Sequence[str]) -> None:
        """Write lines soon; those for which there is no room are lost and counted."""
        with self._changed:
            room = MAX_WAITING - len(self._lines)
            self._lines.extend(lines[:room])
            self.lost += max(0, len(lines) - room)
            if self._thread is None:  # not before the first line, since a fork would lose it
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Return when all lines are written, or after some seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._lines or self._writing), timeout=seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines))
                lines, self._writing = list(self._lines), True
                self._lines.clear()
            written = self._write("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
            with self._changed:
                self._writing = False
                self.lost += 0 if written else len(lines)
                self._changed.notify_all()

    def _write(self, data: bytes) -> bool:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._file, rest) :]
            except BlockingIOError:
                select.select([], [self._file], [])
            except OSError:
                return False
        return True


class LogHandler(logging.Handler):
    """Writes the records of Python's logging through a `LineWriter`."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__(logging.WARNING)
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record soon."""
        try:
            self.writer.write([self.format(record)[:MAX_LINE]])
        except Exception:  # as all handlers do: a record that cannot be formatted ends nothing
            self.writer.lost += 1


def log_from_a_thread() -> LogHandler:
    """Send all records of Python's logging, and warnings, to standard error from a thread; return the handler.

    The handlers of the logger "pasand", which the command line adds, are removed: they would write each record once
    more, and have their callers wait for the reader.
    """
    logging.getLogger("pasand").handlers.clear()
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, LogHandler):
            return handler
    handler = LogHandler(LineWriter(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2))
    root.handlers[:] = [handler]
    logging.captureWarnings(True)
    return handler


def records_lost() -> int:
    """Return how many records of Python's logging were dropped or could not be written."""
    return sum(each.writer.lost for each in logging.getLogger().handlers if isinstance(each, LogHandler))
