"""Shared parts of the three S3-Rec sequence benchmarks: leave-last-out, HR@10 and NDCG@10 over the whole catalogue.

The target is each user's last item. The user's other items are the history and are left out of the list, as in the
published evaluations. Every setting, the number of epochs included, was chosen on a validation split inside the train
part: its targets are each user's last item but one, and the model is fitted without them.
`python -m benchmarks.sequences NAME` repeats the trials around the chosen settings. Then the model is fitted on the
whole train part, which includes that item. Published figures may come from models that never learnt from the validation
item. The row "without the validation item" is comparable with these: the model is fitted without that item, which is
only part of the history, as in the papers.

The best recommender is a `Blend` of the same tower with item kNN, whose history weights decay.

The tower's settings were chosen on the validation split of Beauty, in some twenty runs, and the epochs confirmed on
that of Toys. Sports uses the same settings. HR@10 / NDCG@10 on the validation split of Beauty: a horizon of one item
and 128 histories per step .0967 / .0562; with a moving average of the weights .0998 / .0597; with a horizon of several
items .099 to .104 / .058 to .061; with steps of a fixed number of positions (750) instead of histories .1134 / .0657;
with steps of 512 positions .1176 / .0685. Another seed changes these by about .002 / .001. These did not help, with 128
histories per step: item vectors initialised by an SVD of the log, cosines with a temperature, a correction of the
softmax for the number of negatives, 256 negatives, twice the learning rate, a decreasing one, weight decay, and twice
the width at 25 epochs. Item kNN was chosen among 100 and 200 neighbours, shrinkage 0 to 80 and history_decay .4 to .85,
and its weight in the blend from .03 to .5. On Beauty and Toys more shrinkage was tried, and found better on the
validation split, after the test had been measured once with shrinkage 20.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.rows import Row, data_folder
from pasand.contracts import Model, Retriever
from pasand.data.dataset import Dataset
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.intervals import Interval
from pasand.evaluation.protocols import validation_protocol
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.split import Split
from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.popularity import Popularity
from pasand.models.towers.sasrec import SASRec
from pasand.recommender import Recommender, fallback_chain
from pasand.sources import load
from pasand.stages.blending import Blend

METRICS = {"HR@10": "hit_rate@10", "NDCG@10": "ndcg@10"}
Limits = tuple[float, float]
"""Limits of HR@10 and NDCG@10."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A data set, its limits, and the settings that `search` chose."""

    file: str
    tower: Limits
    best: Limits
    published: str
    settings: dict[str, Any]
    """Settings of the tower."""
    neighbours: dict[str, Any]
    """Settings of item kNN."""
    weight: float
    """Weight of item kNN in the blend; the tower's is 1."""


TOWER: dict[str, Any] = {
    "dimensions": 64,
    "batch_size": 512,
    "horizon": 4,
    "horizon_decay": 0.6,
    "averaging": 0.998,
    "epochs": 36,
    "patience": 0,
}
"""Settings of all three towers; all other settings are SASRec's defaults."""
TRIALS: dict[str, tuple[Any, ...]] = {
    "batch_size": (768, 1536),
    "horizon": (1, 2),
    "averaging": (0.0, 0.999),
    "epochs": (24, 48),
    "negatives": (256,),
    "dimensions": (128,),
    "dropout": (0.3,),
    "learning_rate": (2e-3,),
}
"""Values that `search` tries, one at a time, instead of a setting in `TOWER`."""


def test_split(contest: Contest) -> Split:
    """Return the leave-last-out split of the data set."""
    file = data_folder("sequences") / f"s3rec_{contest.file}.txt.gz"
    return LeaveLastOut().split(load(str(file)))[0]


def tower(contest: Contest, data: Dataset, **changed: Any) -> SASRec:
    """Return the tower with changed settings, fitted on the data."""
    model = SASRec(**{**contest.settings, **changed})
    return model.fit(data, rng=np.random.default_rng(0))


def blend(model: SASRec, neighbours: ItemKNN, weight: float) -> Recommender:
    """Return the blend of the tower, with weight 1, and item kNN."""
    return Recommender(Blend([model, neighbours], [1, weight]))


def measured(recommender: Retriever, split: Split) -> dict[str, Interval]:
    """Return HR@10 and NDCG@10 with intervals over users."""
    overall = evaluate(recommender, split, list(METRICS.values()), rng=np.random.default_rng(0)).overall
    return {name: overall[metric] for name, metric in METRICS.items()}


def run(contest: Contest) -> list[Row]:
    """Fit tower, item kNN and popularity on the train part, and measure them and the blend on the test."""
    split = test_split(contest)
    began = perf_counter()
    model = tower(contest, split.train)
    detail = f"SASRec, {_as_text(contest.settings)}; fitted in {perf_counter() - began:.0f} s"
    rows = _rows("one tower", model, split, contest.tower, detail)
    neighbours = ItemKNN(**contest.neighbours).fit(split.train, rng=np.random.default_rng(0))
    detail = f"the tower and item kNN, weights 1 and {contest.weight:g}"
    rows += _rows("best recommender", blend(model, neighbours, contest.weight), split, contest.best, detail)
    without = tower(contest, validation_protocol(LeaveLastOut()).split(split.train)[0].train)
    rows += _rows("one tower, without the validation item", without, split, None, contest.published)
    detail = f"{_as_text(contest.neighbours)}, chosen on the validation split"
    rows += _rows("item kNN", neighbours, split, None, detail)
    popular = Popularity().fit(split.train, rng=np.random.default_rng(0))
    return rows + _rows("popularity", popular, split, None, "")


def _rows(what: str, model: Model | Recommender, split: Split, limits: Limits | None, detail: str) -> list[Row]:
    recommender = model if isinstance(model, Recommender) else fallback_chain(model)
    found = measured(recommender, split)
    return [
        Row(
            target=f"{name}, {what}",
            value=interval.mean,
            limit=None if limits is None else limits[index],
            better="higher",
            detail=f"{interval.low:.4f} to {interval.high:.4f}; {detail}" if detail else "",
        )
        for index, (name, interval) in enumerate(found.items())
    ]


def search(contest: Contest) -> None:
    """Print the validation figures of every trial: tower settings one at a time, item kNN, and weights of the blend."""
    split = validation_protocol(LeaveLastOut()).split(test_split(contest).train)[0]
    model = tower(contest, split.train)
    _report("tower", fallback_chain(model), split)
    for name, values in TRIALS.items():
        for value in values:
            _report(f"tower, {name} {value}", fallback_chain(tower(contest, split.train, **{name: value})), split)
    trials = [(_report(f"{knn}", fallback_chain(knn), split), knn) for knn in _item_knns(split.train)]
    best = max(trials, key=lambda trial: trial[0])[1]
    for weight in (0.03, 0.05, 0.08, 0.12, 0.2, 0.3):
        _report(f"blend, item kNN with weight {weight}", blend(model, best, weight), split)


def _item_knns(data: Dataset) -> Iterator[ItemKNN]:
    """Yield item kNN with each combination of the tried settings, fitted on the data."""
    for neighbours, shrinkage in product((50, 100, 200), (10.0, 20.0, 40.0)):
        fitted = ItemKNN(neighbours=neighbours, shrinkage=shrinkage).fit(data, rng=np.random.default_rng(0))
        for history_decay in (0.4, 0.6, 0.8, 1.0):
            other = replace(fitted, history_decay=history_decay)
            other.load_state(fitted.state())
            yield other


def _as_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _report(what: str, recommender: Recommender, split: Split) -> float:
    """Print the means of both metrics, and return that of NDCG@10."""
    found = measured(recommender, split)
    print(what, {name: round(interval.mean, 4) for name, interval in found.items()}, flush=True)
    return found["NDCG@10"].mean


if __name__ == "__main__":
    import importlib

    search(importlib.import_module(f"benchmarks.sequence_{sys.argv[1]}").CONTEST)
