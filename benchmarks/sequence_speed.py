"""Speed of SASRec against RecTools' at equal architecture: seconds per epoch at equal objective, time to equal NDCG.

Data: the train part of leave-last-out, every event a positive. S3-Rec Beauty (9 events per user, 50 read) has short
histories. In `ml-1m-2999-users` most histories fill the 200 events that are read. On both sides an epoch is one pass
over the same sequences, the latest items of each user, in an equal number of steps: RecTools' batches have a fixed
number of users, and ours have the number of history positions that these users have on average.

Architecture on both sides: one gated pre-norm block (LiGR), 64 dimensions, one head, a dense layer of four times that
width with GELU, dropout .5, item vectors shared between input and output. There are two objectives:

- softmax over all items: the same function of the same numbers on both sides, which the first rows compare;
- softmax over the next item and 1,024 uniformly sampled negatives. Here the work is unequal: ours samples them once per
  batch, RecTools for every position of every history. The last rows show what that is worth per epoch, and are not
  comparable.

Ours forms batches of users with similar history lengths and pads to the longest of the batch. RecTools pads every
history to the maximum length. Ours is timed as a whole fit, set-up included, divided by its epochs; RecTools from the
first batch to the last. All of RecTools' batches have the same shape, so it runs a fixed number of them, once to warm
up and once timed, and its time is scaled to the whole epoch. Its process keeps freed memory (`sasrec_peer.MALLOC`),
its best allocator setting; ours has the system's default. Both use all cores allowed to the process. They take turns,
and the medians are compared.

Time to equal NDCG: the data, the validation split and the objective (softmax over all items) are those of
`sequence-movielens`, and each side has the settings that its search there chose, ours without the average of weights.
RecTools trains until its best validation NDCG@10. Ours trains until its validation NDCG@10 first reaches that value.
Validation is not timed on either side: ours is timed in a second fit of that many epochs without it.
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

from benchmarks.rows import Row, data_folder
from benchmarks.sasrec_peer import ALL, SEED, Peer, Trial, event_positions, events, own_curve
from benchmarks.sequence_movielens import common_train
from pasand.data.dataset import Dataset
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.protocols.temporal import Temporal
from pasand.models.towers.sasrec import SASRec
from pasand.sources import load
from pasand.training.validation import split_latest

MEASURES = (
    "layers/attention.py",
    "layers/embeddings.py",
    "models/deep_model.py:DeepModel._train",
    "models/deep_model.py:DeepModel.fit",
    "models/towers/sasrec.py",
    "models/towers/sequence_tower.py",
    "models/towers/tower.py",
    "training",
)
TURNS = 3
EPOCHS = 2
"""Epochs of ours in a turn."""
BATCHES = 3
"""Batches of RecTools in a turn."""
OWN, THEIRS = Trial(0.2, 0.002), Trial(0.4, 0.002, gated=False)
"""The best trials of both sides in `sequence-movielens`, ours of those without an average of weights."""
UNEQUAL = "unequal work: ours draws the negatives once per batch, RecTools for every position of every history"


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


EQUAL = (
    Contest("S3-Rec Beauty", "sequences/s3rec_Beauty.txt.gz", 50, 128, ALL, None),
    Contest("ml-1m-2999-users", "ml-1m-2999-users", 200, 32, ALL, None),
)


UNEQUAL_WORK = (
    Contest("S3-Rec Beauty", "sequences/s3rec_Beauty.txt.gz", 50, 128, 1024, 30.0),
    Contest("ml-1m-2999-users", "ml-1m-2999-users", 200, 32, 1024, 5.0),
)


def sequences(source: str) -> Dataset:
    """Return the train part of leave-last-out; every event is a positive."""
    data = load(data_folder(source), positive_from=1.0 if "ml-1m" in source else None)
    return LeaveLastOut().split(data)[0].train


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
    """Time both sides in turns: equal objective, then time to equal NDCG, then unequal work."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(Path(folder))
        rows = [epoch_row(contest, peer) for contest in EQUAL]
        rows.append(time_row(peer))
        return rows + [epoch_row(contest, peer) for contest in UNEQUAL_WORK]


def epoch_row(contest: Contest, peer: Peer) -> Row:
    """Return the ratio of the seconds per epoch, medians of alternating turns."""
    threads = len(os.sched_getaffinity(0))
    train = sequences(contest.source)
    n_users = int((np.diff(train.by_user.start) >= 2).sum())
    n_batches = -(-n_users // contest.batch_size)
    settings = json.dumps(peer_settings(contest, threads))
    own_seconds(contest, train)  # compiles and fills caches
    turns = []
    for _ in range(TURNS):
        result = peer.train(events(train), settings)
        turns.append((own_seconds(contest, train), result["seconds"][-1] * n_batches / BATCHES))
    ours, theirs = (median(times) for times in zip(*turns, strict=True))
    equal = contest.negatives == ALL
    return Row(
        target=f"{contest.name}, {contest.objective}: RecTools' seconds per epoch divided by ours",
        value=theirs / ours,
        limit=contest.limit,
        better="higher",
        peer=f"RecTools {peer.version}, itself",
        peer_value=1.0,
        detail=f"{ours:.2f} s against {theirs:.1f} s; {n_users:,} users, {len(train):,} events, "
        f"{contest.history_length} read, batches of {contest.batch_size} users; RecTools "
        f"{BATCHES} of {n_batches} batches, scaled, keeps freed memory; {threads} threads, median of {TURNS} turns",
        comparable=equal,
        reason="" if equal else UNEQUAL,
    )


def time_row(peer: Peer) -> Row:
    """Return the ratio of the seconds until RecTools' best validation NDCG@10."""
    data = load(data_folder("ml-1m-2999-users"), positive_from=1.0)
    train = common_train(LeaveLastOut().split(data)[0], Temporal().split(data)[0])
    validation = split_latest(train, np.random.default_rng(SEED))
    assert validation is not None
    theirs, seconds = peer.curve(THEIRS, validation)
    best = int(np.argmax(theirs))
    curve = own_curve(OWN, train)
    reached = np.flatnonzero(np.array(curve) >= theirs[best])
    epochs = int(reached[0]) + 1 if len(reached) else len(curve)
    began = perf_counter()
    OWN.own(validation.train, epochs, 0).fit(validation.train, rng=np.random.default_rng(SEED))
    own, other = perf_counter() - began, sum(seconds[: best + 1])
    outcome = "" if len(reached) else f"ours never reaches it: {max(curve):.4f}, not comparable; "
    return Row(
        target="ml-1m-2999-users, all items: RecTools' seconds to its best validation NDCG@10 divided by ours to that",
        value=other / own if len(reached) else 0.0,
        limit=None,
        better="higher",
        peer=f"RecTools {peer.version}, itself",
        peer_value=1.0,
        detail=f"{outcome}NDCG@10 {theirs[best]:.4f}: {own:.1f} s, {epochs} epochs, against {other:.1f} s, {best + 1} "
        f"epochs; ours {OWN}; RecTools {THEIRS}, keeps freed memory",
        comparable=True,
    )
