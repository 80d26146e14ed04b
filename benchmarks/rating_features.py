"""Error of predicted ratings where users and films are described, on the five folds of ML-100K, against myFM.

The folds, and how the width is chosen inside each base file, are those of `benchmarks.rating`; what is the same for all
folds (the bins, the noise, the priors and the number of sweeps) was settled on hold-outs of u1.base. A user is his id,
age, gender, occupation and the set of films that he rated; a film is its id, genres, year and the set of its raters.
The peer gets the same columns in the same groups, as relational blocks, the same width and the same number of sweeps.
Timed is `fit` alone, which in ours prepares the columns too; not reading, nor the compilation of our kernels, which a
machine does once and keeps. Seconds are of the processor, as both have one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.rating import folds, inner, rmse
from benchmarks.rows import Row, data_folder, peer_python, run_peer
from pasand.data.dataset import Dataset
from pasand.models.ratings.bayesian_fm import BayesianFM
from pasand.sources import load

READ: dict[str, Any] = {
    "user_features": ("age", "gender", "occupation"),
    "item_features": ("genres", "year"),
    "bins": 8,
}
TRIED: list[dict[str, Any]] = [{"dimensions": dimensions} for dimensions in (8, 12)]
LONG: dict[str, Any] = {"epochs": 400, "burn_in": 100, "samples": 100}


def choose(base: Dataset, fold: int) -> BayesianFM:
    """Return a model with the options that do best on the inner hold-out, not yet fitted."""
    train, held = inner(base, fold)
    fitted = (BayesianFM(**READ, **options).fit(train, rng=np.random.default_rng(fold)) for options in TRIED)
    best = min((rmse(model, train, held), n) for n, model in enumerate(fitted))[1]
    return BayesianFM(**READ, **LONG, **TRIED[best])


def write(file: Path, model: BayesianFM, train: Dataset, test: Dataset) -> None:
    """Write what the peer reads: the blocks as CSR matrices with the widths of their groups, and the ratings."""
    arrays: dict[str, Any] = {}
    sides = zip(("user", "item"), (train.n_users, train.n_items), model.groups(train, model.reads(train)), strict=True)
    for side, n, groups in sides:
        parts = [sparse.csr_array(sparse.eye_array(n)), *groups]
        block = sparse.csr_array(sparse.hstack(parts))
        arrays |= {f"{side}_{part}": getattr(block, part) for part in ("data", "indices", "indptr", "shape")}
        arrays[f"{side}_groups"] = [part.shape[1] for part in parts]
    for name, part in (("train", train), ("test", test)):
        assert part.value is not None
        arrays |= {f"{name}_user": part.user, f"{name}_item": part.item, f"{name}_value": part.value.astype(np.float64)}
    np.savez(file, **arrays)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one fold gave."""

    width: int
    rmse: float
    seconds: float
    peer_rmse: float
    peer_seconds: float


def measure(fold: int, base: Dataset, test: Dataset, python: Path) -> Measured:
    """Choose the width inside the base, learn from all of it, meet the test once; then the peer."""
    model = choose(base, fold)
    start = time.process_time()
    model.fit(base, rng=np.random.default_rng(fold))
    seconds = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "blocks.npz"
        write(file, model, base, test)
        found = run_peer(python, "myfm_rating.py", file, model.dimensions, model.epochs, model.burn_in)
    return Measured(
        width=model.dimensions,
        rmse=rmse(model, base, test),
        seconds=seconds,
        peer_rmse=found["rmse"],
        peer_seconds=found["seconds"],
    )


def described() -> Iterator[tuple[int, Dataset, Dataset]]:
    """Yield the number, base and test of each fold, with what is known of users and films."""
    known = load(str(data_folder("ml-100k")))
    for fold, *parts in folds():
        assert parts[0].users == known.users
        assert parts[0].items == known.items
        base, test = (
            replace(part, user_features=known.user_features, item_features=known.item_features) for part in parts
        )
        yield fold, base, test


def rows(found: list[Measured]) -> list[Row]:
    """Return mean errors and the ratio of the seconds."""
    ours, theirs = (" ".join(f"{getattr(one, name):.4f}" for one in found) for name in ("rmse", "peer_rmse"))
    seconds, peer_seconds = (sum(getattr(one, name) for one in found) for name in ("seconds", "peer_seconds"))
    widths = ", ".join(str(one.width) for one in found)
    return [
        Row(
            target="RMSE of the Bayesian factorisation machine with features",
            value=float(np.mean([one.rmse for one in found])),
            limit=0.880,
            better="lower",
            peer="myFM, same columns",
            peer_value=float(np.mean([one.peer_rmse for one in found])),
            detail=f"u1-u5: {ours}; myFM: {theirs}; width chosen inside each base: {widths}",
        ),
        Row(
            target="Bayesian factorisation machine: times faster to fit than myFM",
            value=peer_seconds / seconds,
            limit=1,
            better="higher",
            peer="myFM",
            peer_value=1,
            detail=f"{seconds / len(found):.1f} against {peer_seconds / len(found):.1f} s a fold, {LONG['epochs']} "
            "sweeps each, equal width, columns and groups",
        ),
    ]


def run() -> list[Row]:
    """Measure ours and the peer on all five folds."""
    python = peer_python("myfm", "myfm==0.4.0")
    return rows([measure(*fold, python) for fold in described()])
