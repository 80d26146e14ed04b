"""Caches vectors on disk by the content of texts and files, so that what is unchanged is not encoded again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pasand.encoders import Encoder, UnreadableInput
from pasand.progress import step
from pasand.types import Array, Vectors

MAGIC = b"PASANDV2"
HEAD = 16
"""Bytes before the records: the magic and the width of the vectors."""
TEXTS, FILES = 512, 64
"""Inputs that are encoded before their vectors are stored."""


def default_folder() -> Path:
    """Return the user's folder for vectors: pasand/vectors in XDG_CACHE_HOME, or else in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pasand" / "vectors"


def encode(
    encoder: Encoder,
    texts: Sequence[str],
    folder: Path | None = None,
    *,
    faults: dict[int, str] | None = None,
    label: str = "encoding",
) -> Vectors:
    """Return the encoder's vector of each input, (n, D); only inputs that are not in the cache are encoded.

    `folder` is by default `default_folder()`. It has one file for each encoder fingerprint, to which vectors are
    appended batch by batch: after an interruption, what was encoded is there. A damaged record is encoded again.

    An input that cannot be read gets a row of nan and its cause in `faults`, by position; without `faults`,
    UnreadableInput is raised for the first one, after all others are stored.
    """
    causes: dict[int, str] = {}
    file = (folder or default_folder()) / f"{encoder.fingerprint()}.vectors"
    keys: list[bytes] = []
    for at, text in enumerate(texts):
        try:
            keys.append(_key(encoder, text))
        except UnreadableInput as error:
            keys.append(b"")
            causes[at] = str(error)
    known = _known(file, set(keys))
    missing = {key: at for at, key in enumerate(keys) if key and key not in known}
    size, total = FILES if encoder.reads_files else TEXTS, len(missing)
    order = list(missing.items())
    for start in range(0, total, size):
        step(label, start, total)
        batch = order[start : start + size]
        vectors, failed = _encode(encoder, [texts[at] for _, at in batch])
        for row, cause in failed.items():
            causes |= {at: cause for at, key in enumerate(keys) if key == batch[row][0]}
        fresh = {key: vectors[row] for row, (key, _) in enumerate(batch) if row not in failed}
        known |= fresh
        _append(file, fresh)
    if total:
        step(label, total, total)
    if causes and faults is None:
        at, cause = min(causes.items())
        raise UnreadableInput(f"{texts[at]}: {cause}")
    if faults is not None:
        faults.update(causes)
    if not known:
        width = encoder.encode([]).shape[1]
        return np.full((len(texts), width), np.nan, np.float32)
    absent = np.full_like(next(iter(known.values())), np.nan)
    return np.stack([known.get(key, absent) for key in keys]) if keys else np.empty((0, len(absent)), np.float32)


def _key(encoder: Encoder, text: str) -> bytes:
    """Return the sha256 of a text, or of the bytes of the file that it names; raises UnreadableInput without it."""
    if not encoder.reads_files:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    try:
        if os.path.isdir(text):
            files = sorted(file for file in Path(text).iterdir() if file.is_file())
            return hashlib.sha256(b"".join(_key(encoder, str(file)) for file in files)).digest()
        with open(text, "rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except (OSError, ValueError) as error:
        cause = "there is no such file" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error}"
        raise UnreadableInput(cause) from error


def _encode(encoder: Encoder, texts: Sequence[str]) -> tuple[Vectors, dict[int, str]]:
    """Return the vectors of a batch, and the cause by row of those that have none: after an error, one by one."""
    try:
        return encoder.encode(texts), {}
    except UnreadableInput:
        failed: dict[int, str] = {}
        rows: dict[int, Vectors] = {}
        for row, text in enumerate(texts):
            try:
                rows[row] = encoder.encode([text])[0]
            except UnreadableInput as error:
                failed[row] = str(error)
        width = len(next(iter(rows.values()))) if rows else 0
        vectors = np.full((len(texts), width), np.nan, np.float32)
        for row, vector in rows.items():
            vectors[row] = vector
        return vectors, failed


def _record(width: int) -> np.dtype[np.void]:
    return np.dtype([("key", "u1", 32), ("check", "<u4"), ("vector", "<f4", (width,))])


def _checks(keys: Array, vectors: Array) -> Array:
    """Return the checksum of each record, (n,)."""
    pairs = zip(keys, vectors, strict=True)
    return np.array([zlib.crc32(vector.tobytes(), zlib.crc32(key.tobytes())) for key, vector in pairs], np.uint32)


def _known(file: Path, wanted: set[bytes]) -> dict[bytes, Vectors]:
    """Return the undamaged vectors of a file that are wanted, by key; none where it is absent or of another kind."""
    try:
        with file.open("rb") as stored:
            width = _width(stored.read(HEAD))
            count = (file.stat().st_size - HEAD) // _record(max(width, 1)).itemsize
    except OSError:
        return {}
    if not width or count < 1:
        return {}
    records = np.memmap(file, _record(width), "r", HEAD, (count,))
    keys = [key.tobytes() for key in np.asarray(records["key"])]
    rows = np.array([row for row, key in enumerate(keys) if key in wanted], np.int64)
    chosen = records[rows]
    good = chosen["check"] == _checks(chosen["key"], chosen["vector"])
    vectors = np.array(chosen["vector"], np.float32)
    return {keys[row]: vectors[at] for at, row in enumerate(rows.tolist()) if good[at]}


def _width(head: bytes) -> int:
    """Return the width of the vectors of a file by its first bytes, 0 where it is no such file."""
    width = int.from_bytes(head[8:12], "little") if len(head) == HEAD and head[:8] == MAGIC else 0
    return width if width <= 1 << 20 else 0


def _append(file: Path, fresh: dict[bytes, Vectors]) -> None:
    """Append vectors in one write; a record that an interrupted write left incomplete is cut off before."""
    if not fresh:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    width = len(next(iter(fresh.values())))
    records = np.zeros(len(fresh), _record(width))
    records["key"] = [np.frombuffer(key, np.uint8) for key in fresh]
    records["vector"] = list(fresh.values())
    records["check"] = _checks(records["key"], records["vector"])
    with open(file, "a+b") as out, _locked(out.fileno()):
        out.seek(0)
        if _width(out.read(HEAD)) != width:
            out.truncate(0)
            out.write(MAGIC + width.to_bytes(4, "little") + bytes(4))
        else:
            size = out.seek(0, os.SEEK_END)
            out.truncate(size - (size - HEAD) % records.dtype.itemsize)
        out.write(records.tobytes())


@contextlib.contextmanager
def _locked(handle: int) -> Iterator[None]:
    """Hold a file, so that of several processes one at a time appends; without effect on Windows."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)
