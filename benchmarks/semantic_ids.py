"""Semantic ids: NDCG@10 of cold items of simulated films, with and without codes of their content as features.

`bollywood` with 400 films and 1,000 viewers, protocol cold-items: a fifth of the films has no event in train, half of
their positives are tested, and lists rank these films alone. The two-tower model reads all features of films that it
can, without item ids; texts, such as titles, it reads through the codes alone.
"""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Row
from pasand.contracts import Model
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.cold_items import ColdItems
from pasand.evaluation.split import Split
from pasand.models.towers.two_tower import TwoTower
from pasand.recommender import Recommender
from pasand.sources import load
from pasand.stages.filtering import DropSeen
from pasand.stages.retrieval import FromModel
from pasand.stages.semantic_ids import SemanticIds

MEASURES = (
    "encoders/feature_blocks.py",
    "evaluation/protocols/cold_items.py",
    "models/towers/feature_tower.py",
    "models/towers/two_tower.py",
    "simulation/world.py",
    "stages/semantic_ids.py",
)
WORLD = "bollywood:n_items=400,n_users=1000"
SEEDS = (0, 1, 2)
METRIC = "ndcg@10"


def tower(features: tuple[str, ...] | None) -> TwoTower:
    """Return a small two-tower model without ids of users and items; None: it reads all features of items."""
    return TwoTower(use_ids=False, dimensions=16, layers=(32,), epochs=8, item_features=features)


def value(model: Model, split: Split) -> float:
    """Return the mean over users of the metric of the model's lists without items that were seen."""
    recommender = Recommender(retriever=FromModel(model=model), filters=[DropSeen()])
    return evaluate(recommender, split, [METRIC], rng=np.random.default_rng(0)).overall[METRIC].mean


def run() -> list[Row]:
    """Fit and evaluate by seed, and return the means over seeds."""
    log = load(WORLD)
    coded = ("semantic_id_1", "semantic_id_2", "semantic_id_3")
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        (split,) = ColdItems(events_share=0.5, seed=seed).split(log)
        models: dict[str, Model] = {
            "features": tower(None),
            "features and codes": SemanticIds(model=tower(None), codes=32),
            "codes": SemanticIds(model=tower(coded), codes=32),
        }
        for name, model in models.items():
            fitted = model.fit(split.train, rng=np.random.default_rng(seed))
            found.setdefault(name, []).append(value(fitted, split))
            print(f"seed {seed}, {name}: {found[name][-1]:.4f}", flush=True)
    peer = float(np.mean(found["features"]))
    return [
        Row(
            target=f"{METRIC} of cold films alone, two-tower model that reads {name}",
            value=float(np.mean(values)),
            limit=peer if name == "features and codes" else None,
            better="higher",
            peer="" if name == "features" else "features alone",
            peer_value=None if name == "features" else peer,
            detail=f"by seed: {', '.join(f'{one:.4f}' for one in values)}",
            reason="" if name == "features" else "an ablation on simulated data",
            synthetic=True,
        )
        for name, values in found.items()
    ]
