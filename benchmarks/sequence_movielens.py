"""Accuracy of SASRec against RecTools' SASRec on `ml-1m-2999-users`, tuned alike: NDCG@10 over the full catalogue.

Data: every rating is a positive, as in papers on sequences. There are two protocols: leave-last-out, with each user's
last event as target, and temporal, with the events after the first 80 % as targets, at most ten queries per user, and
live histories. The first lets models learn from other users' future, the second does not. Items in the history are not
recommended. Users without a history get the most popular items on both sides.

Settings of both sides: one block, two heads, 64 dimensions, the latest 50 items of a history, batches of 32 users
(ours: the number of history positions that 32 users have on average), softmax over all items (RecTools' default loss),
Adam with learning rate .002. Search of both sides: four trials, with dropout .2 or .4 and one choice of its own. For
RecTools these are plain blocks (its default, those of SASRec's authors) or gated ones (LiGR). For ours, which is always
gated, they are the last weights or their moving average. Training stops after three epochs without a better validation
NDCG@10. The best trial is chosen, with its best number of epochs. If ours averages, the best trial that does not is
reported too.

The search uses only events that are in the train parts of both protocols, and each user's last one of these is the
validation target, so that neither test was used. The winner of each side is then trained again from scratch on the
train part of each protocol, for the chosen number of epochs. The interval is a bootstrap over users of the difference
of their values.
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
HISTORY_LENGTH = 50
BATCH_SIZE = 32
AVERAGING = 0.998
"""Weight of the earlier weights in the moving average."""


@dataclass(frozen=True)
class Trial:
    """Settings that the search varies."""

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


SHARED = list(product((0.2, 0.4), (0.002,)))
OWN = [Trial(*values, averaged=averaged) for averaged in (False, True) for values in SHARED]
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "50000000000"}
"""Environment in which the process keeps freed memory, which halves RecTools' time. No figure here is a time."""
PEERS = [Trial(*values, gated=gated) for gated in (False, True) for values in SHARED]


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


def common_train(leave_last_out: Split, temporal: Split) -> Dataset:
    """Return the events that are in the train parts of both protocols."""
    train = leave_last_out.train
    return train.select(slice(0, int(np.searchsorted(train.time, temporal.train.time[-1], side="right"))))


def run_trials(name: str, trials: list[Trial], curve: Callable[[Trial], list[float]]) -> list[TrialResult]:
    """Return the results of the trials, the best first."""
    results = []
    for trial in trials:
        values = curve(trial)
        results.append(TrialResult(max(values), trial, int(np.argmax(values)) + 1))
        print(f"{name}: {results[-1]}: {results[-1].value:.4f}", file=sys.stderr, flush=True)
    return sorted(results, key=lambda result: -result.value)


class Peer:
    """RecTools in its own environment."""

    def __init__(self, folder: Path) -> None:
        self.python = peer_python("rectools-torch", *PACKAGES)
        self.source, self.out = folder / "source.npz", folder / "out.npy"
        self.version = ""

    def curve(self, trial: Trial, validation: ValidationSplit) -> list[float]:
        """Return the validation NDCG@10 after each epoch."""
        histories = query_histories([validation.queries.take(validation.query)])
        np.savez(self.source, **events(validation.train), **histories, truth=validation.item)
        result = run_peer(self.python, "rectools_sasrec.py", self.source, self.out, trial.peer(EPOCHS, PATIENCE))
        self.version = result["version"]
        return list(result["curve"])

    def recommend(self, winner: TrialResult, split: Split) -> PrecomputedLists:
        """Return the lists for the test queries of a split, after training on its train part."""
        batches = [batch.queries for batch in split.list_batches(10)]
        np.savez(self.source, **events(split.train), **query_histories(batches))
        run_peer(self.python, "rectools_sasrec.py", self.source, self.out, winner.trial.peer(winner.epochs, 0))
        order = [key for queries in batches for key in keys(queries)]
        return PrecomputedLists(dict(zip(order, np.load(self.out).astype(np.int32), strict=True)))


def own_curve(trial: Trial, train: Dataset) -> list[float]:
    """Return our validation NDCG@10 after each epoch, on the validation split of `split_latest` with this seed."""
    model = trial.own(train, EPOCHS, PATIENCE).fit(train, rng=np.random.default_rng(SEED))
    return model.curves()["validation ndcg@10"]


def measured(recommender: Recommender, split: Split) -> Evaluation:
    """Return the evaluation of the recommender on the test queries."""
    return evaluate(recommender, split, [METRIC], rng=np.random.default_rng(SEED))


def difference(own: Evaluation, other: Evaluation) -> tuple[float, float, float]:
    """Return the mean difference over users, and the bounds of its 95 % interval."""
    values = (own.user_values[METRIC] - other.user_values[METRIC])[:, None]
    mean, low, high = ratio_intervals(values, np.ones_like(values), np.random.default_rng(SEED))
    return float(mean[0]), float(low[0]), float(high[0])


def compared(name: str, split: Split, ours: list[TrialResult], theirs: TrialResult, peer: Peer) -> list[Row]:
    """Train the winners on the train part of a protocol, and evaluate them and popularity on its test queries."""
    rng = np.random.default_rng(SEED)
    popular = Popularity().fit(split.train, rng=rng)
    recent = Popularity(window_days=RECENT_DAYS).fit(split.train, rng=rng)
    other = measured(Recommender(Fallback([peer.recommend(theirs, split), FromModel(popular)])), split)
    not_averaged = next(result for result in ours if not result.trial.averaged)
    rows: list[Row] = []
    for winner in dict.fromkeys([ours[0], not_averaged]):
        title = f"{name}{', averaged' if winner.trial.averaged else ''}"
        model = winner.trial.own(split.train, winner.epochs, 0).fit(split.train, rng=np.random.default_rng(SEED))
        own = measured(fallback_chain(model, popular), split)
        mean, low, high = difference(own, other)
        p = paired(own.user_values[METRIC], other.user_values[METRIC], rng=rng).permutation
        rows += [
            Row(
                target=f"{title}: NDCG@10 minus RecTools', lower bound of the 95 % interval",
                value=low,
                limit=None if rows else 0.0,
                better="higher",
                peer=f"RecTools {peer.version}",
                detail=f"difference {mean:.4f} ({low:.4f} to {high:.4f}), p {p:.4f}; {own.n_users['overall']:,} users, "
                f"{len(split.test_queries):,} test queries; {split.name}",
            ),
            Row(
                target=f"{title}: NDCG@10",
                value=own.overall[METRIC].mean,
                limit=None,
                better="higher",
                peer=f"RecTools {peer.version}",
                peer_value=other.overall[METRIC].mean,
                detail=f"{span(own)} against {span(other)}; {winner}",
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
    """Return the bounds of the metric's interval as text."""
    interval = evaluation.overall[METRIC]
    return f"{interval.low:.4f} to {interval.high:.4f}"


def run() -> list[Row]:
    """Search on both sides, then compare the winners under both protocols."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    os.environ.update(MALLOC)
    data = load(data_folder("ml-1m-2999-users"), positive_from=1.0)
    splits = {"leave-last-out": LeaveLastOut().split(data)[0], "temporal": Temporal().split(data)[0]}
    train = common_train(splits["leave-last-out"], splits["temporal"])
    validation = split_latest(train, np.random.default_rng(SEED))
    assert validation is not None
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(Path(folder))
        ours = run_trials("ours", OWN, lambda trial: own_curve(trial, train))
        theirs = run_trials("RecTools", PEERS, lambda trial: peer.curve(trial, validation))[0]
        rows = [row for name, split in splits.items() for row in compared(name, split, ours, theirs, peer)]
    rows.append(
        Row(
            target="search: validation NDCG@10 of the best trial",
            value=ours[0].value,
            limit=None,
            better="higher",
            peer=f"RecTools {peer.version}",
            peer_value=theirs.value,
            detail=f"{len(OWN)} trials per side, {len(validation.query):,} queries; ours {ours[0]}; RecTools {theirs}",
        )
    )
    return rows
