"""Vectors kept by the content of their texts, so that an unchanged text is not encoded again."""

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
    """Return the folder of this user for vectors: XDG_CACHE_HOME, else ~/.cache, then pasand/vectors."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pasand" / "vectors"


def encode(encoder: Encoder, texts: Sequence[str], folder: Path | None = None) -> Vectors:
    """Return what the encoder gives for each text, (n, D), asking it only for texts not met before.

    There is a file for each fingerprint of an encoder, replaced by one rename; a damaged one is made anew. None:
    `default_folder`.
    """
    file = (folder or default_folder()) / f"{encoder.fingerprint()}.npz"
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    known = _read(file)
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing or not texts:
        made = encoder.encode(list(missing.values()))
        if not texts:
            return made
        if any(vector.shape != made.shape[1:] for vector in known.values()):
            return _anew(encoder, texts, keys, file)
        known |= dict(zip(missing, made, strict=True))
        _write(file, known)
    return np.stack([known[key] for key in keys])


def _anew(encoder: Encoder, texts: Sequence[str], keys: Sequence[str], file: Path) -> Vectors:
    made = encoder.encode(texts)
    _write(file, dict(zip(keys, made, strict=True)))
    return made


def _read(file: Path) -> dict[str, Vectors]:
    try:
        with file.open("rb") as stored, np.load(stored, allow_pickle=False) as arrays:
            keys, vectors = arrays["keys"], arrays["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    whole = keys.ndim == 1 and vectors.ndim == 2 and len(keys) == len(vectors) and vectors.dtype == np.float32
    return dict(zip(keys.tolist(), vectors, strict=True)) if whole else {}


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
