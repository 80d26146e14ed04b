"""Fit time of implicit ALS and item kNN on ML-1M against `implicit`, at equal width, epochs, threads and quality.

The data are all 1,000,209 pairs of user and item, minus one random held-out pair of each user. Both sides use two
threads and fit in turns; the medians are compared. Ours starts from the event columns, implicit from a ready sparse
matrix. A fit of a small part comes first, so that the compilation of our kernels (once per machine, then cached on
disk) is not timed. Quality is NDCG@10 of the held-out item over the full catalogue, computed by the same code.

Both minimise the same weighted loss: implicit's alpha is 1 + 1 / unobserved_weight. Its regularisation is constant,
ours grows with activity, so each side gets the best of five values on this hold-out.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numba
import numpy as np
import polars as pl

from benchmarks.rows import Row, data_folder, peer_python, run_peer
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.models.classical.ials import IALS
from pasand.models.classical.item_knn import ItemKNN
from pasand.stages.filtering import DropSeen
from pasand.stages.retrieval import FromModel
from pasand.types import Rows

MEASURES = (
    "features/strengths.py",
    "models/classical/ials.py",
    "models/classical/item_knn.py",
    "models/classical/neighbours.py",
)
TURNS = 5
DIMENSIONS = 64
NEIGHBOURS = 50
PACKAGES = ("implicit==0.7.3", "numpy", "scipy", "threadpoolctl")
REGULARISATIONS = (1.0, 10.0, 30.0, 100.0, 300.0)
L2S = (0.003, 0.005, 0.007, 0.01, 0.014)


def pairs(path: Path) -> pl.DataFrame:
    """Return the columns user and item of a MovieLens `ratings.dat` as rows 0..n-1, and time, null where absent."""
    lines = pl.read_csv(path, has_header=False, separator="\n", new_columns=["line"])
    wide = lines["line"].str.split("::").list.to_struct(fields=["user", "item", "rating", "time"]).struct.unnest()
    dense = [(pl.col(name).cast(pl.Int64).rank("dense") - 1).cast(pl.Int32).alias(name) for name in ("user", "item")]
    return wide.select(*dense, pl.col("time").cast(pl.Int64))


def dataset(frame: pl.DataFrame, shape: tuple[int, int]) -> Dataset:
    """Return the pairs as a dataset with the same rows."""
    return Dataset(
        name="ml-1m",
        users=Vocabulary(f"{i:05}" for i in range(shape[0])),
        items=Vocabulary(f"{i:05}" for i in range(shape[1])),
        user=frame["user"].to_numpy(),
        item=frame["item"].to_numpy(),
        time=np.zeros(len(frame), np.int64),
        order="none",
    )


def top_ten(model: Model, data: Dataset, users: Rows) -> Rows:
    """Return the ten best unseen items of each user."""
    batches = np.array_split(users, max(len(users) // 1000, 1))
    filtered = (DropSeen()(data.queries(batch, k=10)) for batch in batches)
    return np.vstack([FromModel(model)(queries).items for queries in filtered])


def ndcg(lists: Rows, held: Rows) -> float:
    """Return NDCG@10 of one held-out item per list."""
    hit, rank = np.nonzero(lists == held[:, None])
    return float((1 / np.log2(rank + 2)).sum() / len(lists)) if len(hit) else 0.0


def recall(lists: Rows, held: Rows) -> float:
    """Return recall@10 of one held-out item per list."""
    return float((lists == held[:, None]).any(axis=1).mean())


def fit(model: Model, data: Dataset) -> float:
    """Return the seconds of one fit."""
    started = perf_counter()
    model.fit(data, rng=np.random.default_rng(0))
    return perf_counter() - started


def run() -> list[Row]:
    """Fit both sides in turns and compare the medians."""
    numba.set_num_threads(2)
    frame = pairs(data_folder("ml-1m") / "ratings_notime.dat.gz")
    shape = (frame["user"].n_unique(), frame["item"].n_unique())
    shuffled = frame.sample(fraction=1, shuffle=True, seed=0)
    held = shuffled.unique("user", keep="first", maintain_order=True).sort("user")
    train = shuffled.join(held, on=["user", "item"], how="anti").sort("user", "item")
    data, users, truth = dataset(train, shape), held["user"].to_numpy(), held["item"].to_numpy()
    small = dataset(train.head(5000), shape)
    python = peer_python("implicit", *PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "pairs.npz"), Path(folder, "out.npy")
        np.savez(source, user=data.user, item=data.item, shape=shape, users=users)

        def peer(kind: str, **settings: Any) -> tuple[float, float]:
            result = run_peer(python, "implicit_fit.py", kind, source, out, json.dumps(settings))
            return float(result["seconds"]), ndcg(np.load(out), truth)

        def own(l2: float) -> float:
            model = IALS(dimensions=DIMENSIONS, l2=l2).fit(data, rng=np.random.default_rng(0))
            return ndcg(top_ten(model, data, users), truth)

        ials = IALS(dimensions=DIMENSIONS, l2=max(L2S, key=own))
        als = {"factors": DIMENSIONS, "iterations": ials.epochs, "alpha": 1 + 1 / ials.unobserved_weight}
        als |= {"num_threads": 2, "random_state": 0}
        tried = {penalty: peer("ials", **als, regularization=penalty)[1] for penalty in REGULARISATIONS}
        best = max(tried, key=lambda penalty: tried[penalty])
        knn = ItemKNN(neighbours=NEIGHBOURS, shrinkage=0)
        contests: list[tuple[str, Model, str, dict[str, Any], str]] = [
            (
                "implicit ALS",
                ials,
                "ials",
                {**als, "regularization": best},
                f"{DIMENSIONS} dimensions, {ials.epochs} epochs, {ials.conjugate_steps} conjugate steps each; "
                f"l2 {ials.l2:g} of {L2S}, implicit's {best:g} of {REGULARISATIONS}",
            ),
            (
                "item kNN, cosine",
                knn,
                "item_knn",
                {"K": NEIGHBOURS + 1, "num_threads": 2},
                f"{NEIGHBOURS} neighbours (implicit's {NEIGHBOURS + 1} include the item itself)",
            ),
        ]
        rows = []
        for name, model, kind, settings, detail in contests:
            fit(model, small)
            turns = [(fit(model, data), *peer(kind, **settings)) for _ in range(TURNS)]
            ours, theirs = median(turn[0] for turn in turns), median(turn[1] for turn in turns)
            quality, other = ndcg(top_ten(model, data, users), truth), median(turn[2] for turn in turns)
            detail = f"{detail}; 2 threads, median of {TURNS} turns"
            rows += [
                Row(
                    target=f"{name}: fit time as a share of implicit's",
                    value=ours / theirs,
                    limit=1.0,
                    better="lower",
                    comparable=True,
                    peer="implicit 0.7.3, itself",
                    peer_value=1.0,
                    detail=f"{ours:.3f} s against {theirs:.3f} s; {detail}",
                ),
                Row(
                    target=f"{name}: NDCG@10 of a random held-out item",
                    value=quality,
                    limit=other - 1e-3,
                    better="higher",
                    comparable=True,
                    peer="implicit 0.7.3",
                    peer_value=other,
                    detail="equal quality: at least implicit's minus 0.001",
                ),
            ]
    return rows
