"""`Pretrained`: what encoders whose weights are one ONNX file share; finds that file, and runs it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pasand.errors import InputError
from pasand.types import Array, Arrays, Vectors


def models_folder() -> Path:
    """Return the folder of prepared models: pasand/models in XDG_CACHE_HOME, or else in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pasand" / "models"


def find(model: str, names: Sequence[str]) -> Path:
    """Return the file or folder of a model: one of these names that `pasand fetch` prepared, or else a path.

    Raises InputError where it is not on this machine.
    """
    path = models_folder() / model if model in names else Path(model)
    if not path.exists():
        cure = f"pasand fetch {model}" if model in names else "check the path"
        raise InputError("model", value=model, cause="it is not on this machine", cure=cure)
    return path


class OnnxModel:
    """A pretrained network in an ONNX file, run on ONNX Runtime."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Open the file; `threads` 0: one for each core. Raises InputError if it is no model that can be run."""
        try:
            import onnxruntime
        except ImportError as error:
            cure = "pip install onnxruntime"
            raise InputError("encoders", cause="onnxruntime is not installed", cure=cure) from error
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            cause = f"it is no ONNX model that onnxruntime {onnxruntime.__version__} can run: {error}"
            raise InputError(
                path, cause=" ".join(cause.split())[:300], cure="give the file of another model"
            ) from error
        self.path = path
        self.shapes: dict[str, list[Any]] = {one.name: one.shape for one in self._session.get_inputs()}
        """Shape of each input; sizes that vary are names or None."""

    @cached_property
    def about(self) -> dict[str, Any]:
        """The metadata of the file, those that are JSON."""
        found = {}
        for key, text in self._session.get_modelmeta().custom_metadata_map.items():
            try:
                found[key] = json.loads(text)
            except ValueError:
                continue
        return found

    def run(self, inputs: Mapping[str, Array]) -> Vectors:
        """Return the first output; raises InputError where the network cannot read such inputs."""
        try:
            output: Vectors = self._session.run([self._session.get_outputs()[0].name], dict(inputs))[0]
        except Exception as error:  # as above
            cause = f"it cannot be run: {' '.join(str(error).split())[:200]}"
            raise InputError(self.path, cause=cause, cure="give a model with inputs of another shape") from error
        return output


@dataclass(kw_only=True)
class Pretrained:
    """Base of encoders that learn nothing and run an ONNX file; a subclass defines `encode`."""

    model: str
    """Name of a model that `pasand fetch` prepared, or the path of an ONNX file."""
    threads: int = 1
    """Number of threads of the network; 0: one for each core."""
    names: ClassVar[Sequence[str]] = ()
    """Names of models that `pasand fetch` prepares for this encoder."""
    reads_files: ClassVar[bool] = True
    version: ClassVar[int] = 1
    """Number that changes with what is done before and after the network."""
    _network: OnnxModel | None = field(default=None, init=False, repr=False, compare=False)
    _fingerprint: str = field(default="", init=False, repr=False, compare=False)

    def fit(self, texts: Sequence[str]) -> Self:
        """Return the encoder unchanged: it learns nothing."""
        return self

    def fingerprint(self) -> str:
        """Return the sha256 of the model's file and of the encoder's version; read once."""
        if not self._fingerprint:
            with self.file().open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            self._fingerprint = hashlib.sha256(f"{type(self).__name__} {self.version} {digest}".encode()).hexdigest()
        return self._fingerprint

    def state(self) -> Arrays:
        """Return no arrays: the weights stay in the file."""
        return {}

    def load_state(self, arrays: Arrays) -> None:
        """Restore nothing."""

    def file(self) -> Path:
        """Return the ONNX file; raises InputError where it is not on this machine."""
        path = find(self.model, self.names)
        return path / "model.onnx" if self.model in self.names else path

    def network(self) -> OnnxModel:
        """Return the opened network; it is opened once."""
        if self._network is None:
            self._network = OnnxModel(self.file(), self.threads)
        return self._network


def normalised(vectors: Vectors) -> Vectors:
    """Return vectors scaled to length 1, (n, D) float32; zeros stay zeros, and so do rows that are not finite."""
    finite = np.where(np.isfinite(vectors).all(axis=-1, keepdims=True), vectors, 0).astype(np.float64)
    length = np.linalg.norm(finite, axis=-1, keepdims=True)
    scaled: Vectors = (finite / np.where(length > 1e-12, length, 1)).astype(np.float32)
    return scaled
