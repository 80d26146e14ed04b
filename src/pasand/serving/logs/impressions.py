"""Log of impressions: a background thread writes the shown items as Parquet files of bounded total size.

Files are named by rising numbers and appear under their names only when they are complete. Several processes may log
to one folder. If a process is killed, the impressions that were not yet written are lost, at most those of the last
`max_seconds`.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from pasand.errors import InputError
from pasand.serving.logs.segments import (
    ForgottenUser,
    add_forgotten,
    folder_lock,
    forgotten_users,
    log_files,
    next_file,
    parquet_bytes,
    remove_oldest,
    remove_user,
    uptime,
    user_digest,
    write_atomically,
)
from pasand.serving.private_files import make_private_folder
from pasand.serving.schemas import Recommended

logger = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of the system for a full disk, an exhausted quota and a file-size limit."""
CHUNK = 4_000
"""Impressions that are converted to a frame at once, while the thread holds Python's lock."""
POLL_SECONDS = 0.25
"""Seconds between two looks at the queue."""
REPORT_SECONDS = 60.0
"""Seconds between two log lines about lost impressions."""
SCHEMA = {
    "request_id": pl.String,
    "time": pl.Int64,
    "user": pl.String,
    "item": pl.String,
    "position": pl.Int32,
    "score": pl.Float32,
    "propensity": pl.Float64,
    "slot_propensity": pl.Float64,
    "list_propensity": pl.Float64,
    "variant": pl.String,
    "bundle": pl.String,
}
"""Columns of the files."""
ITEM_COLUMNS = {
    "item": "item_id",
    "position": "rank",
    "score": "score",
    "propensity": "propensity",
    "slot_propensity": "slot_propensity",
}
"""Columns that differ between the items of a response, and the fields of `Recommended` that fill them."""
RECEIVED = "received"
"""Column of impressions that wait to be written: when they were added, by `segments.uptime`."""


class ImpressionList(NamedTuple):
    """The items that one response showed."""

    request_id: str
    time: int
    """Seconds since 1970, UTC."""
    user: str
    items: Sequence[Recommended]
    """Items with their positions, from 1, and their propensities if a stage drew them at random."""
    variant: str
    bundle: str
    """Digest of the bundle that responded."""
    list_propensity: float | None = None
    """Probability of the drawn items together, if a stage drew any."""


class ImpressionLog:
    """Writes impressions in a thread of its own and removes those of users who want to be forgotten."""

    def __init__(
        self,
        folder: str | Path,
        *,
        max_rows: int = 100_000,
        max_seconds: float = 300.0,
        max_bytes: int = 1_000_000_000,
        queue_size: int = 200_000,
        secret: bytes | None = None,
    ) -> None:
        """Start logging into the folder and remove incomplete files that a crash left there.

        A file is written when it has `max_rows` impressions or its first is `max_seconds` old. The oldest files are
        removed so that all together take at most `max_bytes`. `queue_size` limits the impressions that wait for the
        thread. With `secret`, users are written as `hash_user` returns them. Raises InputError if the folder cannot be
        written to.
        """
        if min(max_rows, max_seconds, max_bytes, queue_size) <= 0:
            raise ValueError("max_rows, max_seconds, max_bytes and queue_size must be positive")
        self.folder = Path(folder)
        self.max_rows, self.max_seconds, self.max_bytes = max_rows, max_seconds, max_bytes
        self.queue_size = queue_size
        self.lost: Counter[str] = Counter()
        """Impressions that were not written, by cause: queue full, disk full, error, closed."""
        self.written = 0
        """Impressions that were written."""
        self._secret = secret
        self._queue: deque[tuple[float, ImpressionList | None, _Command | None]] = deque()
        self._queued = 0
        self._frames: list[pl.DataFrame] = []
        self._last_error, self._reported, self._reported_at = "", 0, -REPORT_SECONDS
        self._closing = False
        self._wake = threading.Event()
        self._counting = threading.Lock()
        try:
            make_private_folder(self.folder)
            with folder_lock(self.folder):
                for part in self.folder.glob("*.part"):
                    part.unlink()
        except OSError as error:
            raise InputError(folder, cause=f"cannot be written to: {error}", cure="name another folder") from None
        self._thread = threading.Thread(target=self._work, name="pasand impressions", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def add(self, shown: ImpressionList) -> None:
        """Queue impressions to be written; returns at once, never raises, and counts them as lost if the queue is full.

        After `close` they are counted as lost, too.
        """
        with self._counting:
            if self._closing or self._queued + len(shown.items) > self.queue_size:
                self.lost["closed" if self._closing else "queue full"] += len(shown.items)
                return
            self._queued += len(shown.items)
            self._queue.append((uptime(), shown, None))
        if self._queued * 2 > self.queue_size:
            self._wake.set()

    def forget(self, user: str) -> int:
        """Remove a user's impressions, queued ones included, and return their number; slow if the log is large.

        Other processes that log to the folder drop theirs before they write them. Raises OSError if the files cannot be
        rewritten.
        """
        return self._run(_Command(user))

    def flush(self) -> None:
        """Return when all impressions added before are in files, or lost."""
        self._run(_Command(None))

    def close(self) -> None:
        """Write what is queued and end the thread; called at the end of the process if not before."""
        atexit.unregister(self.close)
        with self._counting:
            self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self, command: _Command) -> int:
        """Return the result of a command, which the thread executes or, after `close`, the caller."""
        with self._counting:
            closed = self._closing
            if not closed:
                self._queue.append((command.uptime, None, command))
        self._wake.set()
        if closed:
            self._thread.join()
            self._execute(command)
        return command.result.result()

    def _work(self) -> None:
        while True:
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            closing = self._closing
            self._drain()
            if closing or (self._frames and uptime() - self._frames[0][RECEIVED][0] >= self.max_seconds):
                self._write()
            self._report_losses()
            if closing:
                return

    def _drain(self) -> None:
        """Convert the queued impressions to frames and execute the queued commands."""
        while self._queue:
            received, shown, command = self._queue.popleft()
            if command is not None:
                self._execute(command)
                continue
            lists, count = [], 0
            while shown is not None:
                lists.append((received, shown))
                count += len(shown.items)
                if count >= CHUNK or not self._queue or self._queue[0][1] is None:
                    break
                received, shown, _ = self._queue.popleft()
            self._convert(lists, count)
            if sum(map(len, self._frames)) >= self.max_rows:
                self._write()

    def _convert(self, lists: list[tuple[float, ImpressionList]], count: int) -> None:
        with self._counting:
            self._queued -= count
        try:
            frame = _frame(lists)
            if self._secret is not None:
                names = [hash_user(user, self._secret) for user in frame["user"]]
                frame = frame.with_columns(pl.Series("user", names, pl.String))
            self._frames.append(frame)
        except Exception as error:
            self._lose(count, error)

    def _execute(self, command: _Command) -> None:
        try:
            if command.user is None:
                self._write()
            command.result.set_result(0 if command.user is None else self._forget(command.user, command.uptime))
        except Exception as error:
            command.result.set_exception(error)

    def _write(self) -> None:
        """Write the pending frames as one file; if that fails they are lost."""
        frames, self._frames = self._frames, []
        if not frames:
            return
        count = sum(map(len, frames))
        try:
            with folder_lock(self.folder):
                frame = _without_forgotten(pl.concat(frames), forgotten_users(self.folder))
                if len(frame):
                    content = parquet_bytes(frame)
                    remove_oldest(self.folder, self.max_bytes - len(content))
                    write_atomically(next_file(self.folder), content)
            self.written += len(frame)
        except Exception as error:
            self._lose(count, error)

    def _lose(self, count: int, error: Exception) -> None:
        full = isinstance(error, OSError) and error.errno in DISK_FULL
        with self._counting:
            self.lost["disk full" if full else "error"] += count
            self._last_error = f" ({error})"

    def _report_losses(self) -> None:
        """Log the losses since the last line, at most once in `REPORT_SECONDS` and at the end."""
        now = time.monotonic()
        with self._counting:
            lost = self.lost.copy()
        count = lost.total()
        if count > self._reported and (now - self._reported_at >= REPORT_SECONDS or self._closing):
            causes = ", ".join(f"{cause} {number:,}" for cause, number in sorted(lost.items()))
            message = "%s: %d impressions were lost; since the start: %s%s"
            logger.warning(message, self.folder, count - self._reported, causes, self._last_error)
            self._reported, self._reported_at = count, now

    def _forget(self, user: str, requested: float) -> int:
        name = user if self._secret is None else hash_user(user, self._secret)
        kept = [frame.filter(pl.col("user") != name) for frame in self._frames]
        removed = sum(map(len, self._frames)) - sum(map(len, kept))
        self._frames = [frame for frame in kept if len(frame)]
        with folder_lock(self.folder):
            add_forgotten(self.folder, ForgottenUser(user_digest(name), requested))
            paths = log_files(self.folder)
        for path in paths:
            with folder_lock(self.folder):
                removed += remove_user(path, name)
        return removed


class _Command:
    """Work for the thread between two impressions: forget a user or, for None, write what is queued."""

    def __init__(self, user: str | None) -> None:
        self.user, self.uptime = user, uptime()
        self.result: Future[int] = Future()


def hash_user(user: str, secret: bytes) -> str:
    """Return the name of a user in a log with hashed users: keyed BLAKE2b, 32 hexadecimal digits.

    Only the first 64 bytes of the secret count.
    """
    return hashlib.blake2b(user.encode(), key=secret[:64], digest_size=16).hexdigest()


def _frame(lists: list[tuple[float, ImpressionList]]) -> pl.DataFrame:
    """Return one row for each shown item, with the time when it was added."""
    items = [item for _, shown in lists for item in shown.items]
    row = np.repeat(np.arange(len(lists)), [len(shown.items) for _, shown in lists])  # of `lists`, by item
    columns = [pl.Series(RECEIVED, [received for received, _ in lists]).gather(row)]
    for name, kind in SCHEMA.items():
        field = attrgetter(ITEM_COLUMNS.get(name, name))
        if name in ITEM_COLUMNS:
            columns.append(pl.Series(name, list(map(field, items)), kind))
        else:
            columns.append(pl.Series(name, [field(shown) for _, shown in lists], kind).gather(row))
    return pl.DataFrame(columns).select(*SCHEMA, RECEIVED)


def _without_forgotten(frame: pl.DataFrame, users: list[ForgottenUser]) -> pl.DataFrame:
    """Return the impressions as they are written, without those added before their user was forgotten."""
    until = {user.digest: user.uptime for user in users}
    digests = {name: user_digest(name) for name in frame["user"].unique()} if until else {}
    forgotten = {name: until[digest] for name, digest in digests.items() if digest in until}
    if forgotten:
        since = pl.col("user").replace_strict(forgotten, default=0.0, return_dtype=pl.Float64)
        frame = frame.filter(pl.col(RECEIVED) >= since)
    return frame.drop(RECEIVED)
