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

import os
import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.rows import Row, data_folder
from benchmarks.sasrec_peer import SEED, Peer, Trial, TrialResult, own_curve
from pasand.data.dataset import Dataset
from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.intervals import ratio_intervals
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.significance import paired
from pasand.evaluation.split import Split
from pasand.models.classical.popularity import Popularity
from pasand.recommender import Recommender, fallback_chain
from pasand.sources import load
from pasand.stages.retrieval import Fallback, FromModel
from pasand.training.validation import split_latest

MEASURES = (
    "evaluation/protocols/leave_last_out.py",
    "evaluation/protocols/temporal.py",
    "layers/attention.py",
    "layers/embeddings.py",
    "metrics/accuracy.py",
    "models/deep_model.py:DeepModel._train",
    "models/deep_model.py:DeepModel.fit",
    "models/towers/sasrec.py",
    "models/towers/sequence_tower.py",
    "models/towers/tower.py",
    "training",
)
METRIC = "ndcg@10"
RECENT_DAYS = 30.0
"""Window of the recent popularity baseline."""
SHARED = list(product((0.2, 0.4), (0.002,)))
OWN = [Trial(*values, averaged=averaged) for averaged in (False, True) for values in SHARED]
AVERAGED = "our side averages its weights over steps, which RecTools does not offer"
PEERS = [Trial(*values, gated=gated) for gated in (False, True) for values in SHARED]


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
    without = next(result for result in ours if not result.trial.averaged)
    best = next(result for result in ours if result.trial.averaged)
    rows: list[Row] = []
    for winner in (without, best):
        averaged = winner.trial.averaged
        title = f"{name}{', averaged' if averaged else ''}"
        model = winner.trial.own(split.train, winner.epochs, 0).fit(split.train, rng=np.random.default_rng(SEED))
        own = measured(fallback_chain(model, popular), split)
        mean, low, high = difference(own, other)
        p = paired(own.user_values[METRIC], other.user_values[METRIC], rng=rng).permutation
        comparable = {"comparable": not averaged, "reason": AVERAGED if averaged else ""}
        rows += [
            Row(
                target=f"{title}: NDCG@10 minus RecTools', lower bound of the 95 % interval",
                value=low,
                limit=0.0,
                better="higher",
                peer=f"RecTools {peer.version}",
                detail=f"difference {mean:.4f} ({low:.4f} to {high:.4f}), p {p:.4f}; {own.n_users['overall']:,} users, "
                f"{len(split.test_queries):,} test queries; {split.name}",
                **comparable,  # type: ignore[arg-type]
            ),
            Row(
                target=f"{title}: NDCG@10",
                value=own.overall[METRIC].mean,
                limit=None,
                better="higher",
                peer=f"RecTools {peer.version}",
                peer_value=other.overall[METRIC].mean,
                detail=f"{span(own)} against {span(other)}; {winner}",
                **comparable,  # type: ignore[arg-type]
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
    data = load(data_folder("ml-1m-2999-users"), positive_from=1.0)
    splits = {"leave-last-out": LeaveLastOut().split(data)[0], "temporal": Temporal().split(data)[0]}
    train = common_train(splits["leave-last-out"], splits["temporal"])
    validation = split_latest(train, np.random.default_rng(SEED))
    assert validation is not None
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(Path(folder))
        ours = run_trials("ours", OWN, lambda trial: own_curve(trial, train))
        theirs = run_trials("RecTools", PEERS, lambda trial: peer.curve(trial, validation)[0])[0]
        rows = [row for name, split in splits.items() for row in compared(name, split, ours, theirs, peer)]
    rows.append(
        Row(
            target="search: validation NDCG@10 of the best trial",
            value=ours[0].value,
            limit=None,
            better="higher",
            peer=f"RecTools {peer.version}",
            peer_value=theirs.value,
            reason="both searches have maximised it",
            detail=f"{len(OWN)} trials per side, {len(validation.query):,} queries; ours {ours[0]}; RecTools {theirs}",
        )
    )
    return rows
