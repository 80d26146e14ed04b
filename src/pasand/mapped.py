"""Memory-mapped reading of safetensors files, which share memory between processes, and checks of their arrays."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pasand.types import Array

DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}
"""NumPy types by their names in safetensors."""


def arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a safetensors file by name, mapped copy-on-write: writes stay in this process.

    Pages are read from disk when they are used, and the system may drop them again. While the arrays exist, the file
    may be replaced or removed, but its bytes must not change. Raises ValueError if the file is not safetensors.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    begin = 8 + int.from_bytes(content[:8], "little")
    if begin > len(content):
        raise ValueError(f"{path}: truncated")
    header: dict[str, Any] = json.loads(content[8:begin])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            dtype, (first, end) = np.dtype(DTYPES[entry["dtype"]]), entry["data_offsets"]
            flat: Array = np.frombuffer(content, dtype, (end - first) // dtype.itemsize, begin + first)
            array = flat.reshape(entry["shape"])
            found[name] = array if array.flags.aligned else array.copy()
    return found


def check(
    name: str,
    values: Array,
    kind: type[np.generic],
    shape: Sequence[int | None],
    *,
    lowest: int | None = None,
    below: int | None = None,
) -> None:
    """Raise ValueError unless an array of a file has a type, a shape (None: any size) and whole numbers within bounds.

    Compiled code reads and writes without such checks, so a wrong number would lead it to the memory of others.

    >>> check("neighbours", np.array([[0, 7]], np.int32), np.int32, (None, 2), lowest=-1, below=5)
    Traceback (most recent call last):
    ValueError: neighbours must be from -1 to 4, and one is 7
    """
    expected = tuple("any" if size is None else str(size) for size in shape)
    fits = values.ndim == len(shape) and all(
        size in (None, actual) for size, actual in zip(shape, values.shape, strict=True)
    )
    if values.dtype != kind or not fits:
        wanted = f"{np.dtype(kind).name} of shape ({', '.join(expected)})"
        raise ValueError(f"{name} must be {wanted}, and is {values.dtype.name} of shape {values.shape}")
    if values.size and (lowest is not None or below is not None):
        least, most = int(values.min()), int(values.max())
        if (lowest is not None and least < lowest) or (below is not None and most >= below):
            start = "" if lowest is None else f"from {lowest} "
            end = "" if below is None else f"to {below - 1}"
            wrong = least if lowest is not None and least < lowest else most
            raise ValueError(f"{name} must be {(start + end).strip()}, and one is {wrong}")


def check_offsets(name: str, values: Array, end: int, n: int | None = None) -> None:
    """Raise ValueError unless (n,) int64 offsets rise from at least 0 to `end`, the last one (if there is one)."""
    check(name, values, np.int64, (n,), lowest=0, below=end + 1)
    if (np.diff(values) < 0).any() or (len(values) and values[-1] != end):
        raise ValueError(f"{name} must rise to {end}")
