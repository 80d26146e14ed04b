"""Checkpoints of trainings, so that an interrupted training resumes instead of starting from scratch. Needs no torch.

Inside `with saving_to(folder)` every training writes one safetensors file with its numbers in the header, and so does
every component of a recipe whose fit is long. The file is
written under a temporary name and then renamed, so that a kill at any time leaves the older file or the newer one. The
header names what the training depends on (model, settings, data, seed); a checkpoint of another training is refused,
and so is a damaged one.
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
"""Version of the file format; other versions are refused."""
SUFFIX = ".checkpoint"
START_OVER = "remove its folder to train from scratch"


@dataclass
class _Saving:
    folder: Path
    started: int = 0
    """Trainings started inside the block; their order is always the same, so the number names their files."""


_saving: ContextVar[_Saving | None] = ContextVar("saving", default=None)


def folder_of(bundle: str | Path) -> Path:
    """Return the folder for the checkpoints of a bundle's trainings, next to the bundle."""
    path = Path(bundle).absolute()
    return path.with_name(f"{path.name}.training")


@contextmanager
def saving_to(folder: str | Path | None) -> Iterator[None]:
    """Save checkpoints of the trainings inside the block to a folder, created when needed; None: save none.

    To resume, the block must train the same models in the same order as before.
    """
    token = _saving.set(None if folder is None else _Saving(Path(folder)))
    try:
        yield
    finally:
        _saving.reset(token)


def resumable(folder: str | Path) -> bool:
    """Return whether a folder holds checkpoints to resume from; raises InputError where it holds anything else."""
    path = Path(folder)
    if not path.exists():
        return False
    if not path.is_dir() or any(not _is_ours(file) for file in path.iterdir()):
        cause = "needed for checkpoints, but holds other files"
        raise InputError(path, cause=cause, cure="move them away, or choose another path for the bundle")
    return any(file.suffix == SUFFIX for file in path.iterdir())


def discard(folder: str | Path) -> None:
    """Remove the checkpoints in a folder, and the folder if it is then empty."""
    path = Path(folder)
    if not path.is_dir():
        return
    for file in [file for file in path.iterdir() if _is_ours(file)]:
        file.unlink(missing_ok=True)
    if not any(path.iterdir()):
        path.rmdir()


def checkpoint(name: str, about: Mapping[str, Any]) -> Checkpoint | None:
    """Return the checkpoint of the training that starts now; None outside `saving_to`.

    `about` holds what the training depends on; values that JSON cannot represent are stored as text.
    """
    saving = _saving.get()
    if saving is None:
        return None
    saving.started += 1
    path = saving.folder / f"{saving.started:02}-{name}{SUFFIX}"
    return Checkpoint(path, json.loads(json.dumps(about, default=str)))


def dependencies(model: Any, data: Dataset, seed: int) -> dict[str, Any]:
    """Return what a model's training depends on: its settings, the data with features, the seed, this release.

    {} outside `saving_to`, where it is not needed.
    """
    if _saving.get() is None:
        return {}
    settings = {field.name: getattr(model, field.name) for field in fields(model) if field.init}
    return {"model": type(model).__name__, **settings, **of_data(data, seed)}


def of_data(data: Dataset, seed: int) -> dict[str, Any]:
    """Return what any fit depends on beside its settings: the data with features, the seed, this release.

    {} outside `saving_to`, where it is not needed.
    """
    if _saving.get() is None:
        return {}
    digest = hashlib.sha256(data.fingerprint.encode())
    for features in (data.user_features, data.item_features):
        arrays, about = pack(features)
        digest.update((_digest(arrays, json.dumps(about))).encode())
    known = {"data": digest.hexdigest(), "positive_from": str(data.positive_from), "order": data.order}
    return {**known, "seed": seed, "pasand": __version__}


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of one training; it may not exist yet."""

    path: Path
    about: Mapping[str, Any]
    """What the training depends on; a file of a training with other dependencies is refused."""

    def read(self) -> tuple[dict[str, Array], dict[str, Any]] | None:
        """Return the arrays and numbers written last; None where there is no file.

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
            cause = f"incomplete or damaged checkpoint ({error})"
            raise InputError(self.path, cause=cause, cure=START_OVER) from None
        if version != FORMAT:
            cause = f"checkpoint of format {version}, this release reads {FORMAT}"
            raise InputError(self.path, cause=cause, cure=START_OVER)
        if digest != _digest(arrays, text):
            raise InputError(self.path, cause="damaged: its sha256 differs", cure=START_OVER)
        if about != self.about:
            cause = f"checkpoint of another training: {'; '.join(_differences(about, self.about))}"
            raise InputError(
                self.path, cause=cause, cure=f"resume with the original data and settings, or {START_OVER}"
            )
        return arrays, numbers

    def write(self, arrays: Arrays, numbers: Mapping[str, Any]) -> None:
        """Replace the file; raises InputError where it cannot be written, which leaves the older file."""
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
            raise InputError(self.path, cause=cause, cure="free some disk space or choose another path") from None
        finally:
            if part.is_file():
                part.unlink()


def _is_ours(file: Path) -> bool:
    return file.name.endswith((SUFFIX, SUFFIX + ".part"))


def _digest(arrays: Arrays, text: str) -> str:
    """Return the sha256 of a file's whole content: arrays and header text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each dependency in which two trainings differ."""
    absent = "absent"
    names = [name for name in {**before, **now} if before.get(name, absent) != now.get(name, absent)]
    return [f"{name} was {before.get(name, absent)}, is {now.get(name, absent)}" for name in names]
