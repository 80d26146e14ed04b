"""Cold items: recall@20 and NDCG@20 of a fifth of MovieLens 1M's films without any rating in train, over five seeds.

Protocol: 20 % of the listed films are cold, with all their ratings; half of these are tested, and lists rank all cold
films (Huang et al., SIGIR 2023; "LLM-InS", arXiv 2402.09176). Every rating is a positive. Features are genres, year,
title, certificate, director, cast, plot and the abstract of DBpedia; no feature is written by users. Published
figures of the same protocol have other features (vectors of 300 numbers), so they are no like-for-like comparison.

What cold films cost the others is measured on a tenth of the ratings of the other films, also held out: NDCG@20 of
these in lists of the whole catalogue, against lists of the same fitted model without content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand.contracts import Model, TowerModel
from pasand.data.dataset import Dataset
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.cold_items import ColdItems
from pasand.evaluation.split import Split, grouped_by_query
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.recommender import Recommender
from pasand.sources import load
from pasand.stages.content_factors import ContentFactors
from pasand.stages.filtering import DropSeen
from pasand.stages.retrieval import FromModel
from pasand.stages.score_axes import ScoreAxes

MEASURES = (
    "encoders/feature_blocks.py",
    "encoders/text.py",
    "evaluation/protocols/cold_items.py",
    "metrics/accuracy.py",
    "models/classical/ease.py",
    "models/classical/ials.py",
    "stages/content_factors.py",
    "stages/field_ridge.py",
    "stages/score_axes.py",
)
SEEDS = (0, 1, 2, 3, 4)
IALS_SEEDS = SEEDS[:1]
LIMIT = 0.25
PUBLISHED = {"recall@20": 0.1759, "ndcg@20": 0.1762}
"""LLM-InS, the best of its table."""
LARGEST_LOSS = 0.01
REASON = "the published figures have other features of the films"


def data() -> Dataset:
    """Return the ratings, each of them a positive, with the features of all listed films."""
    return replace(load(data_folder("ml-1m")), positive_from=-np.inf)


def ease() -> TowerModel:
    """Return EASE with 64 axes of its scores."""
    return ScoreAxes(model=EASE(l2=500.0), dimensions=64)


def values(model: Model, split: Split, names: Sequence[str] = ("recall@20", "ndcg@20")) -> list[float]:
    """Return the means over users of the metrics of the model's lists without items that were seen."""
    recommender = Recommender(retriever=FromModel(model=model), filters=[DropSeen()])
    found = evaluate(recommender, split, list(names), rng=np.random.default_rng(0)).overall
    return [found[name].mean for name in names]


def fitted(model: TowerModel, split: Split, seed: int) -> ContentFactors:
    """Return the model with content, fitted to the train part."""
    return ContentFactors(model=model).fit(split.train, rng=np.random.default_rng(seed))


def only_warm(split: Split) -> Split:
    """Return the split with the test queries that have a target which is not cold, and without cold targets."""
    queries = split.test_queries
    query = np.repeat(np.arange(len(queries)), np.diff(queries.start))
    warm = ~split.cold_items[queries.item]
    kept, number = np.unique(query[warm], return_inverse=True)
    start, item, value = grouped_by_query(number, queries.item[warm], queries.value[warm], len(kept))
    chosen = replace(
        queries,
        user=queries.user[kept],
        upto=queries.upto[kept],
        time=queries.time[kept],
        start=start,
        item=item,
        value=value,
    )
    return replace(split, test_queries=chosen)


def run() -> list[Row]:
    """Fit and evaluate by seed, and return the means over seeds."""
    log = data()
    found: dict[str, list[list[float]]] = {"EASE": [], "iALS": []}
    for seed in SEEDS:
        (split,) = ColdItems(events_share=0.5, seed=seed).split(log)
        models: dict[str, TowerModel] = {"EASE": ease()}
        if seed in IALS_SEEDS:
            models["iALS"] = IALS(dimensions=64)
        for name, model in models.items():
            content = fitted(model, split, seed)
            found[name].append(values(content, split))
            print(f"seed {seed}, {name}: {found[name][-1]}, weights {content.weights()}", flush=True)
    rows = [
        Row(
            target=f"{metric} of cold films, content to the factors of {name}",
            value=float(np.mean([value[at] for value in by_seed])),
            limit=LIMIT if name == "EASE" else None,
            better="higher",
            peer="LLM-InS, published" if name == "EASE" else "",
            peer_value=PUBLISHED[metric] if name == "EASE" else None,
            detail=f"by seed: {', '.join(f'{value[at]:.4f}' for value in by_seed)}",
            reason=REASON if name == "EASE" else "",
        )
        for name, by_seed in found.items()
        for at, metric in enumerate(PUBLISHED)
    ]
    return [*rows, loss(log)]


def loss(log: Dataset) -> Row:
    """Return the relative loss of NDCG@20 of films that are not cold, whose lists may now hold cold ones."""
    (split,) = ColdItems(events_share=0.5, warm_share=0.1, seed=SEEDS[0]).split(log)
    content, warm = fitted(ease(), split, SEEDS[0]), only_warm(split)
    with_content, without = (values(model, warm, ["ndcg@20"])[0] for model in (content, content.model))
    return Row(
        target="share of NDCG@20 of other films that is lost where lists may hold cold films, EASE",
        value=1 - with_content / without,
        limit=LARGEST_LOSS,
        better="lower",
        detail=f"{with_content:.4f} with content, {without:.4f} without, seed {SEEDS[0]}",
        reason="a limit of our own",
    )
