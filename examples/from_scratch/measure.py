"""The evaluation of the examples: models are fitted before one cut in time and tested on the events after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pasand.contracts import PredictsRatings
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.models.classical.popularity import Popularity
from pasand.recommender import fallback_chain
from pasand.sources import load
from pasand.types import Queries, Rows, Scores


class MeanByItem:
    """Predicts an item's mean rating, shrunk towards the global mean as if by 10 more ratings of that value."""

    def __init__(self, split: Split) -> None:
        train = split.train
        assert train.value is not None
        mean, count = train.value.mean(), np.bincount(train.item, minlength=train.n_items)
        self.means = (np.bincount(train.item, train.value, train.n_items) + 10 * mean) / (count + 10)

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return the means; (B, K) -> (B, K)."""
        means: Scores = self.means[items].astype(np.float32)
        return means


def table(source: str, models: Mapping[str, Any], seed: int = 0) -> None:
    """Fit models on the first 80 % of the events and print their NDCG@10, and RMSE where they predict ratings.

    The table includes popularity (with the RMSE of item means) and 95 % intervals over users.
    """
    split = Temporal().split(load(source))[0]
    print(f"{source}: {split.name}")
    popularity = Popularity().fit(split.train, rng=np.random.default_rng(seed))
    rated = split.rating_queries is not None
    rows: list[tuple[str, Any, Any]] = [
        ("popularity", fallback_chain(popularity), MeanByItem(split) if rated else None)
    ]
    for name, model in models.items():
        print(f"fitting: {name}")
        fitted = model.fit(split.train, rng=np.random.default_rng(seed))
        rows.append((name, fallback_chain(fitted, popularity), fitted if isinstance(fitted, PredictsRatings) else None))
    print(f"\n{'':14}{'NDCG@10 [95 %]':28}RMSE [95 %]")
    for name, recommender, model in rows:
        overall = evaluate(
            recommender, split, ["ndcg@10", "rmse"], model=model, rng=np.random.default_rng(seed)
        ).overall
        found = [overall.get("ndcg@10"), overall.get("rmse") if model is not None else None]
        cells = [f"{f.mean:.4f} [{f.low:.4f}, {f.high:.4f}]" if f else "-" for f in found]
        print(f"{name:14}{cells[0]:28}{cells[1]}")
