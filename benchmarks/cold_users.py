"""Cold users: NDCG@10 of lists for users without any event, by their features, against popularity.

A fifth of the users is held out and not in train. Their queries have no history: a list is made from age, city tier,
language, or gender and occupation alone. Targets are all positives of a user but the first event. Ways, each with
popularity as the fallback: `SegmentPopularity` (popularity in the user's segments, shrunk to that of all), and
`SegmentVectors` (the mean vectors of the users of the segments as the query vector) of iALS, and on `bollywood` of a
two-tower that reads no feature of users. Gains over popularity are paired by user, with 95 % intervals over users.

All defaults. A first run, on other held-out users (seed 0), had 100 positives added to each category of
`SegmentPopularity`, as in `Popularity`, and no gain on ml-1m (-0.0012 [-0.0109, 0.0077]): an item has few positives in
a small category there. They are now added in proportion to what an item usually has, 20 of them; no other value was
tried. The models are those of docs/cold_start.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.intervals import ratio_intervals
from pasand.evaluation.protocols.strong_generalisation import StrongGeneralisation
from pasand.evaluation.split import Split
from pasand.models.classical.ials import IALS
from pasand.models.classical.popularity import Popularity
from pasand.models.classical.segment_popularity import SegmentPopularity
from pasand.models.towers.two_tower import TwoTower
from pasand.recommender import fallback_chain
from pasand.sources import load
from pasand.stages.segment_vectors import SegmentVectors
from pasand.types import Array

MEASURES = (
    "metrics/accuracy.py",
    "models/classical/ials.py",
    "models/classical/popularity.py",
    "models/classical/segment_popularity.py",
    "models/towers/two_tower.py",
    "stages/segment_vectors.py",
)
SEED = 1
SOURCES: dict[str, Callable[[], Dataset]] = {
    "ml-1m": lambda: load(data_folder("ml-1m")),
    "bollywood": lambda: load("bollywood:n_users=3000", impressions="none"),
}


def ways(name: str) -> dict[str, Model]:
    """Return the models of a log by their names in the rows."""
    found: dict[str, Model] = {
        "SegmentPopularity": SegmentPopularity(),
        "SegmentVectors of iALS": SegmentVectors(model=IALS(dimensions=64)),
    }
    if name == "bollywood":
        tower = TwoTower(user_features=(), epochs=8, patience=0)
        found["SegmentVectors of a two-tower"] = SegmentVectors(model=tower)
    return found


def without_history(split: Split) -> Split:
    """Return the split whose test queries have no history."""
    queries = split.test_queries
    return replace(split, test_queries=replace(queries, upto=np.zeros_like(queries.upto)))


def ndcg(model: Model, split: Split) -> Array:
    """Return NDCG@10 of each test user, (n,), with popularity as the fallback."""
    rng = np.random.default_rng(SEED)
    popular = Popularity().fit(split.train, rng=rng)
    recommender = fallback_chain(model.fit(split.train, rng=rng), popular)
    found = evaluate(recommender, split, ["ndcg@10"], rng=np.random.default_rng(SEED))
    return np.asarray(found.user_values["ndcg@10"])


def rows_of(name: str, data: Dataset) -> list[Row]:
    """Return the gain of each way on one log."""
    (split,) = StrongGeneralisation(holdout_share=0.2, fold_in_share=1e-6, seed=SEED).split(data)
    split = without_history(split)
    popular, rows = ndcg(Popularity(), split), []
    for way, model in ways(name).items():
        found = ndcg(model, split)
        gain = (found - popular)[np.isfinite(popular)][:, None]
        ends = ratio_intervals(gain, np.ones_like(gain), np.random.default_rng(SEED))
        mean, low, high = (float(end[0]) for end in ends)
        row = Row(
            target=f"{name}: low end of the 95 % interval of the gain in NDCG@10 of {way} over popularity, users "
            "without any event",
            value=low,
            limit=0.0,
            better="higher",
            detail=f"gain {mean:.4f} [{low:.4f}, {high:.4f}]: {np.nanmean(found):.4f} against "
            f"{np.nanmean(popular):.4f}; {len(gain):,} users not in train",
            reason="a limit of our own",
            synthetic=name == "bollywood",
        )
        print(row.target, row.detail, flush=True)
        rows.append(row)
    return rows


def run() -> list[Row]:
    """Measure the gains on both logs."""
    return [row for name, read in SOURCES.items() for row in rows_of(name, read())]
