"""Overwrites what SQLite leaves of removed rows in the unused middle of its pages, in place and in short steps.

`secure_delete` overwrites a removed row, but not the copies that remained where rows were moved between pages earlier.
They lie in the gap between a page's list of rows and the rows, which no reader of the file looks at. `VACUUM` would
remove them as well, but keeps others from writing for as long as it takes to copy the whole file.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

PATIENCE, RETRY_SECONDS = 2.0, 1.0
"""Seconds after which a deletion returns although the file is not scrubbed, and seconds until the next attempt."""
STEP_SECONDS = 0.05
"""Time after which others may write again."""
BUSY_SECONDS = 0.02
"""Wait while the write-ahead log is being read or written."""
CHUNK = 1 << 22
"""Bytes that are read at once."""
TREES = {2: 12, 5: 12, 10: 8, 13: 8}
"""Bytes of the head of a page of a tree, by the first byte of the page, its kind; other kinds hold no rows."""
MARK = "INSERT INTO counter VALUES (?, ?) ON CONFLICT DO UPDATE SET last = excluded.last"
COUNTER = "SELECT coalesce(max(last), 0) FROM counter WHERE name = ?"


def is_due(connection: sqlite3.Connection) -> bool:
    """Return whether a user was forgotten since the file was last scrubbed from its beginning to its end."""
    forgotten, scrubbed = (connection.execute(COUNTER, (name,)).fetchone()[0] for name in ("forgotten", "scrubbed"))
    return bool(forgotten > scrubbed)


def scrub(path: Path, seconds: float, ended: threading.Event) -> bool:
    """Empty the write-ahead log and overwrite the gaps of all pages.

    Returns False, unfinished, after `seconds` or when `ended` is set. Readers go on reading; others wait for a step at
    most before they write. A crash at any point leaves a valid file. Raises sqlite3.Error and OSError.
    """
    end = time.monotonic() + seconds
    # a connection of its own, since all others notice the commit of a step and drop the pages that they have cached
    with closing(_connect(path)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        forgotten = connection.execute(COUNTER, ("forgotten",)).fetchone()[0]
        position: int | None = 0
        while position is not None:
            if time.monotonic() > end or ended.is_set():
                return False
            after = _step(connection, path, position, forgotten)
            if after == position:
                time.sleep(BUSY_SECONDS)
            position = after
    return True


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=5 * BUSY_SECONDS, isolation_level=None)


def _step(connection: sqlite3.Connection, path: Path, position: int, forgotten: int) -> int | None:
    """Scrub from a position of the file on and return where the next step begins; None at the end of the file.

    The position itself is returned if others write, or read the write-ahead log.
    """
    try:
        if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            return position
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return position
    try:
        # No other can write now. If the log is empty, the file is complete, and no process has pages to copy into it.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            return position
        after = _overwrite_gaps(_descriptor(path), position)
        connection.execute(MARK, ("scrubbed", forgotten) if after is None else ("scrub step", after))
        connection.execute("COMMIT")
        return after
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _overwrite_gaps(file: int, position: int) -> int | None:
    """Write zeros into the gaps of the pages from a position on; return where it stopped, None at the file's end."""
    head = os.pread(file, 100, 0)
    size = int.from_bytes(head[16:18]) if head[16:18] != b"\0\1" else 65536
    end, until = os.fstat(file).st_size, time.monotonic() + STEP_SECONDS
    position = max(position, size)  # the first page describes the tables
    while position < end and time.monotonic() < until:
        content = os.pread(file, CHUNK // size * size, position)
        for start in range(0, len(content), size):
            kind = content[start]
            if kind in TREES:
                rows, first = (int.from_bytes(content[start + i : start + i + 2]) for i in (3, 5))
                gap = TREES[kind] + 2 * rows
                if content[start + gap : start + (first or 65536)].strip(b"\0"):
                    os.pwrite(file, bytes((first or 65536) - gap), position + start + gap)
        position += len(content)
    os.fsync(file)
    return position if position < end else None


def _descriptor(path: Path) -> int:
    """Return the descriptor by which SQLite has opened a file.

    Another one must not be opened: closing it would release all locks that SQLite holds for this process. SQLite does
    not close the descriptors of a file while one of its connections is in a transaction.
    """
    wanted = path.stat()
    for name in os.listdir("/dev/fd"):
        try:
            found = os.fstat(int(name))
            same = (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
            if same and fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
                return int(name)
        except OSError:
            continue
    raise OSError(f"{path}: no connection has opened the file")


class Scrubber:
    """Scrubs a file after users were forgotten; what a reader of the write-ahead log delays, a thread does later."""

    def __init__(self, path: Path) -> None:
        self._path, self._ended, self._lock, self._begun = path, threading.Event(), threading.Lock(), False

    def scrub(self) -> None:
        """Scrub now if that takes at most `PATIENCE` seconds, else go on in a thread; never raises."""
        if not self._scrubbed(PATIENCE):
            self.begin()

    def begin(self) -> None:
        """Scrub in a thread, again and again until it succeeds."""
        with self._lock:
            if self._begun or self._ended.is_set():
                return
            self._begun = True
        threading.Thread(target=self._work, name="pasand scrub", daemon=True).start()

    def end(self) -> None:
        """Stop soon; what is not done yet is done when the state is opened again."""
        self._ended.set()

    def _work(self) -> None:
        while not self._ended.wait(RETRY_SECONDS):
            if self._scrubbed(math.inf):
                with self._lock:
                    if not self._is_due():
                        self._begun = False
                        return

    def _is_due(self) -> bool:
        with suppress(sqlite3.Error), closing(_connect(self._path)) as connection:
            return is_due(connection)
        return True

    def _scrubbed(self, seconds: float) -> bool:
        try:
            return scrub(self._path, seconds, self._ended)
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s: data of forgotten users are not overwritten yet: %s", self._path, error)
            return False
