"""SASRec against RecTools' SASRec on `ml-1m-2999-users`, tuned alike: NDCG@10 over the full catalogue.

Data: every rating is a liking, as in papers on sequences. Protocols: leave-last-out, each user's last event; and
temporal, the events after the first 80 %, at most ten questions a user, histories that roll forward. The first lets
models learn from other users' future, the second does not. Items in the history are not recommended. Users without
a history get the most popular items on both sides.

Settings of both sides: one block, two heads, width 64, the latest 50 items of a history, batches of 32 users (ours: of
as many places of histories as 32 users have on average), softmax over all items (RecTools' default loss), Adam with
learning rate .002. Search of both sides: four trials, dropout .2 or .4, and one choice of each side's own: RecTools
plain blocks (its default, those of SASRec's authors) or gated ones (LiGR); ours, always gated, the last weights or
their moving average. Training stops after three epochs without a better validation NDCG@10; the best trial and its best
number of epochs are taken. Where ours averages, the best trial that does not is shown too.

The search sees only events that are train under both protocols, and withholds of those each user's last; so neither
test was looked at. The winner of each side is then trained anew, on the train part of each protocol, for the number of
epochs found. The interval is a bootstrap over users of the difference of their values.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rows import Row, data_folder, peer_python, run_peer
from benchmarks.sequence_speed import ALL, PACKAGES, event_positions
from pasand.data.dataset import Dataset
from pasand.evaluation.compare import RECENT_DAYS
from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.intervals import ratio_intervals
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.significance import paired
from pasand.evaluation.split import Split
from pasand.models.classical.popularity import Popularity
from pasand.models.towers.sasrec import SASRec
from pasand.recommender import Recommender, fallback_chain
from pasand.sources import load
from pasand.stages.retrieval import Fallback, FromModel
from pasand.training.validation import ValidationSplit, split_latest
from pasand.types import Candidates, Queries, Rows

METRIC = "ndcg@10"
EPOCHS = 40
PATIENCE = 3
SEED = 0
DIMENSIONS = 64
HEADS = 2
MAX_LENGTH = 50
BATCH_SIZE = 32
AVERAGING = 0.998
"""Weight of the past in the moving average."""


@dataclass(frozen=True)
class Trial:
    """What the search varies."""

    dropout: float
    learning_rate: float
    gated: bool = True
    averaged: bool = False
    """Whether the moving average of the weights is taken; RecTools has no such choice."""

    def own(self, train: Dataset, epochs: int, patience: int) -> SASRec:
        """Return our model, with batches of as many places as RecTools' have in these data on average."""
        return SASRec(
            dimensions=DIMENSIONS,
            heads=HEADS,
            history_length=MAX_LENGTH,
            batch_size=event_positions(train, MAX_LENGTH, BATCH_SIZE),
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
        blocks = f"{'gated' if self.gated else 'plain'} blocks{', averaged' if self.averaged else ''}"
        return f"{blocks}, dropout {self.dropout:g}, rate {self.learning_rate:g}"


SHARED = list(product((0.2, 0.4), (0.002,)))
OWN = [Trial(*values, averaged=averaged) for averaged in (False, True) for values in SHARED]
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "50000000000"}
"""In the environment: freed memory stays with the process, which halves RecTools' time. No figure here is a time."""
PEERS = [Trial(*values, gated=gated) for gated in (False, True) for values in SHARED]


@dataclass(frozen=True)
class Found:
    """What came out of a trial."""

    value: float
    """Its best validation NDCG@10."""
    trial: Trial
    epochs: int
    """After which it was reached."""

    def __str__(self) -> str:
        return f"{self.trial}, {self.epochs} epochs"


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


def searched(name: str, trials: list[Trial], curve: Callable[[Trial], list[float]]) -> list[Found]:
    """Return what came out of the trials, the best first."""
    found = []
    for trial in trials:
        values = curve(trial)
        found.append(Found(max(values), trial, int(np.argmax(values)) + 1))
        print(f"{name}: {found[-1]}: {found[-1].value:.4f}", file=sys.stderr, flush=True)
    return sorted(found, key=lambda one: -one.value)


class Peer:
    """RecTools in its own environment."""

    def __init__(self, folder: Path) -> None:
        self.python = peer_python("rectools-torch", *PACKAGES)
        self.source, self.out = folder / "source.npz", folder / "out.npy"
        self.version = ""

    def curve(self, trial: Trial, held: ValidationSplit) -> list[float]:
        """Return the validation NDCG@10 after each epoch."""
        queries = asked([held.queries.take(held.query)])
        np.savez(self.source, **events(held.train), **queries, truth=held.item)
        told = run_peer(self.python, "rectools_sasrec.py", self.source, self.out, trial.peer(EPOCHS, PATIENCE))
        self.version = told["version"]
        return list(told["curve"])

    def answer(self, found: Found, split: Split) -> Told:
        """Return the answers to a split's questions after training on its train part."""
        parts = [part.queries for part in split.list_batches(10)]
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


def difference(own: Evaluation, other: Evaluation) -> tuple[float, float, float]:
    """Return the mean difference by user, and the bounds of its 95 % interval."""
    values = (own.user_values[METRIC] - other.user_values[METRIC])[:, None]
    mean, low, high = ratio_intervals(values, np.ones_like(values), np.random.default_rng(SEED))
    return float(mean[0]), float(low[0]), float(high[0])


def compared(name: str, split: Split, ours: list[Found], theirs: Found, peer: Peer) -> list[Row]:
    """Train the winners on the train part of a protocol and put its questions to them and to popularity."""
    rng = np.random.default_rng(SEED)
    popular = Popularity().fit(split.train, rng=rng)
    recent = Popularity(window_days=RECENT_DAYS).fit(split.train, rng=rng)
    other = measured(Recommender(Fallback([peer.answer(theirs, split), FromModel(popular)])), split)
    alike = next(one for one in ours if not one.trial.averaged)
    rows: list[Row] = []
    for found in dict.fromkeys([ours[0], alike]):
        title = f"{name}{', averaged' if found.trial.averaged else ''}"
        model = found.trial.own(split.train, found.epochs, 0).fit(split.train, rng=np.random.default_rng(SEED))
        own = measured(fallback_chain(model, popular), split)
        mean, low, high = difference(own, other)
        p = paired(own.user_values[METRIC], other.user_values[METRIC], rng=rng).permutation
        rows += [
            Row(
                target=f"{title}: NDCG@10 less RecTools', lower end of the 95 % interval",
                value=low,
                limit=None if rows else 0.0,
                better="higher",
                peer=f"RecTools {peer.version}",
                detail=f"difference {mean:.4f} ({low:.4f} to {high:.4f}), p {p:.4f}; {own.n_users['overall']:,} users, "
                f"{len(split.test_queries):,} questions; {split.name}",
            ),
            Row(
                target=f"{title}: NDCG@10",
                value=own.overall[METRIC].mean,
                limit=None,
                better="higher",
                peer=f"RecTools {peer.version}",
                peer_value=other.overall[METRIC].mean,
                detail=f"{span(own)} against {span(other)}; {found}",
            ),
        ]
    for title, baseline in (("popularity", popular), (f"popularity of the last {RECENT_DAYS:g} days", recent)):
        simple = measured(fallback_chain(baseline, popular), split)
        rows.append(
            Row(
                target=f"{name}: NDCG@10 of {title}",
                value=simple.overall[METRIC].mean,
                limit=None,
                better="higher",
                detail=span(simple),
            )
        )
    return rows


def span(evaluation: Evaluation) -> str:
    """Return the bounds of the metric's interval in words."""
    interval = evaluation.overall[METRIC]
    return f"{interval.low:.4f} to {interval.high:.4f}"


def run() -> list[Row]:
    """Search on both sides, then compare the winners under both protocols."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    os.environ.update(KEPT)
    data = load(data_folder("ml-1m-2999-users"), positive_from=1.0)
    splits = {"leave-last-out": LeaveLastOut().split(data)[0], "temporal": Temporal().split(data)[0]}
    train = shared(splits["leave-last-out"], splits["temporal"])
    held = split_latest(train, np.random.default_rng(SEED))
    assert held is not None
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(Path(folder))
        ours = searched("ours", OWN, lambda trial: own_curve(trial, train))
        theirs = searched("RecTools", PEERS, lambda trial: peer.curve(trial, held))[0]
        rows = [row for name, split in splits.items() for row in compared(name, split, ours, theirs, peer)]
    rows.append(
        Row(
            target="search: validation NDCG@10 of the best trial",
            value=ours[0].value,
            limit=None,
            better="higher",
            peer=f"RecTools {peer.version}",
            peer_value=theirs.value,
            detail=f"{len(OWN)} trials a side, {len(held.query):,} questions; ours {ours[0]}; RecTools {theirs}",
        )
    )
    return rows
