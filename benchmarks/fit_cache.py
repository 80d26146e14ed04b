"""Fitted models kept in a folder, so that a benchmark of many long fits goes on where it was interrupted.

The folder is `.cache/benchmarks`, or the one named by PASAND_BENCHMARK_CACHE in the environment. An entry depends on
the training events, the model's settings, the seed, the number of threads and the code that trains: after a change of
any of these, the model is fitted again. It does not depend on the device, which it names: fits on a GPU equal those on
a CPU up to rounding (`tests/training/test_cuda.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from benchmarks.code_hashes import hashes
from benchmarks.rows import ROOT
from pasand.data.dataset import Dataset
from pasand.models.deep_model import DeepModel

M = TypeVar("M", bound=DeepModel)
SECONDS, DEVICE = "seconds of the fit", "device of the fit"


class Fit(NamedTuple):
    """How a kept model was fitted."""

    seconds: float
    device: str
    """"CPU", or the name of the GPU."""


def folder() -> Path:
    """Return the folder of the cache."""
    return Path(os.environ.get("PASAND_BENCHMARK_CACHE", ROOT / ".cache" / "benchmarks"))


def entry(name: str, model: DeepModel, data: Dataset, *, seed: int, threads: int, code: Sequence[str]) -> Path:
    """Return the file of a fitted model; `name` begins its name, `code` trains the model (`code_hashes.names`)."""
    settings = {
        field.name: repr(getattr(model, field.name)) for field in fields(model) if field.init and field.name != "device"
    }
    source = {"settings": settings, "seed": seed, "threads": threads, "code": hashes(code), "data": _digest(data)}
    mark = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:16]
    return folder() / f"{name}-seed{seed}-{mark}.npz"


def fitted(name: str, model: M, data: Dataset, *, seed: int, threads: int, code: Sequence[str]) -> tuple[M, Fit]:
    """Return the model fitted on the data, from the cache or fitted now on its device, and how it was fitted."""
    file = entry(name, model, data, seed=seed, threads=threads, code=code)
    if file.exists():
        with np.load(file) as arrays:
            state = {key: arrays[key] for key in arrays.files}
        how = Fit(float(state.pop(SECONDS)), str(state.pop(DEVICE, "CPU")))
        model.load_state(state)
        return model, how
    began = perf_counter()
    model.fit(data, rng=np.random.default_rng(seed))
    how = Fit(perf_counter() - began, device_name(model.device))
    about = {SECONDS: np.array(how.seconds), DEVICE: np.array(how.device)}
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(part := file.with_suffix(".part"), "wb") as stream:
        np.savez(stream, **model.state(), **about)  # type: ignore[arg-type]
    part.replace(file)
    return model, how


def device_name(device: str) -> str:
    """Return "CPU", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device.upper()


def _digest(data: Dataset) -> str:
    """Return the hash of the events: users, items, times, and which are positives."""
    digest = hashlib.sha256(f"{data.n_users} {data.n_items} {data.positive_from}".encode())
    for values in (data.user, data.item, data.time, data.is_positive):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
