"""The log of impressions: what was shown, as Parquet files in a folder of bounded size; whoever shows never waits.

Files are named by rising numbers and stand under their names only when they are whole. Several processes may log into
one folder. What nobody has written yet, the last `seconds` at most, is lost where a process is killed.
"""

from __future__ import annotations

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
    Forgotten,
    digest,
    forgotten,
    locked,
    log_files,
    make_room,
    moment,
    next_file,
    parquet,
    remember,
    rewrite,
    write_whole,
)
from pasand.serving.schemas import Recommended

logger = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk, or a share of it, is full."""
PIECE = 4_000
"""Impressions that are made into a frame at once; the lock of Python is held meanwhile."""
PAUSE = 0.25
"""Seconds between two looks at what was shown."""
TOLD_EVERY = 60.0
"""Seconds between two lines that tell of losses."""
SCHEMA = {
    "request_id": pl.String,
    "time": pl.Int64,
    "user": pl.String,
    "item": pl.String,
    "position": pl.Int32,
    "score": pl.Float32,
    "propensity": pl.Float32,
    "variant": pl.String,
    "bundle": pl.String,
}
"""Columns of the files."""
OF_ITEMS = {"item": "item", "position": "rank", "score": "score", "propensity": "propensity"}
"""Those that differ between the items of an answer, and what they are called there."""


class ShownList(NamedTuple):
    """What an answer showed."""

    request_id: str
    time: int
    """Seconds since 1970, UTC."""
    user: str
    items: Sequence[Recommended]
    """With the place of each, 1 is the first, and the probability of standing there where a stage drew at random."""
    variant: str
    bundle: str
    """Digest of the bundle that answered."""


TAKEN = "taken over"
"""Column of impressions that wait to be written: when they were handed in, by `log_folder.moment`."""


class ImpressionLog:
    """Writes what was shown, in a thread of its own, and forgets whoever wishes it."""

    def __init__(
        self,
        folder: str | Path,
        *,
        rows: int = 100_000,
        seconds: float = 300.0,
        most_bytes: int = 1_000_000_000,
        room: int = 200_000,
        secret: bytes | None = None,
    ) -> None:
        """Begin to log into the folder, and remove what a crash left there unfinished.

        A file is written when it has `rows` impressions or its first is `seconds` old. The oldest files are removed so
        that all take no more than `most_bytes`. `room`: impressions that may wait for the thread. `secret`: users are
        written as `hashed` by it. Raises InputError where the folder cannot be written to.
        """
        if min(rows, seconds, most_bytes, room) <= 0:
            raise ValueError("rows, seconds, most_bytes and room must be positive")
        self.folder, self.rows, self.seconds, self.most_bytes, self.room = Path(folder), rows, seconds, most_bytes, room
        self.lost: Counter[str] = Counter()
        """Impressions that were not written, by cause: queue full, disk full, error, closed."""
        self.written = 0
        """Impressions that were."""
        self._secret = secret
        self._queue: deque[tuple[float, ShownList | None, _Wish | None]] = deque()
        self._queued = 0
        self._pieces: list[pl.DataFrame] = []
        self._why, self._told, self._told_at = "", 0, -TOLD_EVERY
        self._closing = False
        self._wake = threading.Event()
        self._counting = threading.Lock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder):
                for part in self.folder.glob("*.part"):
                    part.unlink()
        except OSError as error:
            raise InputError(folder, cause=f"cannot be written to: {error}", cure="name another folder") from None
        self._thread = threading.Thread(target=self._work, name="pasand impressions", daemon=True)
        self._thread.start()

    def add(self, shown: ShownList) -> None:
        """Take what was shown to be written, at once and without an error; where there is no room it counts as lost."""
        with self._counting:
            if self._closing or self._queued + len(shown.items) > self.room:
                self.lost["closed" if self._closing else "queue full"] += len(shown.items)
                return
            self._queued += len(shown.items)
            self._queue.append((moment(), shown, None))
        if self._queued * 2 > self.room:
            self._wake.set()

    def forget(self, user: str) -> int:
        """Remove a user's impressions, those that wait too, and return how many; it takes long where the log is large.

        Other processes that log into the folder drop theirs before they write them. Raises OSError where the files
        cannot be rewritten.
        """
        return self._wish(_Wish(user))

    def flush(self) -> None:
        """Return when everything that was shown before is in files, or lost."""
        self._wish(_Wish(None))

    def close(self) -> None:
        """Write what waits and end the thread."""
        with self._counting:
            self._closing = True
        self._wake.set()
        self._thread.join()

    def _wish(self, wish: _Wish) -> int:
        with self._counting:
            closed = self._closing
            if not closed:
                self._queue.append((wish.moment, None, wish))
        self._wake.set()
        if closed:
            self._thread.join()
            self._fulfil(wish)
        return wish.done.result()

    def _work(self) -> None:
        while True:
            self._wake.wait(PAUSE)
            self._wake.clear()
            closing = self._closing
            self._drain()
            if closing or (self._pieces and moment() - self._pieces[0][TAKEN][0] >= self.seconds):
                self._write()
            self._tell()
            if closing:
                return

    def _drain(self) -> None:
        """Take over what was handed in, and fulfil wishes."""
        while self._queue:
            when, shown, wish = self._queue.popleft()
            if wish is not None:
                self._fulfil(wish)
                continue
            some, count = [], 0
            while shown is not None:
                some.append((when, shown))
                count += len(shown.items)
                if count >= PIECE or not self._queue or self._queue[0][1] is None:
                    break
                when, shown, _ = self._queue.popleft()
            self._take(some, count)
            if sum(map(len, self._pieces)) >= self.rows:
                self._write()

    def _take(self, some: list[tuple[float, ShownList]], count: int) -> None:
        with self._counting:
            self._queued -= count
        try:
            frame = _frame(some)
            if self._secret is not None:
                names = [hashed(user, self._secret) for user in frame["user"]]
                frame = frame.with_columns(pl.Series("user", names, pl.String))
            self._pieces.append(frame)
        except Exception as error:
            self._lose(count, error)

    def _fulfil(self, wish: _Wish) -> None:
        try:
            if wish.user is None:
                self._write()
            wish.done.set_result(0 if wish.user is None else self._forget(wish.user, wish.moment))
        except Exception as error:
            wish.done.set_exception(error)

    def _write(self) -> None:
        """Write what waits as one file; what cannot be written is lost."""
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return
        count = sum(map(len, pieces))
        try:
            with locked(self.folder):
                frame = _without(pl.concat(pieces), forgotten(self.folder))
                if len(frame):
                    content = parquet(frame)
                    make_room(self.folder, self.most_bytes - len(content))
                    write_whole(next_file(self.folder), content)
            self.written += len(frame)
        except Exception as error:
            self._lose(count, error)

    def _lose(self, count: int, error: Exception) -> None:
        full = isinstance(error, OSError) and error.errno in FULL
        with self._counting:
            self.lost["disk full" if full else "error"] += count
            self._why = f" ({error})"

    def _tell(self) -> None:
        """Log what was lost since the last line, once a minute at most."""
        now = time.monotonic()
        with self._counting:
            lost = self.lost.copy()
        count = lost.total()
        if count > self._told and (now - self._told_at >= TOLD_EVERY or self._closing):
            causes = ", ".join(f"{cause} {number:,}" for cause, number in sorted(lost.items()))
            told = "%s: %d impressions were lost; since the start: %s%s"
            logger.warning(told, self.folder, count - self._told, causes, self._why)
            self._told, self._told_at = count, now

    def _forget(self, user: str, when: float) -> int:
        name = user if self._secret is None else hashed(user, self._secret)
        left = [frame.filter(pl.col("user") != name) for frame in self._pieces]
        removed = sum(map(len, self._pieces)) - sum(map(len, left))
        self._pieces = [frame for frame in left if len(frame)]
        with locked(self.folder):
            remember(self.folder, Forgotten(digest(name), when))
            paths = log_files(self.folder)
        for path in paths:
            with locked(self.folder):
                removed += rewrite(path, name)
        return removed


class _Wish:
    """What the thread is asked to do between two impressions: forget a user, or None: write what waits."""

    def __init__(self, user: str | None) -> None:
        self.user, self.moment = user, moment()
        self.done: Future[int] = Future()


def hashed(user: str, secret: bytes) -> str:
    """Return what a user is called in a log whose users are hashed: keyed BLAKE2b, 32 hexadecimal digits.

    Of the secret the first 64 bytes count.
    """
    return hashlib.blake2b(user.encode(), key=secret[:64], digest_size=16).hexdigest()


def _frame(some: list[tuple[float, ShownList]]) -> pl.DataFrame:
    """Return a row for each item that was shown, and when it was handed in."""
    placed = [one for _, shown in some for one in shown.items]
    answer = np.repeat(np.arange(len(some)), [len(shown.items) for _, shown in some])
    columns = [pl.Series(TAKEN, [when for when, _ in some]).gather(answer)]
    for name, kind in SCHEMA.items():
        told = attrgetter(OF_ITEMS.get(name, name))
        if name in OF_ITEMS:
            columns.append(pl.Series(name, list(map(told, placed)), kind))
        else:
            columns.append(pl.Series(name, [told(shown) for _, shown in some], kind).gather(answer))
    return pl.DataFrame(columns).select(*SCHEMA, TAKEN)


def _without(frame: pl.DataFrame, gone_until: list[Forgotten]) -> pl.DataFrame:
    """Return the impressions as they are written, without those handed in before their user was forgotten."""
    until = {one.digest: one.moment for one in gone_until}
    names = {name: digest(name) for name in frame["user"].unique()} if until else {}
    gone = {name: until[mark] for name, mark in names.items() if mark in until}
    if gone:
        since = pl.col("user").replace_strict(gone, default=0.0, return_dtype=pl.Float64)
        frame = frame.filter(pl.col(TAKEN) >= since)
    return frame.drop(TAKEN)
