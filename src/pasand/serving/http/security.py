"""API keys with scopes, rate limits for each caller, and the check that an open address has keys."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import ipaddress
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from time import monotonic

from pasand.errors import InputError
from pasand.serving.schemas import RequestError

SCOPES = ("read", "write", "admin")
"""Get recommendations; change events, items and users; change bundles. Each scope includes the ones before it."""
MIN_LENGTH = 16
"""Least number of characters in a key."""
ENTRY = Struct("8sdd")
"""A caller's digest, the number of calls it had left, and when that was."""
GROUPS, WAYS = 2048, 8
"""The table of callers is a cache of GROUPS sets with WAYS entries each."""
TABLE_BYTES = GROUPS * WAYS * ENTRY.size


@dataclass(frozen=True)
class Keys:
    """API keys and their scopes; with no keys every operation is allowed."""

    scope: Mapping[str, str] = field(default_factory=dict)
    """Scope by key."""

    def __post_init__(self) -> None:
        for key, scope in self.scope.items():
            if scope not in SCOPES:
                cure = f"choose from {', '.join(SCOPES)}"
                raise InputError("API key", value=scope, cause="no such scope", cure=cure)
            if len(key) < MIN_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
                cause = f"a key must have at least {MIN_LENGTH} printable ASCII characters and no spaces"
                raise InputError("API key", cause=cause, cure="make one with: openssl rand -hex 24")

    @classmethod
    def read(cls, lines: Iterable[str]) -> Keys:
        """Return the keys of lines "SCOPE KEY"; empty lines and lines that begin with # are skipped.

        Raises InputError for a line of another form, an unknown scope, and a key that is too short.
        """
        found = {}
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2:
                raise InputError("API keys", row=number, cause="not of the form SCOPE KEY", cure="write: read KEY")
            found[words[1]] = words[0]
        return cls(found)

    @classmethod
    def of_file(cls, path: Path) -> Keys:
        """Return the keys in a file; raises InputError as `read`, and where the file is unreadable or has no keys."""
        try:
            keys = cls.read(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(path, cause=f"cannot be read: {error}", cure="give a text file of keys") from None
        if not keys.scope:
            raise InputError(path, cause="the file has no keys", cure="write a line: admin KEY")
        return keys

    def check(self, key: str | None, scope: str) -> None:
        """Raise RequestError unless a key has a scope; the time of the check does not depend on the key."""
        if not self.scope:
            return
        given, held = (key or "").encode(), None
        for known, its in self.scope.items():
            if hmac.compare_digest(known.encode(), given):
                held = its
        if held is None:
            cure = "send the header Authorization: Bearer KEY"
            raise RequestError(401, "no_key", f"the key is missing or unknown; {cure}")
        if SCOPES.index(held) < SCOPES.index(scope):
            raise RequestError(403, "scope", f"the key has scope {held}; this operation needs scope {scope}")


class Rate:
    """A limit on the rate of calls of each caller, with bursts of two seconds' worth of calls (token bucket).

    Callers share a table of fixed size, in which a new caller replaces the one whose last call is oldest. All
    processes that are given the same file count together.
    """

    def __init__(self, per_second: float, path: Path | None = None) -> None:
        """Set the limit in calls per second, 0 for none, and the file of the table; None: this process alone."""
        self.per_second, self._file = per_second, -1
        self._table = memoryview(bytearray(TABLE_BYTES if per_second and path is None else 0))
        if per_second and path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            with self._locked():
                if os.fstat(self._file).st_size < TABLE_BYTES:
                    # in full: a write to a mapped hole on a full disk would kill the process
                    os.pwrite(self._file, bytes(TABLE_BYTES), 0)
            self._table = memoryview(mmap.mmap(self._file, TABLE_BYTES))

    def check(self, caller: str) -> None:
        """Count a call; raises RequestError where the caller has used up its calls."""
        if not self.per_second:
            return
        burst, mark = max(2 * self.per_second, 1.0), hashlib.blake2b(caller.encode(), digest_size=8).digest()
        with self._locked():
            now = monotonic()  # the same for all processes, and never set back
            offset, left, then = self._entry(mark, burst, now)
            left = min(burst, left + (now - then) * self.per_second)
            if left >= 1:
                ENTRY.pack_into(self._table, offset, mark, left - 1, now)
        if left < 1:
            raise RequestError(
                429, "rate", f"too many requests; try again in {max((1 - left) / self.per_second, 0.1):.1f} s"
            )

    def _entry(self, mark: bytes, burst: float, now: float) -> tuple[int, float, float]:
        """Return a caller's offset in the table (or that of the entry it replaces), its calls left, and when."""
        begin = int.from_bytes(mark) % GROUPS * WAYS * ENTRY.size
        oldest, since = begin, now
        for offset in range(begin, begin + WAYS * ENTRY.size, ENTRY.size):
            other, left, then = ENTRY.unpack_from(self._table, offset)
            if other == mark:
                return offset, left, then
            if then < since:
                oldest, since = offset, then
        return oldest, burst, now

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file < 0:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def check_address(host: str, keys: Keys) -> None:
    """Raise InputError for an address that other machines can reach, unless there are keys."""
    if keys.scope or host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        cause = "other machines can reach this address, and there is no API key"
        raise InputError("--host", value=host, cause=cause, cure="give --keys FILE, or serve on 127.0.0.1")
