"""NDCG@10 of the two-stage recipe `best` minus that of its retriever and of the best single model for the same data.

The split is temporal with live histories. The catalogues are at least ten times as wide as the candidates of the first
stage, since a first stage that keeps most of the catalogue selects nothing; a narrower one is refused. `bollywood` of
5,000 films is a simulated world, `ml-1m-2999-users` is a real log of 3,615 films.

The single models are those of the recipe with its settings (SASRec, implicit ALS, item kNN, recent and all-time
popularity), and EASE, SLIT, `TwoTower`, `Content` and popularity of the last seven days with their defaults. Popularity
counts the events up to each query, as the histories do. The recipe's trees learn from the latest part of the training
events how to combine the scores. Nothing is tuned on the test. A row compares with the single model that is best on
this very test, which favours it. Differences are paired by user, with bootstrap intervals.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand import recipe
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.models.classical.content import Content
from pasand.models.classical.ease import EASE
from pasand.models.classical.popularity import Popularity
from pasand.models.classical.slit import SLIT
from pasand.models.towers.two_tower import TwoTower
from pasand.recommender import Recommender, fallback_chain
from pasand.sources import load
from pasand.stages.retrieval import Fallback

METRIC = "ndcg@10"
NAMES = (METRIC, "recall@10", "recall@100", "recall@200")
SOURCES = {"ml-1m-2999-users": "", "bollywood of 5,000 films": "bollywood:n_users=2000,n_items=5000"}
"""Data sets, and the locations of the simulated ones."""
WIDTH = 10
"""Least number of items in the catalogue for each candidate."""
SEED = 0
MEASURES = (
    "evaluation/protocols/temporal.py",
    "features",
    "layers",
    "metrics/accuracy.py",
    "models",
    "recipes/best.toml",
    "simulation",
    "stages",
    "training",
)


def rng() -> np.random.Generator:
    """Return a new generator with the same seed each time."""
    return np.random.default_rng(SEED)


def parts(fitted: Mapping[str, Any], data: Dataset) -> dict[str, Recommender]:
    """Return the recommenders of the fitted recipe by name, and EASE: single models, its retriever, and the whole."""
    popular = fitted["popular"]
    single = {name: fallback_chain(fitted[name], popular) for name in ("tower", "factors", "items", "recent")}
    ease = EASE().fit(data, rng=rng())
    retriever = Recommender(Fallback([fitted["personal"], fitted["from_recent"], fitted["from_popular"]]))
    return {
        **single,
        "ease": fallback_chain(ease, popular),
        "retriever": retriever,
        "two stages": fitted["recommender"],
    }


def others(data: Dataset, popular: Model) -> dict[str, Recommender]:
    """Return further single models by name, fitted with their defaults, without those that cannot read the data."""
    models: dict[str, Any] = {
        "slit": SLIT(),
        "two_tower": TwoTower(),
        "content": Content(),
        "popularity": Popularity(),
        "popularity of 7 days": Popularity(window_days=7),
    }
    found = {}
    for name, model in models.items():
        try:
            found[name] = fallback_chain(model.fit(data, rng=rng()), popular)
        except InputError as error:
            print(f"{name} is left out: {error}")
    return found


def difference(first: Evaluation, second: Evaluation) -> tuple[float, float, float]:
    """Return the mean difference of the metric over users and its 95 % bootstrap interval."""
    pairs = first.user_values[METRIC] - second.user_values[METRIC]
    pairs = pairs[np.isfinite(pairs)]
    drawn = rng().integers(0, len(pairs), (2000, len(pairs)))
    low, high = np.quantile(pairs[drawn].mean(axis=1), [0.025, 0.975])
    return float(pairs.mean()), float(low), float(high)


def check_width(name: str, data: Dataset, n_candidates: int) -> None:
    """Raise InputError for a catalogue that is not far wider than the candidates of the first stage."""
    if data.n_items < WIDTH * n_candidates:
        raise InputError(
            name,
            cause=f"a first stage of {n_candidates} candidates selects little from {data.n_items:,} items",
            cure=f"compare two stages on at least {WIDTH * n_candidates:,} items",
        )


def rows_of(name: str, split: Split, *, synthetic: bool = False) -> list[Row]:
    """Return the rows of one data set, compared with every single model; raises InputError for a narrow catalogue."""
    best = recipe.read("best")
    check_width(name, split.train, tomllib.loads(best.text)["recommender"]["n_candidates"])
    fitted = best.fit(split.train, seed=SEED).components
    return compared(
        name, split, parts(fitted, split.train) | others(split.train, fitted["popular"]), synthetic=synthetic
    )


def compared(name: str, split: Split, recommenders: Mapping[str, Recommender], *, synthetic: bool = False) -> list[Row]:
    """Return the rows of two stages minus the retriever, and minus the best of the single models."""
    found = {part: evaluate(recommender, split, NAMES, rng=rng()) for part, recommender in recommenders.items()}
    means = {part: evaluation.overall[METRIC].mean for part, evaluation in found.items()}
    single = max((part for part in means if part not in ("retriever", "two stages")), key=means.__getitem__)
    recalls = ", ".join(f"{k} {found['retriever'].overall[k].mean:.4f}" for k in NAMES[1:])
    listed = ", ".join(f"{part} {mean:.4f}" for part, mean in means.items())
    rows = []
    for other in ("retriever", single):
        mean, low, high = difference(found["two stages"], found[other])
        rows.append(
            Row(
                target=f"{name}, temporal: NDCG@10 of two stages minus that of the "
                + ("retriever alone" if other == "retriever" else f"best single model ({other})")
                + ", lower bound of the interval",
                value=low,
                limit=0.0,
                better="higher",
                detail=f"difference {mean:.4f} ({low:.4f} to {high:.4f}); {listed}; candidates: {recalls}",
                comparable=True,
                synthetic=synthetic,
            )
        )
    return rows


def run() -> list[Row]:
    """Measure on both data sets."""
    rows = []
    for name, source in SOURCES.items():
        data = load(source or data_folder(name))
        rows += rows_of(name, Temporal().split(data)[0], synthetic=bool(source))
    return rows
