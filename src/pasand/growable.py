"""Appending rows to an array without copying it each time: large arrays get spare capacity."""

from __future__ import annotations

import weakref

import numpy as np

from pasand.types import Array

MIN_BYTES = 1 << 20
"""Size from which a table gets spare capacity."""
MIN_SPARE_ROWS = 1024
"""Least spare capacity in rows; a sixteenth of the table if that is more."""

_used: dict[int, int] = {}
"""Rows in use of each buffer with spare capacity, by the buffer's id; later rows are free."""


def extended(table: Array, more: Array) -> Array:
    """Return the table with `more` rows appended, (n, ...) and (m, ...) -> (n + m, ...).

    If the table's buffer has spare capacity and the rows behind the table are free, they are written there and nothing
    is copied. Either way the given table and all earlier results keep their values.

    >>> extended(np.array([1, 2]), np.array([3]))
    array([1, 2, 3])
    """
    count, total, buffer = len(table), len(table) + len(more), table.base
    if (
        isinstance(buffer, np.ndarray)
        and _used.get(id(buffer)) == count
        and total <= len(buffer)
        and buffer.shape[1:] == more.shape[1:]
        and buffer.ctypes.data == table.ctypes.data
    ):
        buffer[count:total] = more
        _used[id(buffer)] = total
        return buffer[:total]
    if table.nbytes < MIN_BYTES or table.shape[1:] != more.shape[1:] or table.dtype.kind not in "biuf":
        return np.concatenate([table, more.astype(table.dtype, copy=False)])
    buffer = np.empty((total + max(MIN_SPARE_ROWS, total // 16), *table.shape[1:]), table.dtype)
    buffer[:count], buffer[count:total] = table, more
    _used[id(buffer)] = total
    weakref.finalize(buffer, _used.pop, id(buffer), None)
    return buffer[:total]
