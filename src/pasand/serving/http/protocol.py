"""HTTP on one connection: limits on the size and the arrival time of a request's head, and on pipelined requests."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pasand.serving.http.connections import MAX_HELD_BYTES, Connections

MAX_HEAD_BYTES = 32_768
"""Largest size of a request line and headers together."""
HEAD_SECONDS = 10.0
"""Time within which the request line and headers must arrive, from the start of the connection or the first byte."""
KEEP_ALIVE_SECONDS = 75.0
"""Time that a connection may be idle between two requests."""
HEAD_END = b"\r\n\r\n"
RESET = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing resets a connection."""


def unacknowledged_bytes(connection: socket.socket) -> int:
    """Return the bytes of a connection that the other side has not acknowledged; 0 if that is unknown."""
    try:
        return int.from_bytes(ioctl(connection.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


class Flow(FlowControl):
    """Reading stays paused while a connection has requests that wait for the response before them."""

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        super().__init__(transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        if not self._protocol.is_full:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """HTTP that reads one request ahead at most, and whose deadlines are watched by `Connections`."""

    unread = 0
    unread_since = 0.0
    _responded = False
    """Whether parts of responses may wait in the system's buffer."""
    _head = 0
    _in_head = False
    _more_body = False
    _held = b""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._watched_by = connections
        self.deadline: float | None = self.loop.time() + HEAD_SECONDS

    @property
    def is_full(self) -> bool:
        """Return whether a request waits for the response to the one before it."""
        return bool(self.pipeline or self._held)

    def unread_bytes(self) -> int:
        """Return the bytes in this process and in the system's buffer: a small response waits for its reader there."""
        waiting = self.transport.get_write_buffer_size()
        if self._responded and not self.transport.is_closing():
            waiting += unacknowledged_bytes(self._socket)
            self._responded = waiting > 0  # an idle connection is not looked at again
        return waiting

    def close(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.close()

    def abort(self) -> None:
        """Close the connection at once; what the client has not read is dropped from the system's buffer, too."""
        if self.unread_bytes() and not self.transport.is_closing():
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._socket = transport.get_extra_info("socket")
        self.flow = Flow(transport, self)
        if not self._watched_by.add(self, self.loop):
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\r\n")
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watched_by.remove(self)
        self._hold(b"")
        self.pipeline.clear()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        # no reference cycle may keep the memory of a lost connection until the next search for garbage
        self.flow = self.cycle = self.scope = self.headers = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.deadline is not None:
            self.deadline = min(self.deadline, self.loop.time() + HEAD_SECONDS)
        self._feed(self._held + data if self._held else data)

    def _feed(self, data: bytes) -> None:
        """Parse data up to the end of the first request that has to wait, and hold the rest; at most one head a piece.

        The parser cannot be stopped, and would otherwise make requests of everything that a client sends at once.
        """
        begin = 0
        while begin < len(data) and not self.pipeline and not self.transport.is_closing():
            end = data.find(HEAD_END, begin) + len(HEAD_END)
            if end < len(HEAD_END):
                end = len(data)
            super().data_received(data[begin:end])
            begin = end
        self._hold(b"" if self.transport.is_closing() else data[begin:])

    def _hold(self, data: bytes) -> None:
        """Keep the received bytes of requests that have to wait."""
        self._watched_by.held += len(data) - len(self._held)
        self._held = data
        if data:
            self.flow.pause_reading()
            if self._watched_by.held > MAX_HELD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head, self._in_head, self._more_body, self.deadline = 0, False, True, None
        self._watched_by.busy(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._more_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Serve the next request that waits; otherwise the connection is idle, or its next request is arriving."""
        self._responded = True
        is_next = bool(self.pipeline)
        super().on_response_complete()
        self._unset_keepalive_if_required()  # replaced by the deadline
        if self.transport.is_closing():
            return
        if not is_next:
            arriving = self._in_head or self._more_body
            self.deadline = self.loop.time() + (HEAD_SECONDS if arriving else KEEP_ALIVE_SECONDS)
            self._watched_by.idle(self)
        if self._held:
            self._feed(self._held)
        self.flow.resume_reading()

    def _grow(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
            self.transport.close()
