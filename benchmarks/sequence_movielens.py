"""SASRec against RecTools' SASRec on `ml-1m-2999-users`, tuned alike: NDCG@10 over the full catalogue.

Data: every rating is a liking, as in papers on sequences. Protocols: leave-last-out, each user's last event; and
temporal, the events after the first 80 %, at most ten questions a user, histories that roll forward. The first lets
models learn from other users' future, the second does not. Items in the history are not recommended. Users without
a history get the most popular items on both sides.

Settings of both sides: one block, two heads, width 64, the latest 50 items of a history, batches of 32 users (ours: of
as many places of histories as 32 users have on average), softmax over all items (RecTools' default loss), Adam. Search
of both sides: the same eight trials, plain or gated blocks (LiGR), dropout .2 or .4, learning rate .002 or .004;
training stops after three epochs without a better validation NDCG@10, the best trial and its best number of epochs are
taken. RecTools' plain blocks are its default, those of SASRec's authors, with a dense layer as wide as the vectors;
ours are pre-norm, their dense layer four times as wide.

The search sees only events that are train under both protocols, and withholds of those each user's last; so neither
test was looked at. The winner of each side is then trained anew, on the train part of each protocol, for the number of
epochs found. The interval is a bootstrap over users of the difference of their values.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.rows import Row, data_folder, peer_python, run_peer
from benchmarks.sequence_speed import ALL, PACKAGES, places
from pasand.data.dataset import Dataset
from pasand.data.sources import load
from pasand.evaluation.compare import RECENT_DAYS
from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.intervals import of_ratios
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.significance import paired
from pasand.evaluation.split import Split
from pasand.models.popularity import Popularity
from pasand.models.sasrec import SASRec
from pasand.recommender import Recommender, ladder
from pasand.stages.retrieval import Fallback, FromModel
from pasand.training.withheld import Withheld, latest
from pasand.types import Candidates, Queries, Rows

METRIC = "ndcg@10"
EPOCHS = 40
PATIENCE = 3
SEED = 0
DIMENSIONS = 64
HEADS = 2
MAX_LENGTH = 50
BATCH_SIZE = 32


@dataclass(frozen=True)
class Trial:
    """What the search varies, the same on both sides."""

    gated: bool
    dropout: float
    learning_rate: float

    def own(self, train: Dataset, epochs: int, patience: int) -> SASRec:
        """Return our model, with batches of as many places as RecTools' have in these data on average."""
        return SASRec(
            dimensions=DIMENSIONS,
            heads=HEADS,
            max_length=MAX_LENGTH,
            batch_size=places(train, MAX_LENGTH, BATCH_SIZE),
            negatives=ALL,
            gated=self.gated,
            dropout=self.dropout,
            learning_rate=self.learning_rate,
            epochs=epochs,
            patience=patience,
            refit=False,
            device="cpu",
        )

    def peer(self, epochs: int, patience: int) -> str:
        """Return what the peer's script is told."""
        settings: dict[str, Any] = {
            "n_factors": DIMENSIONS,
            "n_heads": HEADS,
            "n_blocks": 1,
            "session_max_len": MAX_LENGTH,
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
        return f"{'gated' if self.gated else 'plain'}, dropout {self.dropout:g}, rate {self.learning_rate:g}"


TRIALS = [Trial(*values) for values in product((False, True), (0.2, 0.4), (0.002, 0.004))]


@dataclass(frozen=True)
class Found:
    """The best trial of one side."""

    trial: Trial
    epochs: int
    value: float
    """Its validation NDCG@10."""
    seconds: float
    """Of the whole search."""

    def __str__(self) -> str:
        return f"{self.trial}, {self.epochs} epochs, found in {self.seconds:.0f} s"


@dataclass(frozen=True)
class Told:
    """Gives the lists that were computed elsewhere for the questions of a split."""

    lists: dict[tuple[int, int], Rows]
    """By user and number of events in the history."""

    def __call__(self, queries: Queries) -> Candidates:
        items = np.stack([self.lists[key] for key in keys(queries)])
        scores = np.where(items >= 0, -np.arange(items.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
        return Candidates(items=items, scores=scores)


def keys(queries: Queries) -> list[tuple[int, int]]:
    """Return who asks each query and after how many events."""
    return list(zip(queries.users.tolist(), (queries.history >= 0).sum(axis=1).tolist(), strict=True))


def events(data: Dataset) -> dict[str, Any]:
    """Return the train events as the peer's script reads them, by user, oldest first."""
    return {"user": data.user[data.by_user.event], "item": data.by_user.item}


def asked(queries: Iterable[Queries]) -> dict[str, Any]:
    """Return the histories of questions, numbered from 0 in the order given, as the peer's script reads them."""
    question, seen, before = [], [], 0
    for part in queries:
        row, place = np.nonzero(part.history >= 0)
        question.append(row + before)
        seen.append(part.history[row, place])
        before += len(part)
    return {"question": np.concatenate(question), "seen": np.concatenate(seen), "n_questions": np.array(before)}


def shared(leave_last_out: Split, temporal: Split) -> Dataset:
    """Return the events that are train under both protocols."""
    train = leave_last_out.train
    return train.select(slice(0, int(np.searchsorted(train.time, temporal.train.time[-1], side="right"))))


def best(name: str, curves: Iterable[list[float]]) -> Found:
    """Return the best of the trials' curves, which come one after the other."""
    began, found = perf_counter(), []
    for trial, curve in zip(TRIALS, curves, strict=True):
        epochs = int(np.argmax(curve)) + 1
        found.append((max(curve), trial, epochs))
        print(f"{name}, {trial}: {max(curve):.4f} after {epochs} epochs", file=sys.stderr, flush=True)
    value, trial, epochs = max(found, key=lambda one: one[0])
    return Found(trial, epochs, value, perf_counter() - began)


class Peer:
    """RecTools in its own environment."""

    def __init__(self, folder: Path) -> None:
        self.python = peer_python("rectools-torch", *PACKAGES)
        self.source, self.out = folder / "source.npz", folder / "out.npy"
        self.version = ""

    def curve(self, trial: Trial, held: Withheld) -> list[float]:
        """Return the validation NDCG@10 after each epoch."""
        queries = asked([held.queries.take(held.query)])
        np.savez(self.source, **events(held.train), **queries, truth=held.item)
        told = run_peer(self.python, "rectools_sasrec.py", self.source, self.out, trial.peer(EPOCHS, PATIENCE))
        self.version = told["version"]
        return list(told["curve"])

    def answer(self, found: Found, split: Split) -> Told:
        """Return the answers to a split's questions after training on its train part."""
        parts = [part.queries for part in split.queries(10)]
        np.savez(self.source, **events(split.train), **asked(parts))
        run_peer(self.python, "rectools_sasrec.py", self.source, self.out, found.trial.peer(found.epochs, 0))
        order = [key for part in parts for key in keys(part)]
        return Told(dict(zip(order, np.load(self.out).astype(np.int32), strict=True)))


def own_curve(trial: Trial, train: Dataset) -> list[float]:
    """Return the validation NDCG@10 of ours after each epoch; withholds what `latest` withholds with this seed."""
    model = trial.own(train, EPOCHS, PATIENCE).fit(train, rng=np.random.default_rng(SEED))
    return model.curves()["validation ndcg@10"]


def measured(recommender: Recommender, split: Split) -> Evaluation:
    """Return what the answers are worth."""
    return evaluate(recommender, split, [METRIC], rng=np.random.default_rng(SEED))


def compared(name: str, split: Split, ours: Found, theirs: Found, peer: Peer) -> list[Row]:
    """Train both winners on the train part of a protocol and put its questions to them and to popularity."""
    rng = np.random.default_rng(SEED)
    popular = Popularity().fit(split.train, rng=rng)
    recent = Popularity(window_days=RECENT_DAYS).fit(split.train, rng=rng)
    model = ours.trial.own(split.train, ours.epochs, 0).fit(split.train, rng=rng)
    own = measured(ladder(model, popular), split)
    other = measured(Recommender(Fallback([peer.answer(theirs, split), FromModel(popular)])), split)
    difference = own.user_values[METRIC] - other.user_values[METRIC]
    both = of_ratios(difference[:, None], np.ones((len(difference), 1)), rng)
    mean, low, high = (float(part[0]) for part in both)
    p = paired(own.user_values[METRIC], other.user_values[METRIC], rng=rng).permutation
    said, spans = f"RecTools {peer.version}", [one.overall[METRIC] for one in (own, other)]
    rows = [
        Row(
            target=f"{name}: NDCG@10 less RecTools', lower end of the 95 % interval",
            value=low,
            limit=0.0,
            better="higher",
            peer=said,
            detail=f"difference {mean:.4f} ({low:.4f} to {high:.4f}), p {p:.4f}, {own.n_users['overall']:,} users, "
            f"{len(split.lists):,} questions; {split.name}",
        ),
        Row(
            target=f"{name}: NDCG@10 of SASRec",
            value=spans[0].mean,
            limit=None,
            better="higher",
            peer=said,
            peer_value=spans[1].mean,
            detail=f"{spans[0].low:.4f} to {spans[0].high:.4f} against {spans[1].low:.4f} to {spans[1].high:.4f}",
        ),
    ]
    for title, baseline in (("popularity", popular), (f"popularity of the last {RECENT_DAYS:g} days", recent)):
        span = measured(ladder(baseline, popular), split).overall[METRIC]
        rows.append(
            Row(
                target=f"{name}: NDCG@10 of {title}",
                value=span.mean,
                limit=None,
                better="higher",
                detail=f"{span.low:.4f} to {span.high:.4f}",
            )
        )
    return rows


def run() -> list[Row]:
    """Search on both sides, then compare the winners under both protocols."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    data = load(data_folder("ml-1m-2999-users"), positive_from=1.0)
    splits = {"leave-last-out": LeaveLastOut().split(data)[0], "temporal": Temporal().split(data)[0]}
    train = shared(splits["leave-last-out"], splits["temporal"])
    held = latest(train, np.random.default_rng(SEED))
    assert held is not None
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(Path(folder))
        ours = best("ours", (own_curve(trial, train) for trial in TRIALS))
        theirs = best("RecTools", (peer.curve(trial, held) for trial in TRIALS))
        rows = [row for name, split in splits.items() for row in compared(name, split, ours, theirs, peer)]
    rows.append(
        Row(
            target="search: validation NDCG@10 of the best trial",
            value=ours.value,
            limit=None,
            better="higher",
            peer=f"RecTools {peer.version}",
            peer_value=theirs.value,
            detail=f"{len(TRIALS)} trials each, {len(held.query):,} questions; ours: {ours}; RecTools: {theirs}",
        )
    )
    return rows
