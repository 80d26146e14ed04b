"""Speed of two-tower training with in-batch negatives on two cores: width 64, batch 1024, histories of 20.

The model's own training, `TwoTower.fit`, on the likings of `ml-1m-2999-users`, logQ-corrected and with the user's other
likings left out of the negatives: the seconds of three epochs less those of one, so that reading, setting up and
embedding the catalogue at the end do not count; the median of three turns. float32 throughout, unless a row says
otherwise; beside bfloat16 stands what it does to NDCG@10 on a hold-out, each user's last liking, over all items.
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

LIMIT = 100_000
TURNS, EPOCHS = 3, 2


def tower(epochs: int, *, features: bool = False, layers: tuple[int, ...] = (), bf16: bool = False) -> TwoTower:
    """Return the model that is timed: ids and histories, and where asked for all features and dense layers."""
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
    """Return examples trained on a second."""
    examples = len(np.unique(data.positives().user.astype(np.int64) * data.n_items + data.positives().item))
    turns = [
        seconds(tower(1 + EPOCHS, **options), data) - seconds(tower(1, **options), data)  # type: ignore[arg-type]
        for _ in range(TURNS)
    ]
    return EPOCHS * examples / median(turns)


def run() -> list[Row]:
    """Time the model as it grows, and bfloat16 beside float32."""
    torch.set_num_threads(2)
    data = encode(open_log(str(data_folder("ml-1m-2999-users"))))
    seconds(tower(1), data.select(slice(0, 20_000)))  # compiles
    rows = [
        Row(
            target=f"examples trained on a second, {what}",
            value=speed(data, **options),
            limit=limit,
            better="higher",
            detail=f"{data.n_users:,} users, {data.n_items:,} items, {int(data.is_positive.sum()):,} likings",
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
    """Return what bfloat16 changes in NDCG@10, and whether that is more than noise."""
    split = protocol("leave-last-out").split(data)[0]
    found = []
    for bf16 in (False, True):
        model = tower(4, bf16=bf16).fit(split.train, rng=np.random.default_rng(0))
        found.append(evaluate(fallback_chain(model), split, ["ndcg@10"], rng=np.random.default_rng(0)))
    with_it, without = found[1].user_values["ndcg@10"], found[0].user_values["ndcg@10"]
    test = paired(with_it, without, rng=np.random.default_rng(0))
    means = [evaluation.overall["ndcg@10"].mean for evaluation in found]
    return Row(
        target="NDCG@10 lost to bfloat16",
        value=means[0] - means[1],
        limit=None,
        better="lower",
        detail=f"{means[0]:.4f} in float32, {means[1]:.4f} in bfloat16, p = {test.permutation:.2f}, 4 epochs",
    )
