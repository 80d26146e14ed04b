"""Helpers shared by all indexes: checks of vectors and rows, padded results, and the metadata at the end of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pasand.errors import InputError, failure_cause
from pasand.types import Array, Candidates, Rows, Vectors

MAGIC = b"pasandix"
"""Last bytes of every index file; before them are the metadata and, in 8 bytes, their length."""


def checked_vectors(vectors: Vectors, dimensions: int | None, *, what: str) -> Vectors:
    """Return (n, D) vectors as contiguous float32.

    Raises InputError for a vector that is not finite, naming its row, and for a width other than `dimensions`.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InputError(what, cause=f"shape {vectors.shape} is not that of vectors", cure="give (n, D) numbers")
    if dimensions is not None and vectors.shape[1] != dimensions:
        cause = f"{vectors.shape[1]} wide, but the index is {dimensions} wide"
        raise InputError(what, cause=cause, cure="embed with the model for which the index was built")
    vectors = np.ascontiguousarray(vectors, np.float32)
    finite = np.isfinite(vectors.max(axis=1)) & np.isfinite(vectors.min(axis=1))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InputError(what, row=row, cause="not a number or infinite", cure="check training and features for nan")
    return vectors


def check_rows(rows: Rows, vectors: Vectors) -> None:
    """Raise InputError unless there is one row, at least 0, for each vector."""
    if rows.shape != (len(vectors),):
        raise InputError("rows to add", cause=f"{len(rows)} rows for {len(vectors)} vectors", cure="give one each")
    if (rows < 0).any():
        position = int(np.flatnonzero(rows < 0)[0])
        raise InputError("rows to add", row=position, value=int(rows[position]), cause="a row must be at least 0")


def last_positions(rows: Rows) -> Array:
    """Return the last position of each distinct row, in order, so that a row given twice keeps its newer vector."""
    _, backwards = np.unique(rows[::-1], return_index=True)
    positions: Array = np.sort(len(rows) - 1 - backwards)
    return positions


def sorted_exclusions(exclude: Rows | None, n_queries: int) -> Rows:
    """Return the excluded rows, (B, X), sorted within each query; (B, 0) where `exclude` is None."""
    return np.empty((n_queries, 0), np.int32) if exclude is None else np.sort(exclude, axis=1).astype(np.int32)


def padded_candidates(items: Rows, scores: Array, k: int) -> Candidates:
    """Return lists of (B, K) items and scores, K <= k, as candidates (B, k), padded with -1 and -inf."""
    scores = scores.astype(np.float32, copy=False)
    if items.shape[1] < k:
        padding = ((0, 0), (0, k - items.shape[1]))
        items = np.pad(items, padding, constant_values=-1)
        scores = np.pad(scores, padding, constant_values=-np.inf)
    return Candidates(items=items, scores=scores)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise InputError where the body finds that the file's content is no whole index, by whatever exception."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # faiss has no common exception, and a foreign file can cause many
        cause = f"cannot be read as an index ({failure_cause(error)})"
        raise InputError(path, cause=cause, cure="give a complete file saved by this kind of index") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise InputError where the body fails to write the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cure = "free some space or choose another path"
        raise InputError(path, cause=f"cannot be written ({error})", cure=cure) from None


def append_metadata(path: Path, kind: str, arrays: Mapping[str, Array]) -> None:
    """Append metadata to an index file: the kind of the index, the length of the file so far, and the given arrays."""
    with path.open("ab") as out:
        header = {
            "kind": np.frombuffer(kind.encode(), np.uint8),
            "size": np.array(os.fstat(out.fileno()).st_size, np.int64),
        }
        content = save({**{name: np.asarray(values) for name, values in arrays.items()}, **header})
        out.write(content + len(content).to_bytes(8, "little") + MAGIC)


def read_metadata(path: Path, kind: str) -> dict[str, Any]:
    """Return the arrays that `append_metadata` wrote to the file of an index of this kind.

    Raises InputError where the file cannot be read, is not an index, is of another kind, or is truncated.
    """
    cure = "give a complete file saved by this kind of index"
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 16))
            tail = file.read()
            length = int.from_bytes(tail[:8], "little")
            if len(tail) < 16 or tail[8:] != MAGIC or length > end - 16:
                raise InputError(path, cause="not an index, or truncated", cure=cure)
            file.seek(end - 16 - length)
            arrays: dict[str, Any] = load(file.read(length))
    except (OSError, SafetensorError) as error:
        raise InputError(path, cause=f"cannot be read as an index ({error})", cure=cure) from None
    saved_kind = arrays.get("kind", np.empty(0, np.uint8)).tobytes().decode("utf-8", "replace")
    if saved_kind != kind:
        raise InputError(path, cause=f"contains an index of kind {saved_kind!r}, not {kind!r}", cure=cure)
    if int(arrays["size"]) != end - 16 - length:
        raise InputError(path, cause="bytes are missing or were added", cure=cure)
    return arrays
