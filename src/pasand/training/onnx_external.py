"""Which tensors of an ONNX graph have their data elsewhere, read from the bytes of the graph without the package onnx.

A foreign graph could name any file of this machine as the source of its data. So only names of weights of the model's
state are accepted.
"""

from __future__ import annotations

from collections.abc import Iterator

MODEL = {7: "graph", 20: "training", 25: "function"}
PARTS = {
    "model": MODEL,
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Messages that can hold tensors: the kind of message in each field, by the field's number in onnx.proto."""
NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14
"""Fields of a tensor: its name, where external data are, and whether they are external."""
MAX_DEPTH = 100
INITIALISER = 2
"""Depth of a tensor of the graph of the model."""
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
"""Kinds of values in the wire format of protobuf."""


def external_tensors(model: bytes) -> set[str]:
    """Return the names of the tensors whose data are not in the graph, wherever they are in it.

    Inside inner graphs and functions, where the caller can replace none, a name is followed by " (inner)". Raises
    ValueError if the bytes are not in the format of protobuf.
    """
    return set(_external(memoryview(model), "model", 0))


def _external(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError("graphs within graphs, too deep")
    if kind == "tensor":
        name, external = "", False
        for field, value in _fields(message):
            if field == NAME and isinstance(value, memoryview):
                name = str(value, "utf-8")
            external |= field == EXTERNAL_DATA or (field == DATA_LOCATION and value != 0)
        if external:
            yield name if depth == INITIALISER else f"{name} (inner)"
        return
    for field, value in _fields(message):
        part = PARTS[kind].get(field)
        if part is not None and isinstance(value, memoryview):
            yield from _external(value, part, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field, which is bytes or a whole number."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        value: int | memoryview
        if kind == VARINT:
            value, at = _varint(message, at)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            value, at = 0, at + (8 if kind == EIGHT_BYTES else 4)
        elif kind == BYTES:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"no kind of value has number {kind}")
        if at > len(message):
            raise ValueError("truncated")
        yield field, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the whole number that begins at an offset, and the offset behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("truncated")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number is too long")
