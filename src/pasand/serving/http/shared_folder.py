"""The folder in memory through which worker processes share metrics and rates; it does not outlive them."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pasand.serving.metrics import SHARED_FOLDER

PREFIX = "pasand-metrics-"
LOCK = "in-use"
"""File that every process of a service keeps locked; the system unlocks it when they have ended, however they ended."""

_locks: list[int] = []


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Give a new folder in memory, and remove it at the end, together with those of services that were killed.

    The files are mapped: on a full disk a write to them would kill the process.
    """
    parent = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
    for old in parent.glob(f"{PREFIX}*"):
        if old.is_dir() and not old.is_symlink() and old.stat().st_uid == os.getuid() and not is_in_use(old):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lock_folder(folder: Path) -> None:
    """Mark a folder as in use until this process ends."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(file, fcntl.LOCK_SH)
    _locks.append(file)


def is_in_use(folder: Path) -> bool:
    """Return whether a process of the service that made a folder still runs, or may still run."""
    try:
        file = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def end_with_the_parent() -> None:
    """Lock the shared folder in a worker process; remove it and end the process once the parent was killed."""
    folder, parent = os.environ.get(SHARED_FOLDER), multiprocessing.parent_process()
    if folder is None or parent is None:
        return
    lock_folder(Path(folder))

    def wait() -> None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
