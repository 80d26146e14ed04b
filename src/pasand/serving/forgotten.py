"""Digests of forgotten users, in memory and in a file of the service, so that they hold without the state."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pasand.errors import InputError
from pasand.serving.states.contract import digest

NAME = "forgotten"
"""Name of the file in the service's folder: a digest a line, in hexadecimal."""


class ForgottenUsers:
    """The forgotten users that this service knows of, by digest."""

    def __init__(self, file: Path | None = None) -> None:
        """Read the file, if there is one; raises InputError if it cannot be read. None: keep no file."""
        self._file = file
        self._digests: set[bytes] = set()
        if file is not None and file.exists():
            try:
                self._digests.update(bytes.fromhex(line) for line in file.read_text(encoding="ascii").split())
            except (OSError, ValueError) as error:
                cure = "restore it from a backup; without it, bundles use the histories of forgotten users again"
                raise InputError(file, cause=f"cannot be read: {error}", cure=cure) from None

    def __contains__(self, user: object) -> bool:
        return bool(self._digests) and isinstance(user, str) and digest(user) in self._digests

    @property
    def digests(self) -> frozenset[bytes]:
        """Digests of the users."""
        return frozenset(self._digests)

    def add(self, digests: Iterable[bytes]) -> None:
        """Add digests, in the file durably; raises OSError if it cannot be written."""
        new = set(digests) - self._digests
        self._digests |= new
        if not new or self._file is None:
            return
        lines = "".join(f"{one.hex()}\n" for one in sorted(new))
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, lines.encode("ascii"))
            os.fsync(handle)
        finally:
            os.close(handle)
