"""Speed of two-tower training with in-batch negatives on two cores: 64 dimensions, batch 1024, histories of 20.

Timed is the model's own training, `TwoTower.fit`, on the positives of `ml-1m-2999-users`, logQ-corrected and without
the user's other positives among the negatives. The figures are the seconds of three epochs minus those of one, so that
reading, setting up and embedding the catalogue at the end do not count, as medians of three turns. Everything is
float32 unless a row states otherwise. The limit is an absolute one: no library that runs here trains this objective
(RecTools' DSSM has a triplet loss), so that there is no speed ratio of equal work. For bfloat16 the loss of NDCG@10 is
reported too, on a hold-out of each user's last positive, over all items.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter

import numpy as np
import torch

from benchmarks.rows import Row, data_folder
from pasand.data.dataset import Dataset
from pasand.data.encoding.encode import encode
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols import protocol
from pasand.evaluation.significance import paired
from pasand.models.towers.two_tower import TwoTower
from pasand.recommender import fallback_chain
from pasand.sources import open_log

MEASURES = (
    "features",
    "layers",
    "models/deep_model.py:DeepModel._train",
    "models/deep_model.py:DeepModel.fit",
    "models/towers/feature_tower.py",
    "models/towers/tower.py",
    "models/towers/two_tower.py",
    "training",
)
LIMIT = 100_000
TURNS, EPOCHS = 3, 2


def tower(epochs: int, *, features: bool = False, layers: tuple[int, ...] = (), bf16: bool = False) -> TwoTower:
    """Return the timed model: ids and histories, and on request all features and dense layers."""
    names = None if features else ()
    return TwoTower(
        dimensions=64,
        batch_size=1024,
        history_length=20,
        loss="in_batch",
        epochs=epochs,
        patience=0,
        user_features=names,
        item_features=names,
        layers=layers,
        bf16=bf16,
        device="cpu",
    )


def seconds(model: TwoTower, data: Dataset) -> float:
    """Return the seconds of one fit."""
    began = perf_counter()
    model.fit(data, rng=np.random.default_rng(0))
    return perf_counter() - began


def speed(data: Dataset, **options: object) -> float:
    """Return the number of training examples per second."""
    examples = len(np.unique(data.positives().user.astype(np.int64) * data.n_items + data.positives().item))
    turns = [
        seconds(tower(1 + EPOCHS, **options), data) - seconds(tower(1, **options), data)  # type: ignore[arg-type]
        for _ in range(TURNS)
    ]
    return EPOCHS * examples / median(turns)


def run() -> list[Row]:
    """Time models of increasing size, and compare bfloat16 with float32."""
    torch.set_num_threads(2)
    data = encode(open_log(str(data_folder("ml-1m-2999-users"))))
    seconds(tower(1), data.select(slice(0, 20_000)))  # compiles
    rows = [
        Row(
            target=f"training examples per second, {what}",
            value=speed(data, **options),
            limit=limit,
            better="higher",
            comparable=limit is not None,
            detail=f"{data.n_users:,} users, {data.n_items:,} items, {int(data.is_positive.sum()):,} positives",
        )
        for what, limit, options in (
            ("ids and histories", LIMIT, {}),
            ("with all features of users and items", None, {"features": True}),
            ("with all features and a dense layer of 256", None, {"features": True, "layers": (256,)}),
            ("ids and histories, bfloat16", None, {"bf16": True}),
        )
    ]
    return [*rows, quality(data)]


def quality(data: Dataset) -> Row:
    """Return the loss of NDCG@10 by bfloat16, with a paired test of its significance."""
    split = protocol("leave-last-out").split(data)[0]
    evaluations = []
    for bf16 in (False, True):
        model = tower(4, bf16=bf16).fit(split.train, rng=np.random.default_rng(0))
        evaluations.append(evaluate(fallback_chain(model), split, ["ndcg@10"], rng=np.random.default_rng(0)))
    float32, bfloat16 = (evaluation.user_values["ndcg@10"] for evaluation in evaluations)
    test = paired(bfloat16, float32, rng=np.random.default_rng(0))
    means = [evaluation.overall["ndcg@10"].mean for evaluation in evaluations]
    return Row(
        target="NDCG@10 lost to bfloat16",
        value=means[0] - means[1],
        limit=None,
        better="lower",
        detail=f"{means[0]:.4f} in float32, {means[1]:.4f} in bfloat16, p = {test.permutation:.2f}, 4 epochs",
    )
