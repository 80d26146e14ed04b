"""Reads the arrays of a TensorFlow checkpoint: an index, which is a sorted table of LevelDB, and the data beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pasand.errors import InputError
from pasand.types import Array

MAGIC = 0xDB4775248B80FB57
"""Last eight bytes of the table."""


def read(folder: Path) -> dict[str, Array]:
    """Return the float32 arrays of the checkpoint `.index` and `.data-00000-of-00001` of a folder, by name.

    Raises InputError for other files.
    """
    try:
        index, data = (folder / ".index").read_bytes(), (folder / ".data-00000-of-00001").read_bytes()
        if int.from_bytes(index[-8:], "little") != MAGIC:
            raise ValueError("the index is no table")
        arrays = {}
        for name, entry in _entries(index):
            fields = _fields(entry)
            if name and fields.get(1) == 1:  # DT_FLOAT
                shape = [int(_fields(size).get(1, 0)) for size in _repeated(fields.get(2, b""), 2)]
                start, size = int(fields.get(4, 0)), int(fields.get(5, 0))
                arrays[name] = np.frombuffer(data, "<f4", size // 4, start).reshape(shape)
        return arrays
    except (OSError, ValueError, IndexError) as error:
        raise InputError(folder, cause=f"it is no checkpoint: {error}", cure="install the package again") from error


def _number(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, and the position after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _block(table: bytes, handle: bytes) -> list[tuple[bytes, bytes]]:
    """Return the keys and values of a block, given its position as the table writes it."""
    start, at = _number(handle, 0)
    size, _ = _number(handle, at)
    if table[start + size]:
        raise ValueError("its index is compressed")
    content = table[start : start + size]
    end = size - 4 * (int.from_bytes(content[-4:], "little") + 1)
    found, key, at = [], b"", 0
    while at < end:
        shared, at = _number(content, at)
        own, at = _number(content, at)
        length, at = _number(content, at)
        key = key[:shared] + content[at : at + own]
        found.append((key, content[at + own : at + own + length]))
        at += own + length
    return found


def _entries(table: bytes) -> list[tuple[str, bytes]]:
    """Return the name and the description of each array of a table."""
    footer = table[-48:]
    at = 0
    for _ in range(2):  # the position of the block that is not needed
        _, at = _number(footer, at)
    blocks = _block(table, footer[at:])
    return [(key.decode(), value) for _, handle in blocks for key, value in _block(table, handle)]


def _repeated(message: bytes | int, wanted: int) -> list[bytes]:
    """Return all values of one field of bytes of a protocol buffer."""
    found, at = [], 0
    content = message if isinstance(message, bytes) else b""
    while at < len(content):
        tag, at = _number(content, at)
        value, at = _value(content, at, tag & 7)
        if tag >> 3 == wanted and isinstance(value, bytes):
            found.append(value)
    return found


def _fields(message: bytes) -> dict[int, int | bytes]:
    """Return the fields of a protocol buffer by number; of several values the last."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        found[tag >> 3], at = _value(message, at, tag & 7)
    return found


def _value(content: bytes, at: int, kind: int) -> tuple[int | bytes, int]:
    if kind == 0:
        return _number(content, at)
    if kind in (1, 5):
        size = 8 if kind == 1 else 4
        return int.from_bytes(content[at : at + size], "little"), at + size
    if kind != 2:
        raise ValueError(f"a field of kind {kind}")
    length, at = _number(content, at)
    return content[at : at + length], at + length
