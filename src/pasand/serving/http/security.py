"""API keys with scopes, rate limits for each caller, and the check that an open address has keys."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import ipaddress
import mmap
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from struct import Struct
from time import monotonic
from typing import Any

from pasand.errors import InputError
from pasand.serving.private_files import is_open, is_writable
from pasand.serving.schemas import RequestError

SCOPES = ("read", "write", "admin")
"""Get recommendations; change events, items and users; change bundles. Each scope includes the ones before it."""
CURE = "send the header Authorization: Bearer KEY"
LOCAL_KEY = "admin-key"
"""File with the key of a service that was started without keys."""
FAILURES_PER_SECOND = 5.0
"""Wrong keys of one address that get status 401; further ones get 429."""
SECRETS = Path("/run/secrets")
"""Folder in which containers find the secrets that are mounted for them, mostly with mode 0444."""
MIN_LENGTH = 16
"""Least number of characters in a key."""
ENTRY = Struct("8sdd")
"""A caller's digest, the number of calls it had left, and when that was."""
GROUPS, WAYS = 2048, 8
"""The table of callers is a cache of GROUPS sets with WAYS entries each."""
TABLE_BYTES = GROUPS * WAYS * ENTRY.size


@dataclass(frozen=True)
class Keys:
    """API keys and their scopes; with no keys every operation is allowed, except those of scope admin."""

    scope: Mapping[str, str] = field(default_factory=dict)
    """Scope by key."""
    local: str | None = None
    """Key of scope admin for a service without other keys; it is in a file of the service's folder."""

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
        """Return the keys in a file.

        Raises InputError as `read`, and where the file is unreadable, has no keys, or can be read by other users. What
        a container finds in `SECRETS` may be readable, since no other users share its files, but not writable.
        """
        is_secret = path.resolve().is_relative_to(SECRETS)
        if path.exists() and (is_writable(path) if is_secret else is_open(path)):
            cause = "other users of this machine can read or change the keys"
            if not is_secret:
                cause += f" (secrets of a container may be readable, in {SECRETS})"
            raise InputError(path, cause=cause, cure=f"chmod 600 {quote(str(path))}")
        try:
            keys = cls.read(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(path, cause=f"cannot be read: {error}", cure="give a text file of keys") from None
        if not keys.scope:
            raise InputError(path, cause="the file has no keys", cure="write a line: admin KEY")
        return keys

    def check(self, key: str | None, scope: str) -> None:
        """Raise RequestError unless a key has a scope; the time of the check does not depend on the key."""
        if not self.scope and scope != "admin":
            return
        scopes = self.scope or ({} if self.local is None else {self.local: "admin"})
        given, held = (key or "").encode(), None
        for known, its in scopes.items():
            if hmac.compare_digest(known.encode(), given):
                held = its
        if held is None:
            where = "" if self.scope else f" with the key in the file {LOCAL_KEY} of the service's folder"
            raise RequestError(401, "no_key", f"the key is missing or unknown; {CURE}{where}")
        if SCOPES.index(held) < SCOPES.index(scope):
            raise RequestError(403, "scope", f"the key has scope {held}; this operation needs scope {scope}")


def local_key(folder: Path) -> str:
    """Return the key of scope admin that the processes of a service without keys share, from a file in its folder.

    The file is created by the first of them, and only its owner can read it.
    """
    file = folder / LOCAL_KEY
    part = file.with_suffix(f".{secrets.token_hex(4)}.part")
    if not file.exists():
        with suppress(FileExistsError):
            try:
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
                    opened.write(secrets.token_hex(24) + "\n")
                os.link(part, file)  # with its contents, and unless another process was faster
            finally:
                part.unlink(missing_ok=True)
    return file.read_text(encoding="utf-8").strip()


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

    def charge(self, caller: str, calls: int) -> None:
        """Count further calls for one that `check` has let pass: they may be in advance, and delay the next call.

        Raises RequestError where calls in advance are counted already, as of calls that were sent together.
        """
        if not self.per_second or calls < 1:
            return
        burst, mark = max(2 * self.per_second, 1.0), hashlib.blake2b(caller.encode(), digest_size=8).digest()
        with self._locked():
            now = monotonic()
            offset, left, then = self._entry(mark, burst, now)
            left = min(burst, left + (now - then) * self.per_second)
            if left >= 0:
                ENTRY.pack_into(self._table, offset, mark, left - calls, now)
        if left < 0:
            raise RequestError(429, "rate", f"too many requests; try again in {(1 - left) / self.per_second:.1f} s")

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


def address_of(client: Sequence[Any] | None) -> str:
    """Return the address by which a client's calls are counted: of IPv6 the network, since a client has many addresses.

    >>> address_of(("192.0.2.1", 5)), address_of(("2001:db8:1:2:3::4", 5)), address_of(None)
    ('192.0.2.1', '2001:db8:1:2::/64', '')
    """
    host = str(client[0]) if client else ""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


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
