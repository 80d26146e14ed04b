"""Seconds per training epoch of SASRec against RecTools' at equal architecture, with short and with long histories.

Data: the train part of leave-last-out, every event a positive. S3-Rec Beauty (9 events per user, 50 read) has short
histories. In `ml-1m-2999-users` most histories fill the 200 events that are read. On both sides an epoch is one pass
over the same sequences, the latest items of each user, in an equal number of steps: RecTools' batches have a fixed
number of users, and ours have the number of history positions that these users have on average.

Architecture on both sides: one gated pre-norm block (LiGR), 64 dimensions, one head, a dense layer of four times that
width with GELU, dropout .5, item vectors shared between input and output. There are two objectives:

- softmax over the next item and 1,024 uniformly sampled negatives. Here the sides differ: ours samples them once per
  batch, RecTools for every position of every history. Each position learns from equally many items, but the work
  differs;
- softmax over all items: the same function of the same numbers on both sides.

Ours forms batches of users with similar history lengths and pads to the longest of the batch. RecTools pads every
history to the maximum length. Ours is timed as a whole fit, set-up included, divided by its epochs; RecTools from the
first batch to the last. All of RecTools' batches have the same shape, so it runs a fixed number of them, once to warm
up and once timed, and its time is scaled to the whole epoch. Both use all cores allowed to the process. They take
turns, and the medians are compared.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.rows import Row, data_folder, peer_python, run_peer
from pasand.data.dataset import Dataset
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.models.towers.sasrec import SASRec
from pasand.sources import load

PACKAGES = ("rectools[torch]==0.19.0", "torch==2.13.0")
TURNS = 3
EPOCHS = 2
"""Epochs of ours in a turn."""
BATCHES = 3
"""Batches of RecTools in a turn."""
ALL = 1 << 30
"""More negatives than there are items, so that all items are used."""


@dataclass(frozen=True)
class Contest:
    """One data set and objective on both sides."""

    name: str
    source: str
    history_length: int
    batch_size: int
    negatives: int
    limit: float | None

    @property
    def objective(self) -> str:
        """Text that describes the negatives."""
        return "all items" if self.negatives == ALL else f"{self.negatives:,} negatives"


CONTESTS = (
    Contest("S3-Rec Beauty", "sequences/s3rec_Beauty.txt.gz", 50, 128, 1024, 30.0),
    Contest("S3-Rec Beauty", "sequences/s3rec_Beauty.txt.gz", 50, 128, ALL, None),
    Contest("ml-1m-2999-users", "ml-1m-2999-users", 200, 32, 1024, 5.0),
    Contest("ml-1m-2999-users", "ml-1m-2999-users", 200, 32, ALL, None),
)


def sequences(source: str) -> Dataset:
    """Return the train part of leave-last-out; every event is a positive."""
    data = load(data_folder(source), positive_from=1.0 if "ml-1m" in source else None)
    return LeaveLastOut().split(data)[0].train


def event_positions(train: Dataset, history_length: int, batch_size: int) -> int:
    """Return the mean number of history positions with a next item in a batch of users, rounded up.

    RecTools' batches count users and ours count positions, so that both take the same number of steps per epoch.
    """
    count = np.minimum(np.diff(train.by_user.start), history_length + 1)
    return int(np.ceil((count[count >= 2] - 1).mean() * batch_size))


def own_seconds(contest: Contest, train: Dataset) -> float:
    """Return our seconds per epoch."""
    model = SASRec(
        dimensions=64,
        blocks=1,
        heads=1,
        gated=True,
        dropout=0.5,
        history_length=contest.history_length,
        batch_size=event_positions(train, contest.history_length, contest.batch_size),
        negatives=contest.negatives,
        epochs=EPOCHS,
        patience=0,
        device="cpu",
    )
    began = perf_counter()
    model.fit(train, rng=np.random.default_rng(0))
    return (perf_counter() - began) / EPOCHS


def peer_settings(contest: Contest, threads: int) -> dict[str, Any]:
    """Return the settings of the peer's script."""
    sampled = {"loss": "sampled_softmax", "n_negatives": contest.negatives}
    return {
        "epochs": 2,
        "batches": BATCHES,
        "patience": 0,
        "threads": threads,
        "seed": 0,
        "layers": "gated",
        "n_blocks": 1,
        "n_heads": 1,
        "n_factors": 64,
        "dropout_rate": 0.5,
        "session_max_len": contest.history_length,
        "batch_size": contest.batch_size,
        **({"loss": "softmax"} if contest.negatives == ALL else sampled),
    }


def run() -> list[Row]:
    """Time both sides in turns."""
    python, rows = peer_python("rectools-torch", *PACKAGES), []
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "events.npz"), Path(folder, "out.npy")
        for contest in CONTESTS:
            train = sequences(contest.source)
            grouped = train.by_user
            np.savez(source, user=train.user[grouped.event], item=grouped.item)
            n_users = int((np.diff(grouped.start) >= 2).sum())
            n_batches = -(-n_users // contest.batch_size)
            settings = json.dumps(peer_settings(contest, threads))
            own_seconds(contest, train)  # compiles and fills caches
            turns = []
            for _ in range(TURNS):
                result = run_peer(python, "rectools_sasrec.py", source, out, settings)
                turns.append((own_seconds(contest, train), result["seconds"][-1] * n_batches / BATCHES))
            ours, theirs = (median(times) for times in zip(*turns, strict=True))
            rows.append(
                Row(
                    target=f"{contest.name}, {contest.objective}: RecTools' seconds per epoch divided by ours",
                    value=theirs / ours,
                    limit=contest.limit,
                    better="higher",
                    peer=f"RecTools {result['version']}, itself",
                    peer_value=1.0,
                    detail=f"{ours:.2f} s against {theirs:.1f} s; {n_users:,} users, {len(train):,} events, "
                    f"{contest.history_length} read, batches of {contest.batch_size} users; RecTools "
                    f"{BATCHES} of {n_batches} batches, scaled; {threads} threads, median of {TURNS} turns",
                )
            )
    return rows
