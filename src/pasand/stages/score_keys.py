"""Keys: a score and a row as one number, so that a plain sort orders items by falling score, and ties by row."""

from __future__ import annotations

import numpy as np
from numba import njit

from pasand.types import Array, Mask, Rows, Scores

LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Key of what is in no list."""


@njit(cache=True, nogil=True, inline="always")
def _key(bits: int, row: int) -> np.uint64:
    """Return a number that rises as the score with these bits falls, and with the row; -0 is 0, and -inf is `LAST`."""
    if bits == -0x800000:
        return LAST
    if bits == -0x80000000:
        bits = 0
    falling = 0x7FFFFFFF - bits if bits >= 0 else (bits & 0x7FFFFFFF) + 0x80000000
    return np.uint64(falling) << np.uint64(32) | np.uint64(row + 1)


@njit(cache=True, nogil=True)
def keys_of_allowed(bits: Rows, exclude: Rows, allowed: Mask) -> Array:
    """Return the keys of all items by the bits of their scores, (B, N); `LAST` where one is not allowed."""
    keys = np.empty(bits.shape, np.uint64)
    for b in range(bits.shape[0]):
        mask = allowed[b if allowed.shape[0] > 1 else 0]
        for i in range(bits.shape[1]):
            keys[b, i] = _key(bits[b, i], i) if mask[i] else LAST
        for j in range(exclude.shape[1]):
            if exclude[b, j] >= 0:
                keys[b, exclude[b, j]] = LAST
    return keys


@njit(cache=True, nogil=True)
def keys_of_lists(bits: Rows, items: Rows) -> Array:
    """Return the keys of the items of lists, (B, K), by the bits of their scores, (B, K); `LAST` at padding."""
    keys = np.empty(bits.shape, np.uint64)
    for b in range(bits.shape[0]):
        for i in range(bits.shape[1]):
            keys[b, i] = _key(bits[b, i], items[b, i]) if items[b, i] >= 0 else LAST
    return keys


@njit(cache=True, nogil=True)
def unpacked(keys: Array, k: int) -> tuple[Rows, Scores]:
    """Return the rows and the scores of the first k keys of each list, (B, k) each."""
    items, bits = np.full((len(keys), k), -1, np.int32), np.full((len(keys), k), -0x800000, np.int32)
    for b in range(len(keys)):
        for j in range(k):
            if keys[b, j] != LAST:
                falling = np.int64(keys[b, j] >> np.uint64(32))
                items[b, j] = np.int64(keys[b, j] & np.uint64(0xFFFFFFFF)) - 1
                bits[b, j] = 0x7FFFFFFF - falling if falling < 0x80000000 else falling - 0x100000000
    return items, bits.view(np.float32)
