"""Gain in NDCG@10 of the two-stage recipe `best` over its retriever and over the best single model, temporal split.

The recipe's trees learn from the latest part of the training events how to combine the scores. Nothing here is tuned
on the test. The single models have the settings of their recipes. The best single model is the one that is best on
this very test, which favours it. Differences are paired by user, with bootstrap intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand import recipe
from pasand.data.dataset import Dataset
from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.models.classical.ease import EASE
from pasand.recommender import Recommender, fallback_chain
from pasand.sources import load
from pasand.stages.retrieval import Fallback

METRIC = "ndcg@10"
NAMES = (METRIC, "recall@10", "recall@100", "recall@200")
SOURCES = {"ml-1m-2999-users": "", "bollywood": "bollywood:n_users=2000"}


def rng() -> np.random.Generator:
    """Return a new generator with the same seed each time."""
    return np.random.default_rng(0)


def parts(fitted: Mapping[str, Any], data: Dataset) -> dict[str, Recommender]:
    """Return the compared recommenders by name, from the fitted components of the recipe."""
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


def difference(first: Evaluation, second: Evaluation) -> tuple[float, float, float]:
    """Return the mean difference of the metric over users and its 95 % bootstrap interval."""
    pairs = first.user_values[METRIC] - second.user_values[METRIC]
    pairs = pairs[np.isfinite(pairs)]
    drawn = rng().integers(0, len(pairs), (2000, len(pairs)))
    low, high = np.quantile(pairs[drawn].mean(axis=1), [0.025, 0.975])
    return float(pairs.mean()), float(low), float(high)


def rows_of(name: str, split: Split) -> list[Row]:
    """Return the rows of one data set."""
    fitted = recipe.read("best").fit(split.train, seed=0).components
    found = {
        part: evaluate(recommender, split, NAMES, rng=rng()) for part, recommender in parts(fitted, split.train).items()
    }
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
            )
        )
    return rows


def run() -> list[Row]:
    """Measure on both data sets."""
    rows = []
    for name, source in SOURCES.items():
        data = load(source or data_folder(name))
        rows += rows_of(name, Temporal().split(data)[0])
    return rows
