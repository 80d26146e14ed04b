"""Frames from rows of Python values: the objects of JSON lines or of a JSON array, and columns of a database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import polars as pl
import polars.exceptions

from pasand.data.encoding.cells import text_of_bytes
from pasand.data.log import BATCH
from pasand.errors import InputError

MAX_ARRAY_BYTES = 4 << 30
"""Largest JSON array, which is read as a whole."""


def json_frames(
    file: Path,
    path: Path,
    columns: list[str] | None,
    size: int = BATCH,
    constants: Mapping[str, str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the objects of a JSON file as frames of up to `size` rows; `columns` None: all of each frame.

    `constants` are cells that all rows have. A line without an object becomes a row of nulls, which is later counted as
    a bad row. Raises InputError where the first line is not an object.
    """
    rows: list[dict[str, object]] = []

    def frame() -> pl.DataFrame:
        names = columns if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
        return pl.DataFrame([column(name, [row.get(name) for row in rows]) for name in names])

    for number, line in enumerate(_objects(file, path)):
        row = _decoded(line)
        if number == 0 and not isinstance(row, dict):
            cause = "the first line is not a JSON object"
            cure = "write one object a line, or a list of objects"
            raise InputError(path, row=1, value=line[:40].decode("utf-8", "replace"), cause=cause, cure=cure)
        rows.append({**row, **(constants or {})} if isinstance(row, dict) else {})
        if len(rows) == size:
            yield frame()
            rows.clear()
    if rows:
        yield frame()


def _objects(file: Path, path: Path) -> Iterator[bytes]:
    """Yield the JSON texts of a file: those of its lines that are not blank, or the members of one array."""
    with file.open("rb") as opened:
        first = next((line for line in opened if line.removeprefix(b"\xef\xbb\xbf").strip()), b"")
        first = first.removeprefix(b"\xef\xbb\xbf").strip()
        if first.startswith(b"[") and not isinstance(_decoded(first), list | None):
            yield first
        elif first.startswith(b"["):
            if file.stat().st_size > MAX_ARRAY_BYTES:
                cause = f"it is one JSON array of more than {MAX_ARRAY_BYTES >> 30} GiB"
                raise InputError(path, cause=cause, cure="write one object a line: jq -c '.[]' OLD > NEW")
            yield from _members(first + b"\n" + opened.read(), path)
            return
        elif first:
            yield first
        for line in opened:
            if line.strip():
                yield line


def _members(text: bytes, path: Path) -> Iterator[bytes]:
    """Yield the members of a JSON array as JSON texts; raises InputError where it is no valid JSON."""
    try:
        members: list[msgspec.Raw] = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            rows = json.loads(text)  # accepts NaN
        except (ValueError, RecursionError):
            cause = f"it begins like a JSON array and is none ({error})"
            raise InputError(path, cause=cause, cure="write one object a line, or a list of objects") from error
        members = [msgspec.Raw(json.dumps(row).encode()) for row in rows]
    for member in members:
        yield bytes(member)


def _decoded(line: bytes) -> object:
    """Return the value of a JSON text, in which NaN is allowed; None where it is invalid."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            return None


def column(name: str, cells: list[object]) -> pl.Series:
    """Return Python values as a series; as text where they have several types, or one that is no cell, as UUIDs."""
    try:
        series = pl.Series(name, cells, strict=True)
    except (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError):
        series = pl.Series(name, [None], dtype=pl.Object)
    if series.dtype != pl.Object:
        return series
    return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(cell: object) -> str | None:
    """Return a value as text; a whole float is written as a whole number."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, bytes):
        return text_of_bytes(cell)
    return None if cell is None else str(cell)
