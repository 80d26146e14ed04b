"""Inheritance: cold items of simulated films in lists of popularity and of a ranker, with and without `Inheritance`.

`bollywood` with 400 films and 1,000 viewers, which has known releases and impressions. Two protocols:

- cold-items: a fifth of the films has no event and no impression in train, half of their positives are tested, and
  lists rank these films alone. Without inheritance all of them have the same count, and tied items are ranked to the
  disadvantage of the relevant ones; a random order is the peer.
- temporal: the last fifth of the log in time with live histories and counts, in lists of all released films. It shows
  what inheritance costs or gains over all films.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.rows import Row
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.encoders.inheritance import Inheritance
from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.protocols.cold_items import ColdItems
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.models.classical.popularity import Popularity
from pasand.models.classical.random import Random
from pasand.models.rankers.fm import FM
from pasand.recommender import Recommender
from pasand.sources import load
from pasand.stages.filtering import DropSeen
from pasand.stages.retrieval import FromModel

MEASURES = (
    "encoders/feature_blocks.py",
    "encoders/inheritance.py",
    "evaluation/protocols/cold_items.py",
    "evaluation/protocols/temporal.py",
    "features/inherited.py",
    "features/ranking_features.py",
    "features/ranking_statistics.py",
    "models/classical/followed_counts.py",
    "models/classical/popularity.py",
    "models/rankers/contextual.py",
    "models/rankers/fm.py",
    "simulation/world.py",
)
WORLD = "bollywood:n_items=400,n_users=1000"
SEEDS = (0, 1, 2, 3, 4)
RANKER_SEEDS = SEEDS[:2]
METRIC = "ndcg@10"
REASON = "a limit of our own, on simulated data"


def evaluated(model: Model, split: Split) -> Evaluation:
    """Return the evaluation of the model's lists without items that were seen."""
    recommender = Recommender(retriever=FromModel(model=model), filters=[DropSeen()])
    return evaluate(recommender, split, [METRIC], rng=np.random.default_rng(0))


def inheritance(train: Dataset, seed: int) -> Inheritance:
    """Return the component with its default options, fitted to the train part."""
    return Inheritance().fit(train, rng=np.random.default_rng(seed))


def ranker(**options: Any) -> FM:
    """Return a small ranker without ids: a factorisation machine that learns from the latest impressions."""
    return FM(
        epochs=5,
        examples=60_000,
        dimensions=8,
        use_ids=False,
        history_length=0,
        user_features=("language",),
        item_features=("language",),
        refit=False,
        **options,
    )


def cold(log: Dataset) -> list[Row]:
    """Return the figures of the protocol cold-items, means over seeds."""
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        (split,) = ColdItems(events_share=0.5, seed=seed).split(log)
        inherits = inheritance(split.train, seed)
        models: dict[str, Model] = {"random order": Random()}
        models |= {"popularity": Popularity(), "popularity, inherits": Popularity(inherits=inherits)}
        if seed in RANKER_SEEDS:
            models |= {"FM": ranker(), "FM, inherits": ranker(inherits=inherits)}
        for name, model in models.items():
            value = evaluated(model.fit(split.train, rng=np.random.default_rng(seed)), split).overall[METRIC].mean
            found.setdefault(name, []).append(value)
            print(f"seed {seed}, {name}: {value:.4f}", flush=True)
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    return [
        _row(
            f"{METRIC} of cold films alone, popularity with inheritance", found, "popularity, inherits", "random order"
        ),
        _row(f"{METRIC} of cold films alone, FM with inheritance", found, "FM, inherits", "FM"),
        Row(
            target=f"{METRIC} of cold films alone, popularity without inheritance: all are tied",
            value=mean["popularity"],
            limit=None,
            better="higher",
            synthetic=True,
        ),
    ]


def _row(target: str, found: dict[str, list[float]], name: str, peer: str) -> Row:
    seeds = ", ".join(f"{value:.4f}" for value in found[name])
    return Row(
        target=target,
        value=float(np.mean(found[name])),
        limit=float(np.mean(found[peer])),
        better="higher",
        peer=peer,
        peer_value=float(np.mean(found[peer])),
        detail=f"by seed: {seeds}; {peer}: {', '.join(f'{value:.4f}' for value in found[peer])}",
        reason=REASON,
        synthetic=True,
    )


def live(log: Dataset) -> list[Row]:
    """Return the figures of the temporal protocol for popularity with a half-life of a week."""
    (split,) = Temporal().split(log)
    parts: list[tuple[float, float]] = []
    for inherits in (None, inheritance(split.train, 0)):
        model = Popularity(half_life_days=7.0, inherits=inherits).fit(split.train, rng=np.random.default_rng(0))
        result = evaluated(model, split)
        parts.append((result.cold_items[METRIC].mean, result.overall[METRIC].mean))
    names: Sequence[str] = ("films without an event in train", "all films")
    limits = (parts[0][0], 0.99 * parts[0][1])
    return [
        Row(
            target=f"{METRIC} of {names[at]}, live, recent popularity with inheritance",
            value=parts[1][at],
            limit=limits[at],
            better="higher",
            peer="without",
            peer_value=parts[0][at],
            detail="" if at == 0 else "at most 1 % lower than without",
            reason=REASON,
            synthetic=True,
        )
        for at in (0, 1)
    ]


def run() -> list[Row]:
    """Evaluate both protocols."""
    log = load(WORLD)
    return [*live(log), *cold(log)]
