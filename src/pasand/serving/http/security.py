"""Who may ask what, and how often: keys with scopes, and limits."""

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
"""Answers; events, items and users; bundles. Each one includes those before it."""
SHORTEST = 16
"""Characters of a key at least."""
ROW = Struct("8sdd")
"""A caller's digest, the calls that it had left, and when that was."""
GROUPS, WAYS = 2048, 8
"""Callers whose rates are remembered: so many groups of so many."""
TABLE = GROUPS * WAYS * ROW.size


@dataclass(frozen=True)
class Keys:
    """API keys and their scopes; without any, everybody may do everything."""

    scope: Mapping[str, str] = field(default_factory=dict)
    """Scope by key."""

    def __post_init__(self) -> None:
        for key, scope in self.scope.items():
            if scope not in SCOPES:
                cure = f"choose from {', '.join(SCOPES)}"
                raise InputError("API key", value=scope, cause="no such scope", cure=cure)
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                cause = f"a key must have {SHORTEST} printable characters or more, without spaces"
                raise InputError("API key", cause=cause, cure="make one with: openssl rand -hex 24")

    @classmethod
    def read(cls, lines: Iterable[str]) -> Keys:
        """Return the keys of lines "SCOPE KEY", empty ones and those that begin with # left out.

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
        """Return the keys in a file, as `read`; raises InputError also where it cannot be read or has none."""
        try:
            keys = cls.read(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(path, cause=f"cannot be read: {error}", cure="give a text file of keys") from None
        if not keys.scope:
            raise InputError(path, cause="there is no key in it", cure="write a line: admin KEY")
        return keys

    def check(self, key: str | None, scope: str) -> None:
        """Raise Refused unless a key allows a scope; the time that it takes tells nothing of the keys there are."""
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
            raise RequestError(403, "scope", f"the key's scope is {held}, and {scope} is asked for")


class Rate:
    """Lets each caller through so many times a second on the average, with bursts of two seconds' worth.

    Of callers there is a table, in which the one that asked last longest ago makes room for a new one. All processes
    that are given the same file count together.
    """

    def __init__(self, per_second: float, place: Path | None = None) -> None:
        """Begin to count; `per_second`: 0 is no limit; `place`: the file, None: this process counts alone."""
        self.per_second, self._file = per_second, -1
        self._table = memoryview(bytearray(TABLE if per_second and place is None else 0))
        if per_second and place is not None:
            self._file = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
            with self._alone():
                if os.fstat(self._file).st_size < TABLE:
                    os.pwrite(self._file, bytes(TABLE), 0)  # in full, or a disk that fills up would kill who counts
            self._table = memoryview(mmap.mmap(self._file, TABLE))

    def check(self, caller: str) -> None:
        """Count a call; raises Refused where the caller has used up what it may."""
        if not self.per_second:
            return
        most, mark = max(2 * self.per_second, 1.0), hashlib.blake2b(caller.encode(), digest_size=8).digest()
        with self._alone():
            now = monotonic()  # the same for all processes, and never set back
            at, left, then = self._row(mark, most, now)
            left = min(most, left + (now - then) * self.per_second)
            if left >= 1:
                ROW.pack_into(self._table, at, mark, left - 1, now)
        if left < 1:
            raise RequestError(
                429, "rate", f"too many requests; try again in {max((1 - left) / self.per_second, 0.1):.1f} s"
            )

    def _row(self, mark: bytes, most: float, now: float) -> tuple[int, float, float]:
        """Return where a caller is in the table, or may be put, what it had left, and when."""
        begin = int.from_bytes(mark) % GROUPS * WAYS * ROW.size
        oldest, since = begin, now
        for at in range(begin, begin + WAYS * ROW.size, ROW.size):
            other, left, then = ROW.unpack_from(self._table, at)
            if other == mark:
                return at, left, then
            if then < since:
                oldest, since = at, then
        return oldest, most, now

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._file < 0:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def check_address(host: str, keys: Keys) -> None:
    """Raise InputError for an address that others than this machine can reach, unless there are keys."""
    if keys.scope or host == "localhost":
        return
    try:
        alone = ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = False
    if not alone:
        cause = "this address can be reached from outside, and there is no API key"
        raise InputError("--host", value=host, cause=cause, cure="give --keys FILE, or serve on 127.0.0.1")
