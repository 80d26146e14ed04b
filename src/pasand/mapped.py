"""Memory-mapped reading of safetensors files; processes that map the same file share its memory."""

from __future__ import annotations

import json
import mmap
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
