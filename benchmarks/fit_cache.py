"""Fitted models kept in a folder, so that a benchmark of many long fits goes on where it was interrupted.

The folder is `.cache/benchmarks`, or the one named by PASAND_BENCHMARK_CACHE in the environment. An entry depends on
the training events, the model's settings, the seed, the number of threads and the code that trains: after a change of
any of these, the model is fitted again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np

from benchmarks.code_hashes import hashes
from benchmarks.rows import ROOT
from pasand.data.dataset import Dataset
from pasand.models.deep_model import DeepModel

M = TypeVar("M", bound=DeepModel)
SECONDS = "seconds of the fit"


def folder() -> Path:
    """Return the folder of the cache."""
    return Path(os.environ.get("PASAND_BENCHMARK_CACHE", ROOT / ".cache" / "benchmarks"))


def entry(name: str, model: DeepModel, data: Dataset, *, seed: int, threads: int, code: Sequence[str]) -> Path:
    """Return the file of a fitted model; `name` begins its name, `code` trains the model (`code_hashes.names`)."""
    settings = {field.name: repr(getattr(model, field.name)) for field in fields(model) if field.init}
    source = {"settings": settings, "seed": seed, "threads": threads, "code": hashes(code), "data": _digest(data)}
    mark = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:16]
    return folder() / f"{name}-seed{seed}-{mark}.npz"


def fitted(name: str, model: M, data: Dataset, *, seed: int, threads: int, code: Sequence[str]) -> tuple[M, float]:
    """Return the model fitted on the data, and the seconds of the fit: from the cache, or fitted now."""
    file = entry(name, model, data, seed=seed, threads=threads, code=code)
    if file.exists():
        with np.load(file) as arrays:
            state = {key: arrays[key] for key in arrays.files}
        seconds = float(state.pop(SECONDS))
        model.load_state(state)
        return model, seconds
    began = perf_counter()
    model.fit(data, rng=np.random.default_rng(seed))
    seconds = perf_counter() - began
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(part := file.with_suffix(".part"), "wb") as stream:
        np.savez(stream, **model.state(), **{SECONDS: np.array(seconds)})  # type: ignore[arg-type]
    part.replace(file)
    return model, seconds


def _digest(data: Dataset) -> str:
    """Return the hash of the events: users, items, times, and which are positives."""
    digest = hashlib.sha256(f"{data.n_users} {data.n_items} {data.positive_from}".encode())
    for values in (data.user, data.item, data.time, data.is_positive):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
