"""Time to diversify a list, 200 -> 20, one thread: MMR and DPP by item features and by vectors of 64 dimensions.

Features are a category of 8 and a bag of up to 3 of 18 tags, random; vectors and scores are normal. Times are of the
thread, in milliseconds, of a whole call of the stage for one request. `stakeholders` orders the same candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import thread_time
from typing import Self

import numpy as np
from numpy.random import Generator

from benchmarks.rows import Row
from pasand.contracts import Stage
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.reranking.diversity.dpp import DPP
from pasand.reranking.diversity.mmr import MMR
from pasand.reranking.stakeholders import Stakeholders, Weights
from pasand.types import Arrays, Candidates, Queries, Rows, Scores, Vectors

MEASURES = (
    "reranking/diversity/diversifying.py",
    "reranking/diversity/dpp.py",
    "reranking/diversity/mmr.py",
    "reranking/diversity/similarity.py",
    "reranking/stakeholders.py",
)
N_ITEMS, N, K, REQUESTS, LIMIT = 10_000, 200, 20, 1000, 1.0


@dataclass
class Drawn:
    """A model of random item vectors."""

    vectors: Vectors

    def embed_items(self, items: Rows) -> Vectors:
        """Return the vectors of the items, (...) -> (..., D)."""
        return self.vectors[items]

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return no score."""
        raise NotImplementedError

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Return itself."""
        return self

    def state(self) -> Arrays:
        """Return nothing."""
        return {}

    def load_state(self, arrays: Arrays) -> None:
        """Restore nothing."""


def catalogue(rng: Generator) -> Dataset:
    """Return one event, and items with a category, tags and a price."""
    return Dataset(
        name="random",
        users=Vocabulary(["u"]),
        items=Vocabulary([f"i{i:05}" for i in range(N_ITEMS)]),
        user=np.zeros(1, np.int32),
        item=np.zeros(1, np.int32),
        time=np.zeros(1, np.int64),
        item_features={
            "language": Feature(
                kind="categorical", values=rng.integers(0, 8, N_ITEMS).astype(np.int32), names=tuple("abcdefgh")
            ),
            "tags": Feature(
                kind="bag",
                values=rng.integers(-1, 18, (N_ITEMS, 3)).astype(np.int32),
                names=tuple(f"tag {t:02}" for t in range(18)),
            ),
            "price": Feature(kind="number", values=rng.lognormal(size=N_ITEMS).astype(np.float32)),
        },
    )


def times(stage: Stage, data: Dataset, rng: Generator) -> Sequence[float]:
    """Return the milliseconds of each request, after ten others."""
    queries, found = data.queries(np.zeros(1, np.int32), k=K), []
    for request in range(REQUESTS + 10):
        items = rng.choice(N_ITEMS, (1, N), replace=False).astype(np.int32)
        scores = -np.sort(-rng.normal(size=(1, N)), axis=1).astype(np.float32)
        began = thread_time()
        stage(queries, Candidates(items=items, scores=scores))
        if request >= 10:
            found.append(1000 * (thread_time() - began))
    return found


def run() -> list[Row]:
    """Return medians and 99th percentiles of the times."""
    rng = np.random.default_rng(0)
    data, model = catalogue(rng), Drawn(rng.normal(size=(N_ITEMS, 64)).astype(np.float32))
    features, rows = ["language", "tags"], []
    stages: dict[str, MMR | DPP | Stakeholders] = {
        "mmr, features": MMR(features),
        "mmr, vectors": MMR(model=model),
        "dpp, features": DPP(features),
        "dpp, vectors": DPP(model=model),
        "stakeholders": Stakeholders(Weights(provider=0.2, platform=0.1), provider="language", platform="price"),
    }
    for name, stage in stages.items():
        found = times(stage.fit(data, rng=rng), data, rng)
        for which, value in (("median", np.median(found)), ("99th percentile", np.percentile(found, 99))):
            is_median = which == "median"
            rows.append(
                Row(
                    target=f"{which}, {name}, ms",
                    value=float(value),
                    limit=LIMIT if is_median else None,
                    better="lower",
                    detail=f"{REQUESTS:,} requests, {N} -> {K}",
                    reason="an absolute limit, on random items" if is_median else "",
                    synthetic=True,
                )
            )
    return rows
