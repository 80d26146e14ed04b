"""Tables that grow by a row now and then, without being copied each time."""

from __future__ import annotations

import weakref

import numpy as np

from pasand.types import Array

LEAST = 1 << 20
"""Bytes from which on a table gets room to grow."""
ROOM = 1024
"""Rows that it gets room for at least; more where it is large."""

_used: dict[int, int] = {}
"""Rows in use of each table with room, by its address; what is behind them belongs to nobody yet."""


def extended(table: Array, more: Array) -> Array:
    """Return a table with further rows, (n, ...) and (m, ...) -> (n + m, ...).

    Where the table has room and nobody has extended it before, they are written behind it, which copies nothing.
    Either way the given table stays as it is, and so does what else was made of it.

    >>> extended(np.array([1, 2]), np.array([3]))
    array([1, 2, 3])
    """
    count, whole, room = len(table), len(table) + len(more), table.base
    if (
        isinstance(room, np.ndarray)
        and _used.get(id(room)) == count
        and whole <= len(room)
        and room.shape[1:] == more.shape[1:]
        and room.ctypes.data == table.ctypes.data
    ):
        room[count:whole] = more
        _used[id(room)] = whole
        return room[:whole]
    if table.nbytes < LEAST or table.shape[1:] != more.shape[1:] or table.dtype.kind not in "biuf":
        return np.concatenate([table, more.astype(table.dtype, copy=False)])
    room = np.empty((whole + max(ROOM, whole // 16), *table.shape[1:]), table.dtype)
    room[:count], room[count:whole] = table, more
    _used[id(room)] = whole
    weakref.finalize(room, _used.pop, id(room), None)
    return room[:whole]
