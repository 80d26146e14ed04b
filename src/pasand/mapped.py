"""Files of arrays (safetensors) that are read where they lie: mapped into memory, which processes share."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from pasand.types import Array

KINDS = {
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
"""What safetensors calls the types of NumPy."""


def arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a safetensors file; what is written to them stays in this process, and out of the file.

    Only what is looked at is read from the disk, and the system may forget it again. The file must not be changed in
    place from here on; it may be replaced or removed. Raises ValueError where it is no such file.
    """
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    begin = 8 + int.from_bytes(whole[:8], "little")
    if begin > len(whole):
        raise ValueError(f"{path}: cut short")
    described: dict[str, Any] = json.loads(whole[8:begin])
    found = {}
    for name, told in described.items():
        if name != "__metadata__":
            kind, (first, end) = np.dtype(KINDS[told["dtype"]]), told["data_offsets"]
            flat: Array = np.frombuffer(whole, kind, (end - first) // kind.itemsize, begin + first)
            array = flat.reshape(told["shape"])
            found[name] = array if array.flags.aligned else array.copy()
    return found
