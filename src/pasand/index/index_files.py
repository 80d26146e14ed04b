"""What every index checks and writes: vectors that are numbers of one width, and a file that says what it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pasand.errors import InputError
from pasand.types import Array, Candidates, Rows, Vectors

MARK = b"pasandix"
"""The last bytes of every index file; before them the length of the description, and the description."""


def checked(vectors: Vectors, dimensions: int | None, *, what: str) -> Vectors:
    """Return (n, D) vectors as contiguous float32.

    Raises InputError, naming the row, for a vector that is not finite, and for a width that is not the index's.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InputError(what, cause=f"shape {vectors.shape} is no table of vectors", cure="give (n, D) numbers")
    if dimensions is not None and vectors.shape[1] != dimensions:
        cause = f"{vectors.shape[1]} wide, but the index is {dimensions} wide"
        raise InputError(what, cause=cause, cure="embed with the model that the index was built for")
    vectors = np.ascontiguousarray(vectors, np.float32)
    finite = np.isfinite(vectors.max(axis=1)) & np.isfinite(vectors.min(axis=1))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InputError(what, row=row, cause="not a number or infinite", cure="look for nan in training and features")
    return vectors


def checked_rows(rows: Rows, vectors: Vectors) -> None:
    """Raise InputError unless there is one row, at least 0, for each vector."""
    if rows.shape != (len(vectors),):
        raise InputError("rows to add", cause=f"{len(rows)} rows for {len(vectors)} vectors", cure="give one each")
    if (rows < 0).any():
        place = int(np.flatnonzero(rows < 0)[0])
        raise InputError("rows to add", row=place, value=int(rows[place]), cause="a row is at least 0")


def last_of_each(rows: Rows) -> Array:
    """Return the positions at which each row stands last, so that adding one twice keeps the newer vector."""
    _, backwards = np.unique(rows[::-1], return_index=True)
    positions: Array = np.sort(len(rows) - 1 - backwards)
    return positions


def barred(exclude: Rows | None, n_queries: int) -> Rows:
    """Return the excluded rows, (B, X), sorted within each query; (B, 0): none."""
    return np.empty((n_queries, 0), np.int32) if exclude is None else np.sort(exclude, axis=1).astype(np.int32)


def padded(items: Rows, scores: Array, k: int) -> Candidates:
    """Return lists, (B, K <= k), widened to k with -1 and -inf."""
    scores = scores.astype(np.float32, copy=False)
    if items.shape[1] < k:
        more = ((0, 0), (0, k - items.shape[1]))
        items = np.pad(items, more, constant_values=-1)
        scores = np.pad(scores, more, constant_values=-np.inf)
    return Candidates(items=items, scores=scores)


def describe(path: Path, kind: str, arrays: Mapping[str, Array]) -> None:
    """Append the kind of an index, the length of the file so far, and arrays of its own."""
    with path.open("ab") as out:
        own = {"kind": np.frombuffer(kind.encode(), np.uint8), "size": np.array(out.tell(), np.int64)}
        content = save({**{name: np.asarray(values) for name, values in arrays.items()}, **own})
        out.write(content + len(content).to_bytes(8, "little") + MARK)


def description(path: Path, kind: str) -> dict[str, Any]:
    """Return the arrays that `describe` appended to the file of an index of this kind.

    Raises InputError where the file cannot be read, is no index, another kind's, or cut short.
    """
    cure = "give a file that this kind of index saved, whole"
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 16))
            tail = file.read()
            length = int.from_bytes(tail[:8], "little")
            if len(tail) < 16 or tail[8:] != MARK or length > end - 16:
                raise InputError(path, cause="not an index, or cut short", cure=cure)
            file.seek(end - 16 - length)
            arrays: dict[str, Any] = load(file.read(length))
    except (OSError, SafetensorError) as error:
        raise InputError(path, cause=f"cannot be read as an index ({error})", cure=cure) from None
    found = arrays.get("kind", np.empty(0, np.uint8)).tobytes().decode("utf-8", "replace")
    if found != kind:
        raise InputError(path, cause=f"holds an index of kind {found!r}, not {kind!r}", cure=cure)
    if int(arrays["size"]) != end - 16 - length:
        raise InputError(path, cause="bytes were lost or added", cure=cure)
    return arrays
