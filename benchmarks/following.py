"""Popularity that follows the log to each test query, against the same popularity frozen at the cut, in NDCG@10.

The protocol is `temporal` with live histories, as in `pasand compare`. An independent counter, written here, counts the
events strictly before each query and ranks the items that are available and not seen. EASE, iALS and a two-tower model
with default settings are measured on the same queries. Nothing is chosen on these data: the windows and the half-life
are those of `pasand compare`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.evaluation.compare import baselines, hyperparameters
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.models.classical.popularity import Popularity
from pasand.models.towers.two_tower import TwoTower
from pasand.recommender import fallback_chain
from pasand.sources import load
from pasand.types import Array

MEASURES = (
    "evaluation/compare.py",
    "evaluation/evaluate.py",
    "evaluation/protocols/temporal.py",
    "following.py",
    "models/classical/ease.py",
    "models/classical/followed_counts.py",
    "models/classical/ials.py",
    "models/classical/popularity.py",
)
METRIC, K, DAY = "ndcg@10", 10, 86_400


def logs() -> Iterator[tuple[Dataset, dict[str, Model]]]:
    """Yield the logs, each with the models that are measured beside popularity."""
    yield load("bollywood"), {"EASE": EASE(), "iALS": IALS(), "two-tower": TwoTower()}
    yield load(str(data_folder("ml-100k"))), {"EASE": EASE(), "iALS": IALS()}


def counted(data: Dataset, split: Split, window: float | None, half_life: float | None) -> Array:
    """Return NDCG@10 of each test query, (Q,), by a counter of the positives strictly before its time."""
    test, positive = split.test_queries, data.is_positive
    all_time, recent = np.zeros(data.n_items), np.zeros(data.n_items)
    at = oldest = now = 0
    found = np.zeros(len(test))
    for q in np.argsort(test.time, kind="stable").tolist():
        time = int(test.time[q])
        recent *= 1 if half_life is None else 0.5 ** ((time - now) / DAY / half_life)
        now = time
        while at < len(data) and data.time[at] < time:
            age = (time - data.time[at]) / DAY
            all_time[data.item[at]] += positive[at]
            recent[data.item[at]] += positive[at] * (1 if half_life is None else 0.5 ** (age / half_life))
            at += 1
        while window is not None and oldest < at and (time - data.time[oldest]) / DAY >= window:
            recent[data.item[oldest]] -= positive[oldest]
            oldest += 1
        share = all_time / max(all_time.sum(), 1)
        if window is not None or half_life is not None:
            share = (recent + share) / (recent.sum() + 1)
        share = share.astype(np.float32)  # as scores are: what differs by less is a tie, and goes to the lower row
        mine = (data.user == test.user[q]) & (data.time < time)
        share[data.item[mine]] = -1
        share[data.available_from > time] = -1
        target = test.item[test.start[q]]
        rank = 1 + (share > share[target]).sum() + (share[:target] == share[target]).sum()
        found[q] = 1 / np.log2(rank + 1) if rank <= K else 0
    return found


def rows_of(data: Dataset, models: dict[str, Model]) -> Iterator[Row]:
    """Yield the rows of one log."""
    (split,) = Temporal().split(data)
    rng, synthetic, largest = np.random.default_rng, data.name.startswith("bollywood"), 0.0
    for baseline in baselines(data):
        options = hyperparameters(baseline.model)
        recommender = fallback_chain(Popularity(**options).fit(split.train, rng=rng(0)))  # type: ignore[arg-type]
        following = evaluate(recommender, split, [METRIC], rng=rng(0))
        frozen = evaluate(recommender, [_without_following(split)], [METRIC], rng=rng(0))
        own = counted(data, split, options["window_days"], options["half_life_days"])  # type: ignore[arg-type]
        difference = float(np.abs(own - following.query_values[METRIC]).max())
        largest = max(largest, difference)
        yield Row(
            target=f"NDCG@10 of {baseline.name} that follows the log, {data.name}",
            value=following.overall[METRIC].mean,
            limit=None,
            better="higher",
            synthetic=synthetic,
            detail=f"{following.overall[METRIC]}; frozen at the cut {frozen.overall[METRIC]}; largest difference from "
            f"the independent counter {difference:.2g}, {len(own):,} queries",
        )
    yield Row(
        target=f"largest difference of NDCG@10 of a query from an independent counter, {data.name}",
        value=largest,
        limit=0.0,
        better="lower",
        comparable=True,
        synthetic=synthetic,
        detail="over all test queries of all popularity baselines",
    )
    for name, model in models.items():
        fitted, popular = model.fit(split.train, rng=rng(0)), Popularity().fit(split.train, rng=rng(0))
        found = evaluate(fallback_chain(fitted, popular), split, [METRIC], rng=rng(0)).overall[METRIC]
        yield Row(
            target=f"NDCG@10 of {name} with default settings, {data.name}",
            value=found.mean,
            limit=None,
            better="higher",
            synthetic=synthetic,
            detail=f"{found}",
        )


def _without_following(split: Split) -> Split:
    """Return the split without a log to follow: histories are live, and counters are frozen at the cut."""
    return replace(split, followed=None)


def run() -> list[Row]:
    """Measure all baselines and models on both logs."""
    return [row for data, models in logs() for row in rows_of(data, models)]
