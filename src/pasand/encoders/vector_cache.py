"""Caches vectors on disk by the content of their texts, so that an unchanged text is not encoded again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pasand.encoders import Encoder
from pasand.types import Vectors


def default_folder() -> Path:
    """Return the user's folder for vectors: pasand/vectors in XDG_CACHE_HOME, or else in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pasand" / "vectors"


def encode(encoder: Encoder, texts: Sequence[str], folder: Path | None = None) -> Vectors:
    """Return the encoder's vector of each text, (n, D); only texts that are not in the cache are encoded.

    `folder` is by default `default_folder()`. It has one file for each encoder fingerprint, which is replaced
    atomically. A damaged file is rebuilt.
    """
    file = (folder or default_folder()) / f"{encoder.fingerprint()}.npz"
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    known = _read(file)
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing or not texts:
        vectors = encoder.encode(list(missing.values()))
        if not texts:
            return vectors
        if any(vector.shape != vectors.shape[1:] for vector in known.values()):
            return _rebuild(encoder, texts, keys, file)
        known |= dict(zip(missing, vectors, strict=True))
        _write(file, known)
    return np.stack([known[key] for key in keys])


def _rebuild(encoder: Encoder, texts: Sequence[str], keys: Sequence[str], file: Path) -> Vectors:
    vectors = encoder.encode(texts)
    _write(file, dict(zip(keys, vectors, strict=True)))
    return vectors


def _read(file: Path) -> dict[str, Vectors]:
    """Return the vectors of a file by key; none where it is absent or damaged."""
    try:
        with file.open("rb") as stored, np.load(stored, allow_pickle=False) as arrays:
            keys, vectors = arrays["keys"], arrays["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    valid = keys.ndim == 1 and vectors.ndim == 2 and len(keys) == len(vectors) and vectors.dtype == np.float32
    return dict(zip(keys.tolist(), vectors, strict=True)) if valid else {}


def _write(file: Path, known: dict[str, Vectors]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            np.savez(out, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
