"""Where trainings keep what they have reached, so that a killed one goes on instead of starting anew. Needs no torch.

Inside `with keeping(folder)` every training writes one file, safetensors with its numbers in the header: under a
temporary name first, then renamed, so that a kill at any moment leaves the older file or the newer one. The file
says what it belongs to (model, settings, data, seed); another model's is refused, and so is a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pasand import __version__
from pasand.data.dataset import Dataset
from pasand.data.features import pack
from pasand.errors import InputError
from pasand.types import Array, Arrays

FORMAT = 1
"""Version of the layout; another one is refused."""
SUFFIX = ".checkpoint"
ANEW = "remove its folder to train anew"


@dataclass
class _Keeping:
    folder: Path
    begun: int = 0
    """Trainings that were begun inside the block; they come in one order, so their number names their files."""


_keeping: ContextVar[_Keeping | None] = ContextVar("keeping", default=None)


def beside(bundle: str | Path) -> Path:
    """Return the folder that keeps the trainings of a bundle until it is written."""
    place = Path(bundle).absolute()
    return place.with_name(f"{place.name}.training")


@contextmanager
def keeping(folder: str | Path | None) -> Iterator[None]:
    """Keep the trainings inside the block in a folder, which is made when the first is written; None: do not.

    The block must train the same models in the same order as the one that it resumes.
    """
    token = _keeping.set(None if folder is None else _Keeping(Path(folder)))
    try:
        yield
    finally:
        _keeping.reset(token)


def begun(folder: str | Path) -> bool:
    """Return whether a folder holds a training to resume; raises InputError where something else is there."""
    place = Path(folder)
    if not place.exists():
        return False
    if not place.is_dir() or any(not _ours(file) for file in place.iterdir()):
        cause = "needed for checkpoints, and something else is there"
        raise InputError(place, cause=cause, cure="move it away, or name another place for the bundle")
    return any(file.suffix == SUFFIX for file in place.iterdir())


def discard(folder: str | Path) -> None:
    """Remove the checkpoints in a folder, and the folder where nothing else is in it."""
    place = Path(folder)
    if not place.is_dir():
        return
    for file in [file for file in place.iterdir() if _ours(file)]:
        file.unlink(missing_ok=True)
    if not any(place.iterdir()):
        place.rmdir()


def checkpoint(name: str, about: Mapping[str, Any]) -> Checkpoint | None:
    """Return the checkpoint of the training that begins now; None outside `keeping`.

    `about` says what the training depends on, in values that JSON can hold or in words.
    """
    kept = _keeping.get()
    if kept is None:
        return None
    kept.begun += 1
    return Checkpoint(kept.folder / f"{kept.begun:02}-{name}{SUFFIX}", json.loads(json.dumps(about, default=str)))


def depends(model: Any, data: Dataset, seed: int) -> dict[str, Any]:
    """Return what a model's training depends on: its settings, the data with their features, the seed, this release.

    {} outside `keeping`, where nothing is kept of it.
    """
    if _keeping.get() is None:
        return {}
    digest = hashlib.sha256(data.fingerprint.encode())
    for features in (data.user_features, data.item_features):
        arrays, about = pack(features)
        digest.update((_digest(arrays, json.dumps(about))).encode())
    settings = {field.name: getattr(model, field.name) for field in fields(model) if field.init}
    known = {"data": digest.hexdigest(), "positive_from": str(data.positive_from), "order": data.order}
    return {"model": type(model).__name__, **settings, **known, "seed": seed, "pasand": __version__}


@dataclass(frozen=True)
class Checkpoint:
    """One file, which may not be there yet."""

    path: Path
    about: Mapping[str, Any]
    """What the training depends on; a file about anything else is refused."""

    def read(self) -> tuple[dict[str, Array], dict[str, Any]] | None:
        """Return the arrays and numbers that were written last; None where there is no file.

        Raises InputError where the file is cut short, damaged, of another format or of another training.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="numpy") as file:
                header = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = header["pasand"]
            stored = json.loads(text)
            version, about, numbers, digest = stored["format"], stored["about"], stored["numbers"], header["sha256"]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            cause = f"no whole checkpoint: cut short or damaged ({error})"
            raise InputError(self.path, cause=cause, cure=ANEW) from None
        if version != FORMAT:
            cause = f"checkpoint of format {version}, this release reads {FORMAT}"
            raise InputError(self.path, cause=cause, cure=ANEW)
        if digest != _digest(arrays, text):
            raise InputError(self.path, cause="damaged: its sha256 differs", cure=ANEW)
        if about != self.about:
            cause = f"checkpoint of another training: {'; '.join(_differences(about, self.about))}"
            raise InputError(self.path, cause=cause, cure=f"go on with what it was begun with, or {ANEW}")
        return arrays, numbers

    def write(self, arrays: Arrays, numbers: Mapping[str, Any]) -> None:
        """Replace the file; raises InputError where it cannot be written, leaving the older one."""
        plain = {name: np.asarray(values, order="C") for name, values in arrays.items()}
        text = json.dumps({"format": FORMAT, "about": self.about, "numbers": numbers})
        header = {"pasand": text, "sha256": _digest(plain, text)}
        part = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file(plain, part, metadata=header)
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.replace(self.path)
        except (OSError, SafetensorError) as error:
            cause = f"cannot be written: {getattr(error, 'strerror', None) or error}"
            raise InputError(self.path, cause=cause, cure="make room or name another place") from None
        finally:
            if part.is_file():
                part.unlink()


def _ours(file: Path) -> bool:
    return file.name.endswith((SUFFIX, SUFFIX + ".part"))


def _digest(arrays: Arrays, text: str) -> str:
    """Return the sha256 of everything in a file."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return a clause for each thing in which two trainings differ."""
    absent = "nothing"
    names = [name for name in {**there, **here} if there.get(name, absent) != here.get(name, absent)]
    return [f"{name} was {there.get(name, absent)}, is {here.get(name, absent)}" for name in names]
