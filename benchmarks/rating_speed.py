"""Fit time of biased matrix factorisation against Surprise's SVD, at equal epochs, dimensions and options.

Both use the same update rule with the same learning rate, l2 and initialisation on the same ratings: u1.base of
ML-100K, and the ratings of ML-1M. Runs alternate, and medians of wall-clock seconds are compared. Ours runs on two
threads and then on one; Surprise has one. Only the ratio on one thread each is comparable. Only fitting is timed: not
reading, not the building of Surprise's trainset, and not the compilation of our kernel, which is done once per machine
and cached.
"""

from __future__ import annotations

import gzip
import statistics
import tempfile
import time
from pathlib import Path
from typing import TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, data_folder, peer_python, run_peer
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.models.ratings.biased_mf import BiasedMF

MEASURES = ("models/ratings/biased_mf.py", "models/ratings/rating_model.py", "models/ratings/sgd.py")
Table: TypeAlias = NDArray[np.int64]

FACTORS, EPOCHS, ROUNDS = 100, 20, 3
LIMIT = 8
THREADS = (1, 2)


def table(path: Path) -> Table:
    """Return the rows (user, item, rating) of a gzipped file."""
    with gzip.open(path) as file:
        rows: Table = np.loadtxt(file, dtype=np.int64)[:, :3]
    return rows


def sizes() -> dict[str, tuple[Table, ...]]:
    """Return train and test ratings by name; the test of ML-1M is a random twentieth."""
    hundred = data_folder("ml-100k") / "splits"
    million = table(data_folder("ncf-splits") / "ml-1m.train.rating.notime.gz")
    held = np.random.default_rng(0).random(len(million)) < 0.05
    return {
        "ML-100K": (table(hundred / "u1.base.gz"), table(hundred / "u1.test.gz")),
        "ML-1M": (million[~held], million[held]),
    }


def run() -> list[Row]:
    """Measure one ratio for each data set."""
    python = peer_python("surprise", "scikit-surprise==1.1.5", "numpy<2")
    rows = []
    for name, (train, test) in sizes().items():
        users, items = Vocabulary(map(str, np.unique(train[:, 0]))), Vocabulary(map(str, np.unique(train[:, 1])))
        data, held = (
            Dataset(
                name=name,
                users=users,
                items=items,
                user=users.rows(part[:, 0].tolist()),
                item=items.rows(part[:, 1].tolist()),
                time=np.zeros(len(part), np.int64),
                value=part[:, 2].astype(np.float32),
                values="rating",
                order="none",
            )
            for part in (train, test)
        )
        assert held.value is not None
        model = BiasedMF(
            dimensions=FACTORS,
            epochs=EPOCHS,
            learning_rate=0.005,
            learning_rate_decay=1,
            l2=0.02,
            l2_bias=0.02,
            init_std=0.1,
            validation_share=0,
        )
        model.fit(data.select(slice(0, 100)), rng=np.random.default_rng(0))  # compiles
        ours: dict[int, list[float]] = {threads: [] for threads in THREADS}
        theirs, peer_rmse = [], 0.0
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / part for part in ("train", "test")]
            for file, part in zip(files, (train, test), strict=True):
                np.savetxt(file, part, fmt="%d", delimiter="\t")
            for _ in range(ROUNDS):
                for threads in THREADS:
                    numba.set_num_threads(threads)
                    start = time.perf_counter()
                    model.fit(data, rng=np.random.default_rng(0))
                    ours[threads].append(time.perf_counter() - start)
                result = run_peer(python, "surprise_speed.py", *files, FACTORS, EPOCHS)
                theirs.append(result["seconds"])
                peer_rmse = result["rmse"]
        # queries without histories use the learnt user parameters, as no history changed since training
        queries = data.queries(held.user, k=1, upto=np.zeros(len(held), np.int64))
        predicted = model.predict(queries, held.item[:, None])[:, 0]
        rmse = float(np.sqrt(np.mean((predicted - held.value) ** 2, dtype=np.float64)))
        peer_seconds = statistics.median(theirs)
        for threads, times in ours.items():
            seconds, equal = statistics.median(times), threads == 1
            against = "one thread each" if equal else f"{threads} threads against one"
            rows.append(
                Row(
                    target=f"biased MF, {len(data):,} ratings of {name}: times faster than Surprise, {against}",
                    value=peer_seconds / seconds,
                    limit=LIMIT,
                    better="higher",
                    peer="Surprise SVD",
                    peer_value=1,
                    detail=f"{seconds:.2f} against {peer_seconds:.2f} s, {FACTORS} factors, "
                    f"{EPOCHS} epochs, medians of {ROUNDS}, compilation excluded; "
                    f"test RMSE {rmse:.4f} against {peer_rmse:.4f}",
                    comparable=equal,
                    reason="" if equal else "ours has two threads, Surprise can use one only",
                )
            )
    return rows
