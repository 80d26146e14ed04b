"""Parquet files of an impression log: named in rising order in one folder that several processes write to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

RETENTION_SECONDS = 86_400
"""How long other processes see which users were forgotten; none delays its pending impressions for that long."""


class ForgottenUser(NamedTuple):
    """A user whose impressions up to a time must not be written."""

    digest: str
    uptime: float
    """Time of the request to forget, by `uptime`."""


def uptime() -> float:
    """Return the seconds since this machine booted, the same for all processes and unaffected by clock changes."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def log_files(folder: Path) -> list[Path]:
    """Return the complete files of a log, oldest first."""
    return sorted(folder.glob("shown-*.parquet"))


def next_file(folder: Path) -> Path:
    """Return the path of the next file: named by the clock, but always after the existing files."""
    files = log_files(folder)
    last = int(files[-1].stem.removeprefix("shown-")) if files else 0
    return folder / f"shown-{max(last + 1, time.time_ns() // 1000):017d}.parquet"


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """Return a frame as the content of a Parquet file."""
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that exists completely or not at all, and survives a power failure."""
    part = path.with_suffix(".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_oldest(folder: Path, max_bytes: int) -> None:
    """Remove the oldest files of a log until the rest take at most `max_bytes`; raises OSError if that is negative."""
    if max_bytes < 0:
        raise OSError(errno.EFBIG, "one file is larger than the limit for all files")
    files = log_files(folder)
    sizes = [path.stat().st_size for path in files]
    total = sum(sizes)
    for path, size in zip(files, sizes, strict=True):
        if total <= max_bytes:
            return
        path.unlink()
        total -= size


def remove_user(path: Path, user: str) -> int:
    """Rewrite a file of the log without a user's impressions and return their number, 0 if the file is gone."""
    if not path.exists() or user not in pl.read_parquet(path, columns=["user"], glob=False)["user"]:
        return 0
    frame = pl.read_parquet(path, glob=False)
    kept = frame.filter(pl.col("user") != user)
    if len(kept):
        write_atomically(path, parquet_bytes(kept))
    else:
        path.unlink()
    return len(frame) - len(kept)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which excludes all other processes and is released when its holder dies."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def add_forgotten(folder: Path, user: ForgottenUser) -> None:
    """Record a user whose impressions all processes that write to the folder leave out; the folder must be locked."""
    recent = [other for other in forgotten_users(folder) if 0 <= user.uptime - other.uptime < RETENTION_SECONDS]
    write_atomically(folder / ".forgotten", msgspec.json.encode([*recent, user]))


def forgotten_users(folder: Path) -> list[ForgottenUser]:
    """Return the users whose impressions are left out; records from before the last reboot are done and skipped."""
    try:
        users = msgspec.json.decode((folder / ".forgotten").read_bytes(), type=list[ForgottenUser])
    except FileNotFoundError:
        return []
    now = uptime()
    return [user for user in users if user.uptime <= now]


def user_digest(user: str) -> str:
    """Return what the folder keeps of a forgotten user, as named in its files: 32 hexadecimal digits."""
    return hashlib.blake2b(user.encode(), digest_size=16, person=b"pasand forgotten").hexdigest()
