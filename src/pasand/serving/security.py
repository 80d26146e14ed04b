"""Who may ask what, and how often: keys with scopes, and limits."""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from pasand.errors import InputError
from pasand.serving.wire import Refused

SCOPES = ("read", "write", "admin")
"""Answers; events, items and users; bundles. Each one includes those before it."""
SHORTEST = 16
"""Characters of a key at least."""
CALLERS = 10_000
"""Callers whose rates are remembered."""


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
            raise Refused(401, "no_key", f"the key is missing or unknown; {cure}")
        if SCOPES.index(held) < SCOPES.index(scope):
            raise Refused(403, "scope", f"the key's scope is {held}, and {scope} is asked for")


@dataclass
class Rate:
    """Lets each caller through so many times a second on the average, with bursts of two seconds' worth."""

    per_second: float
    """0: no limit."""
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict, init=False, repr=False)

    def check(self, caller: str, cost: int = 1) -> None:
        """Count a call; raises Refused where the caller has used up what it may."""
        if not self.per_second:
            return
        most, now = 2 * self.per_second, monotonic()
        left, then = self._left.get(caller, (most, now))
        left = min(most, left + (now - then) * self.per_second)
        if left < min(cost, most):
            wait = (min(cost, most) - left) / self.per_second
            raise Refused(429, "rate", f"too many requests; try again in {max(wait, 0.1):.1f} seconds")
        self._left[caller] = (left - min(cost, most), now)
        self._left.move_to_end(caller)
        if len(self._left) > CALLERS:
            self._left.popitem(last=False)


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
