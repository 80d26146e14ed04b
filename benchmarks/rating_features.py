"""RMSE and fit time of the Bayesian factorisation machine with features, on the five folds of ML-100K, against myFM.

The folds, and the choice of dimensions inside each base file, are those of `benchmarks.rating`. Settings common to all
folds (the bins, the noise, the priors and the number of sweeps) were chosen on hold-outs of u1.base. A user is
described by id, age, gender, occupation and the set of rated films; a film by id, genres, year and the set of its
raters. The peer gets the same columns in the same groups, as relational blocks, with the same dimensions and number of
sweeps. Only `fit` is timed, which in ours also prepares the columns. Reading is not timed, nor is the compilation of
our kernels, which is done once per machine and cached. Times are CPU seconds, as both sides use one thread.
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

MEASURES = (
    "features",
    "models/ratings/bayesian_fm.py",
    "models/ratings/fm_sampler.py",
    "models/ratings/posterior.py",
    "models/ratings/rating_model.py",
)
READ: dict[str, Any] = {
    "user_features": ("age", "gender", "occupation"),
    "item_features": ("genres", "year"),
    "bins": 8,
}
TRIED: list[dict[str, Any]] = [{"dimensions": dimensions} for dimensions in (8, 12)]
LONG: dict[str, Any] = {"epochs": 400, "burn_in": 100, "samples": 100}


def choose(base: Dataset, fold: int) -> BayesianFM:
    """Return an unfitted model with the options that are best on the inner hold-out."""
    train, held = inner(base, fold)
    fitted = (BayesianFM(**READ, **options).fit(train, rng=np.random.default_rng(fold)) for options in TRIED)
    best = min((rmse(model, train, held), n) for n, model in enumerate(fitted))[1]
    return BayesianFM(**READ, **LONG, **TRIED[best])


def write(file: Path, model: BayesianFM, train: Dataset, test: Dataset) -> None:
    """Write the peer's input: the blocks as CSR matrices with the widths of their groups, and the ratings."""
    arrays: dict[str, Any] = {}
    groups_by_side = model.groups(train, model.learn_encoders(train))
    for side, n, groups in zip(("user", "item"), (train.n_users, train.n_items), groups_by_side, strict=True):
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
    """Figures of one fold."""

    dimensions: int
    rmse: float
    seconds: float
    peer_rmse: float
    peer_seconds: float


def measure(fold: int, base: Dataset, test: Dataset, python: Path) -> Measured:
    """Choose the dimensions inside the base, train on all of it, test once, and do the same with the peer."""
    model = choose(base, fold)
    start = time.process_time()
    model.fit(base, rng=np.random.default_rng(fold))
    seconds = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "blocks.npz"
        write(file, model, base, test)
        peer = run_peer(python, "myfm_rating.py", file, model.dimensions, model.epochs, model.burn_in)
    return Measured(
        dimensions=model.dimensions,
        rmse=rmse(model, base, test),
        seconds=seconds,
        peer_rmse=peer["rmse"],
        peer_seconds=peer["seconds"],
    )


def folds_with_features() -> Iterator[tuple[int, Dataset, Dataset]]:
    """Yield the number, base and test of each fold, with features of users and films."""
    known = load(str(data_folder("ml-100k")))
    for fold, *parts in folds():
        assert parts[0].users == known.users
        assert parts[0].items == known.items
        base, test = (
            replace(part, user_features=known.user_features, item_features=known.item_features) for part in parts
        )
        yield fold, base, test


def rows(found: list[Measured]) -> list[Row]:
    """Return the mean errors and the ratio of the seconds."""
    ours, theirs = (" ".join(f"{getattr(fold, name):.4f}" for fold in found) for name in ("rmse", "peer_rmse"))
    seconds, peer_seconds = (sum(getattr(fold, name) for fold in found) for name in ("seconds", "peer_seconds"))
    chosen = ", ".join(str(fold.dimensions) for fold in found)
    return [
        Row(
            target="RMSE of the Bayesian factorisation machine with features",
            value=float(np.mean([fold.rmse for fold in found])),
            limit=0.880,
            better="lower",
            comparable=True,
            peer="myFM, same columns",
            peer_value=float(np.mean([fold.peer_rmse for fold in found])),
            detail=f"u1-u5: {ours}; myFM: {theirs}; dimensions chosen inside each base: {chosen}",
        ),
        Row(
            target="Bayesian factorisation machine: times faster to fit than myFM",
            value=peer_seconds / seconds,
            limit=1,
            better="higher",
            comparable=True,
            peer="myFM",
            peer_value=1,
            detail=f"{seconds / len(found):.1f} against {peer_seconds / len(found):.1f} s per fold, {LONG['epochs']} "
            "sweeps each, equal dimensions, columns and groups",
        ),
    ]


def run() -> list[Row]:
    """Measure ours and the peer on all five folds."""
    python = peer_python("myfm", "myfm==0.4.0")
    return rows([measure(*fold, python) for fold in folds_with_features()])
