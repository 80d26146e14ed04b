"""The folder of a log of impressions: whole files in rising order, which several processes write and remove."""

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

REMEMBERED = 86_400
"""Seconds for which other processes are told whom to forget; none holds back what it has to write for so long."""


class Forgotten(NamedTuple):
    """Somebody whose impressions up to a moment must not be written."""

    digest: str
    moment: float


def moment() -> float:
    """Return the seconds since this machine was started, which no setting of its clock changes; all processes agree."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def log_files(folder: Path) -> list[Path]:
    """Return the whole files of a log, the oldest first."""
    return sorted(folder.glob("shown-*.parquet"))


def next_file(folder: Path) -> Path:
    """Return the name of the next file: by the clock, but later than all that are there, if it was set back."""
    files = log_files(folder)
    last = int(files[-1].stem.removeprefix("shown-")) if files else 0
    return folder / f"shown-{max(last + 1, time.time_ns() // 1000):017d}.parquet"


def parquet(frame: pl.DataFrame) -> bytes:
    """Return a frame as a Parquet file."""
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, and stays after a power failure."""
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
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


def make_room(folder: Path, most_bytes: int) -> None:
    """Remove the oldest files of a log until the others take no more than so many bytes; OSError where that is none."""
    if most_bytes < 0:
        raise OSError(errno.EFBIG, "a file alone is larger than all files may be")
    files = log_files(folder)
    sizes = [path.stat().st_size for path in files]
    total = sum(sizes)
    for path, size in zip(files, sizes, strict=True):
        if total <= most_bytes:
            return
        path.unlink()
        total -= size


def rewrite(path: Path, user: str) -> int:
    """Write a file of the log anew without a user's impressions; return how many they were, 0 if the file is gone."""
    if not path.exists() or user not in pl.read_parquet(path, columns=["user"], glob=False)["user"]:
        return 0
    whole = pl.read_parquet(path, glob=False)
    left = whole.filter(pl.col("user") != user)
    if len(left):
        write_whole(path, parquet(left))
    else:
        path.unlink()
    return len(whole) - len(left)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one, of all processes, who changes the folder; a process that dies lets go."""
    opened = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def remember(folder: Path, one: Forgotten) -> None:
    """Tell all processes that write into the folder, which must be locked, whom to leave out."""
    lately = [other for other in forgotten(folder) if 0 <= one.moment - other.moment < REMEMBERED]
    write_whole(folder / ".forgotten", msgspec.json.encode([*lately, one]))


def forgotten(folder: Path) -> list[Forgotten]:
    """Return whom to leave out; wishes from before the machine was started anew, which all are fulfilled, are not."""
    try:
        found = msgspec.json.decode((folder / ".forgotten").read_bytes(), type=list[Forgotten])
    except FileNotFoundError:
        return []
    now = moment()
    return [one for one in found if one.moment <= now]


def digest(name: str) -> str:
    """Return what the folder keeps of a forgotten user, called `name` in its files, 32 hexadecimal digits."""
    return hashlib.blake2b(name.encode(), digest_size=16, person=b"pasand forgotten").hexdigest()
