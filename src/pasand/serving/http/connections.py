"""The open connections of a process: their number, the time each may take, and the bytes that they keep in memory."""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import Protocol

MAX_CONNECTIONS = 4096
"""Connections of one process at most; for a further one the connection that has been idle longest is closed."""
RESERVED_FILES = 128
"""Open files that are left for everything but connections: the state, the logs, static files."""
FEW_FILES = 1024 + RESERVED_FILES
"""Limits of open files below this one are reported at the start."""
SWEEP_SECONDS = 1.0
"""Time between two looks at all connections."""
WRITE_SECONDS = 10.0
"""Time within which a client must read PROGRESS_BYTES of a response, or all of it."""
PROGRESS_BYTES = 65_536
"""Bytes that a slow reader must read every WRITE_SECONDS."""
MAX_UNREAD_BYTES = 16_000_000
"""Bytes of responses that wait for slow readers at most; beyond it the slowest are cut off."""
UNREAD_SECONDS = 1.0
"""Age from which a response that waits for its reader counts as slow."""
MAX_HELD_BYTES = 32_000_000
"""Received bytes of pipelined requests that wait in memory at most; beyond it the connection is closed."""


class Connection(Protocol):
    """What is watched of a connection."""

    deadline: float | None
    """Time by which the next request must have arrived; None while a request is served."""
    unread: int
    """Bytes that waited for the client at the last progress of its reading."""
    unread_since: float
    """Time of that progress."""

    def unread_bytes(self) -> int:
        """Return the bytes that wait for the client."""

    def close(self) -> None:
        """Close the connection once the client has read what was written."""

    def abort(self) -> None:
        """Close the connection at once."""


class Connections:
    """Closes connections that are too slow, idle for too long, or too many; one timer watches all of them."""

    def __init__(self, limit: int) -> None:
        """Allow up to `limit` connections."""
        self.limit = limit
        self.held = 0
        """Bytes of pipelined requests in memory, over all connections."""
        self._open: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def add(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether a new connection is accepted; the one that has been idle longest makes room for it."""
        if len(self._open) >= self.limit:
            if not self._idle:
                return False
            oldest = next(iter(self._idle))
            self.remove(oldest)
            oldest.abort()
        self._open[connection] = self._idle[connection] = None
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        return True

    def remove(self, connection: Connection) -> None:
        """Stop watching a connection; one that is not watched is ignored."""
        self._open.pop(connection, None)
        self._idle.pop(connection, None)

    def busy(self, connection: Connection) -> None:
        """Note that a request is served, so that its connection is not closed to make room."""
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """Note that a connection waits for its next request."""
        if connection in self._open:
            self._idle[connection] = None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now, slow = loop.time(), list[tuple[float, int, Connection]]()
        for connection in list(self._open):
            waiting = connection.unread_bytes()
            if not waiting:
                connection.unread = 0
                if connection.deadline is not None and now > connection.deadline:
                    connection.deadline = now + WRITE_SECONDS  # for the client's side of the closing
                    connection.close()
                continue
            if not connection.unread or waiting <= connection.unread - PROGRESS_BYTES:
                connection.unread, connection.unread_since = waiting, now
            connection.unread = max(connection.unread, waiting)
            if now - connection.unread_since > WRITE_SECONDS:
                connection.abort()
            elif now - connection.unread_since >= UNREAD_SECONDS:
                slow.append((connection.unread_since, waiting, connection))
        excess = sum(waiting for _, waiting, _ in slow) - MAX_UNREAD_BYTES
        for _, waiting, connection in sorted(slow, key=lambda each: each[:2]):
            if excess <= 0:
                break
            excess -= waiting
            connection.abort()
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self._open else None


def connections_allowed() -> int:
    """Return how many connections a process may have; raises its limit of open files as far as the system allows.

    A limit that leaves room for few connections is reported on standard error.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft - RESERVED_FILES)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        allowed = max(allowed, soft // 2)
        cure = "raise it with ulimit -n, or LimitNOFILE= of systemd"
        print(f"warning: {soft:,} open files allow {allowed:,} connections; {cure}", file=sys.stderr, flush=True)
    return allowed
