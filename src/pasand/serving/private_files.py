"""Files that only their owner may read: they hold what users watched and the keys of callers."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from shlex import quote

logger = logging.getLogger(__name__)

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""Permissions of the group and of all others."""


def make_private_folder(path: Path) -> None:
    """Create a folder that only its owner may enter, whatever the umask; warn if it exists and is open to others.

    Raises OSError if that fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        warn_if_open(path)


def make_private_file(path: Path) -> None:
    """Create an empty file that only its owner may read, whatever the umask; warn if it exists and is open to others.

    Raises OSError if that fails, for a missing folder for example.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        warn_if_open(path)


def is_open(path: Path) -> bool:
    """Return whether users other than the owner may read, write or enter a file or folder."""
    return bool(path.stat().st_mode & OTHERS)


def is_writable(path: Path) -> bool:
    """Return whether users other than the owner may change a file."""
    return bool(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def warn_if_open(path: Path) -> None:
    """Log a warning if others than the owner may read a file or folder, with the command that ends it."""
    if is_open(path):
        logger.warning("%s is open to other users of this machine; to end that: chmod go= %s", path, quote(str(path)))
