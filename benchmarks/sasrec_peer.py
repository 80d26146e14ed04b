"""RecTools' SASRec and ours with equal settings, for the benchmarks `sequence-movielens` and `sequence-speed`.

RecTools runs in an environment of its own, in the allocator setting that is best for it: the process keeps freed memory
(`MALLOC`), which halves its time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import peer_python, run_peer
from pasand.data.dataset import Dataset
from pasand.evaluation.split import Split
from pasand.models.towers.sasrec import SASRec
from pasand.training.validation import ValidationSplit
from pasand.types import Candidates, Queries, Rows, Scores

PACKAGES = ("rectools[torch]==0.19.0", "torch==2.13.0")
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "50000000000"}
"""Environment in which the peer's process keeps freed memory."""
ALL = 1 << 30
"""More negatives than there are items, so that all items are used."""
EPOCHS = 40
PATIENCE = 3
SEED = 0
DIMENSIONS = 64
HEADS = 2
HISTORY_LENGTH = 50
BATCH_SIZE = 32
AVERAGING = 0.998
"""Weight of the earlier weights in the moving average."""


def event_positions(train: Dataset, history_length: int, batch_size: int) -> int:
    """Return the mean number of history positions with a next item in a batch of users, rounded up.

    RecTools' batches count users and ours count positions, so that both take the same number of steps per epoch.
    """
    count = np.minimum(np.diff(train.by_user.start), history_length + 1)
    return int(np.ceil((count[count >= 2] - 1).mean() * batch_size))


@dataclass(frozen=True)
class Trial:
    """Settings that the search of `sequence-movielens` varies."""

    dropout: float
    learning_rate: float
    gated: bool = True
    averaged: bool = False
    """Whether the model uses the moving average of the weights; RecTools has no such choice."""

    def own(self, train: Dataset, epochs: int, patience: int) -> SASRec:
        """Return our model, with as many history positions per batch as RecTools' batches have on average."""
        return SASRec(
            dimensions=DIMENSIONS,
            heads=HEADS,
            history_length=HISTORY_LENGTH,
            batch_size=event_positions(train, HISTORY_LENGTH, BATCH_SIZE),
            negatives=ALL,
            gated=self.gated,
            averaging=AVERAGING if self.averaged else 0.0,
            dropout=self.dropout,
            learning_rate=self.learning_rate,
            epochs=epochs,
            patience=patience,
            refit=False,
            device="cpu",
        )

    def peer(self, epochs: int, patience: int) -> str:
        """Return the settings of the peer's script as JSON."""
        settings: dict[str, Any] = {
            "n_factors": DIMENSIONS,
            "n_heads": HEADS,
            "n_blocks": 1,
            "session_max_len": HISTORY_LENGTH,
            "batch_size": BATCH_SIZE,
            "loss": "softmax",
            "layers": "gated" if self.gated else "sasrec",
            "dropout_rate": self.dropout,
            "lr": self.learning_rate,
            "epochs": epochs,
            "patience": patience,
            "threads": len(os.sched_getaffinity(0)),
            "seed": SEED,
        }
        return json.dumps(settings)

    def __str__(self) -> str:
        blocks = f"{'gated' if self.gated else 'plain'} blocks{', averaged' if self.averaged else ''}"
        return f"{blocks}, dropout {self.dropout:g}, rate {self.learning_rate:g}"


@dataclass(frozen=True)
class TrialResult:
    """Best validation figure of a trial."""

    value: float
    """Best validation NDCG@10."""
    trial: Trial
    epochs: int
    """Number of epochs after which it was reached."""

    def __str__(self) -> str:
        return f"{self.trial}, {self.epochs} epochs"


@dataclass(frozen=True)
class PrecomputedLists:
    """Retriever that returns lists computed elsewhere for the queries of a split."""

    lists: dict[tuple[int, int], Rows]
    """Items by user and number of events in the history; see `keys`."""

    def __call__(self, queries: Queries) -> Candidates:
        items = np.stack([self.lists[key] for key in keys(queries)])
        scores = np.where(items >= 0, -np.arange(items.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
        return Candidates(items=items, scores=scores)


def keys(queries: Queries) -> list[tuple[int, int]]:
    """Return the user and the number of events in the history of each query."""
    return list(zip(queries.users.tolist(), (queries.history >= 0).sum(axis=1).tolist(), strict=True))


def events(data: Dataset) -> dict[str, Any]:
    """Return the train events in the peer's input format, grouped by user, oldest first."""
    return {"user": data.user[data.by_user.event], "item": data.by_user.item}


def query_histories(batches: Iterable[Queries]) -> dict[str, Any]:
    """Return the histories of queries, numbered from 0 in the given order, in the peer's input format."""
    query, seen, before = [], [], 0
    for queries in batches:
        row, position = np.nonzero(queries.history >= 0)
        query.append(row + before)
        seen.append(queries.history[row, position])
        before += len(queries)
    return {"query": np.concatenate(query), "seen": np.concatenate(seen), "n_queries": np.array(before)}


class Peer:
    """RecTools in its own environment."""

    def __init__(self, folder: Path) -> None:
        self.python = peer_python("rectools-torch", *PACKAGES)
        self.source, self.out = folder / "source.npz", folder / "out.npy"
        self.version = ""

    def train(self, source: dict[str, Any], settings: str) -> dict[str, Any]:
        """Train on a source of `peers/rectools_sasrec.py`, and return its output: "seconds", "curve", "version"."""
        np.savez(self.source, **source)
        result: dict[str, Any] = run_peer(
            self.python, "rectools_sasrec.py", self.source, self.out, settings, environment=MALLOC
        )
        self.version = result["version"]
        return result

    def curve(self, trial: Trial, validation: ValidationSplit) -> tuple[list[float], list[float]]:
        """Return the validation NDCG@10 after each epoch, and the seconds of each epoch without the validation."""
        histories = query_histories([validation.queries.take(validation.query)])
        source = {**events(validation.train), **histories, "truth": validation.item}
        result = self.train(source, trial.peer(EPOCHS, PATIENCE))
        return list(result["curve"]), list(result["seconds"])

    def recommend(self, winner: TrialResult, split: Split) -> PrecomputedLists:
        """Return the lists for the test queries of a split, after training on its train part."""
        batches = [batch.queries for batch in split.list_batches(10)]
        self.train({**events(split.train), **query_histories(batches)}, winner.trial.peer(winner.epochs, 0))
        order = [key for queries in batches for key in keys(queries)]
        return PrecomputedLists(dict(zip(order, np.load(self.out).astype(np.int32), strict=True)))

    def score(self, trial: Trial, epochs: int, data: Dataset, users: Rows, lists: Rows) -> Scores:
        """Return the scores of the listed items, (B, K), for the whole histories of users, (B,), after training."""
        queries = data.queries(users, k=10)
        self.train({**events(data), **query_histories([queries]), "lists": lists}, trial.peer(epochs, 0))
        scores: Scores = np.load(self.out)
        return scores


def own_curve(trial: Trial, train: Dataset) -> list[float]:
    """Return our validation NDCG@10 after each epoch, on the validation split of `split_latest` with this seed."""
    model = trial.own(train, EPOCHS, PATIENCE).fit(train, rng=np.random.default_rng(SEED))
    return model.curves()["validation ndcg@10"]
