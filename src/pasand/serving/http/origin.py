"""Refuses requests that a web page of another origin makes a visitor's browser send."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from pasand.serving.schemas import RequestError

Headers = Iterable[tuple[bytes, bytes]]
OWN = (b"same-origin", b"none")
"""Values of Sec-Fetch-Site for the service's own page, and for an address that a visitor typed."""


class OriginCheck:
    """The names under which the service is called, and the check of Host, Origin and Sec-Fetch-Site.

    A page that has its own name resolve to the service's address (DNS rebinding) sends a foreign Host. A page of any
    other origin sends a foreign Origin, or a Sec-Fetch-Site, which pages cannot set. Programs send neither.
    """

    def __init__(self, names: Iterable[str], address: str, any_host: bool) -> None:
        """Accept loopback names, the address listened on, and `names` as Host, and pages of `names` as origins.

        With `any_host` every Host is accepted, for services whose requests need a key, which no foreign page has.
        """
        self._any_host = any_host
        self._pages = frozenset(name.strip("[]").rstrip(".").lower() for name in names)
        self._hosts = self._pages | {address.lower()}
        self._is_own = lru_cache(256)(self._is_own_uncached)

    def check(self, headers: Headers) -> None:
        """Raise RequestError for a request to a foreign name, or from a page of another origin."""
        host, origin, site = b"", None, None
        for name, value in headers:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if host and not self._any_host and not self._is_own(host):
            shown = name_of(host)
            message = f"the service is not called {shown!r}; if it should be, start it with --allow-host {shown}"
            raise RequestError(403, "host", message)
        if (site is None and origin is None) or site in OWN:
            return
        if origin is None:
            cause = "a web page of another origin may not call the service"
            raise RequestError(403, "origin", f"{cause}; call it from your own server")
        address = origin.partition(b"://")[2]
        if site is None and address and address.lower() == host.lower():
            return
        if address and name_of(address) in self._pages:
            return
        shown = name_of(address) or "NAME"
        cause = f"a web page of {origin.decode('latin-1')!r} may not call the service"
        raise RequestError(
            403, "origin", f"{cause}; call it from your own server, or start it with --allow-host {shown}"
        )

    def _is_own_uncached(self, host: bytes) -> bool:
        name = name_of(host)
        return name in self._hosts or is_loopback(name)


def name_of(host: bytes) -> str:
    """Return the name in a Host header, without the port.

    >>> name_of(b"LocalHost.:8000"), name_of(b"[::1]:8000"), name_of(b"127.0.0.1")
    ('localhost', '::1', '127.0.0.1')
    """
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def is_loopback(name: str) -> bool:
    """Return whether a name means this machine for every resolver.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("localhost.example.org")
    (True, True, False)
    """
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
