"""A connection to the SQLite file of a state, of one thread."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path

from pasand.serving.states import sqlite_seen

RETRY_SECONDS = 0.001
"""Time between two attempts to be the one that writes."""


class Connection:
    """A connection that is closed when the thread that owns it ends, or by `close` of any thread."""

    def __init__(self, path: Path, timeout: float) -> None:
        """Connect to an existing file, waiting up to `timeout` seconds; raises sqlite3.Error and OSError."""
        self.file, self.checked_until, self._wait = file_of(path), 0.0, timeout
        address = f"{path.as_uri()}?mode=rw"
        self.connection = sqlite3.connect(
            address, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
        )
        self._closing = weakref.finalize(self, self.connection.close)
        self.lock = threading.Lock()
        """Held during each operation: closing a connection that another thread uses would crash the process."""
        for pragma in ("synchronous = FULL", "secure_delete = ON", f"cache_size = {-(1 << 15)}"):
            self.connection.execute(f"PRAGMA {pragma}")
        self._use_write_ahead_log(time.monotonic() + timeout)
        sqlite_seen.upgrade(self.connection)

    def _use_write_ahead_log(self, deadline: float) -> None:
        """Switch to a write-ahead log; retries, since SQLite refuses at once while another process creates the file."""
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return not self._closing.alive

    def close(self) -> None:
        """Close the connection, after the operation in progress."""
        with self.lock:
            self._closing()

    def begin(self, seconds: float) -> None:
        """Begin a transaction that keeps others from writing, waiting at most this long for those that write now.

        Tries again each millisecond. SQLite itself would wait ever longer between two attempts, so that processes that
        write all the time could keep others out for seconds. Raises sqlite3.OperationalError.
        """
        self.wait(0)
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(RETRY_SECONDS)

    def wait(self, seconds: float) -> None:
        """Wait from now on at most this long for others that have locked the file."""
        if seconds != self._wait:
            self.connection.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
            self._wait = seconds


def file_of(path: Path) -> tuple[int, int]:
    """Return what identifies the file of this name; raises OSError if there is none."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
