"""Seconds of one training epoch of SASRec beside RecTools' at equal architecture: short histories and long ones.

Data: the train part of leave-last-out, every event a liking. S3-Rec Beauty (9 events a user, 50 read) has short
histories; in `ml-1m-2999-users` most fill the 200 that are read. On both sides an epoch is one pass over the same
sequences, the latest items of each user, in as many steps: RecTools' batches hold a number of users, ours as many
places of histories as that many users have on average.

Architecture on both sides: one gated pre-norm block (LiGR), width 64, one head, dense layer of four times the width
with GELU, dropout .5, item vectors shared between input and output. Two objectives:

- softmax over the next item and 1,024 drawn uniformly. Here the sides differ: ours draws them once for the batch,
  RecTools for every place of every history. What each place learns from is as many items, but the work is not the same;
- softmax over all items: the same function of the same numbers on both sides.

Ours cuts batches from users of like length and pads to the longest of the batch; RecTools pads all to the most that is
read. Ours is timed as a whole fit, set-up included, divided by its epochs; RecTools from the first batch to the last.
All of RecTools' batches have one shape, so it runs a fixed number of them, once to warm up and once for the clock, and
its time is scaled to the whole epoch. Both use all cores allowed to the process, take turns, and the medians count.
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
"""Of ours in a turn."""
BATCHES = 3
"""Of RecTools in a turn."""
ALL = 1 << 30
"""More negatives than there are items: all of them."""


@dataclass(frozen=True)
class Contest:
    """One data set and objective on both sides."""

    name: str
    place: str
    history_length: int
    batch_size: int
    negatives: int
    limit: float | None

    @property
    def objective(self) -> str:
        """How the negatives are said."""
        return "all items" if self.negatives == ALL else f"{self.negatives:,} negatives"


CONTESTS = (
    Contest("S3-Rec Beauty", "sequences/s3rec_Beauty.txt.gz", 50, 128, 1024, 30.0),
    Contest("S3-Rec Beauty", "sequences/s3rec_Beauty.txt.gz", 50, 128, ALL, None),
    Contest("ml-1m-2999-users", "ml-1m-2999-users", 200, 32, 1024, 5.0),
    Contest("ml-1m-2999-users", "ml-1m-2999-users", 200, 32, ALL, None),
)


def sequences(place: str) -> Dataset:
    """Return the train part of leave-last-out; every event counts as a liking."""
    data = load(data_folder(place), positive_from=1.0 if "ml-1m" in place else None)
    return LeaveLastOut().split(data)[0].train


def event_positions(train: Dataset, history_length: int, batch_size: int) -> int:
    """Return how many places, followed by another item, so many users' histories hold on average, rounded up.

    RecTools' batches are users, ours are places: so both take as many steps an epoch.
    """
    count = np.minimum(np.diff(train.by_user.start), history_length + 1)
    return int(np.ceil((count[count >= 2] - 1).mean() * batch_size))


def own_seconds(contest: Contest, train: Dataset) -> float:
    """Return the seconds of an epoch of ours."""
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
    """Return what the peer's script is told."""
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
    """Time both sides by turns."""
    python, rows = peer_python("rectools-torch", *PACKAGES), []
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "events.npz"), Path(folder, "out.npy")
        for contest in CONTESTS:
            train = sequences(contest.place)
            grouped = train.by_user
            np.savez(source, user=train.user[grouped.event], item=grouped.item)
            n_users = int((np.diff(grouped.start) >= 2).sum())
            n_batches = -(-n_users // contest.batch_size)
            settings = json.dumps(peer_settings(contest, threads))
            own_seconds(contest, train)  # what is compiled or cached once
            turns = []
            for _ in range(TURNS):
                told = run_peer(python, "rectools_sasrec.py", source, out, settings)
                turns.append((own_seconds(contest, train), told["seconds"][-1] * n_batches / BATCHES))
            ours, theirs = (median(times) for times in zip(*turns, strict=True))
            rows.append(
                Row(
                    target=f"{contest.name}, {contest.objective}: RecTools' seconds an epoch over ours",
                    value=theirs / ours,
                    limit=contest.limit,
                    better="higher",
                    peer=f"RecTools {told['version']}, itself",
                    peer_value=1.0,
                    detail=f"{ours:.2f} s against {theirs:.1f} s; {n_users:,} users, {len(train):,} events, "
                    f"{contest.history_length} read, batches of {contest.batch_size} users; RecTools "
                    f"{BATCHES} of {n_batches} batches, scaled; {threads} threads, median of {TURNS} turns",
                )
            )
    return rows
