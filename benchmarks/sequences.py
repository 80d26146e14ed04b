"""What the three sequence benchmarks share: S3-Rec's files, leave-last-out, HR@10 and NDCG@10 over the whole catalogue.

Each user's last item is asked for; the user's other items are known and left out of the list, as in the published
evaluations. Every setting, the number of epochs included, was chosen on a validation inside the train part (each user's
last item but one, asked for by a model fitted without it); `python -m benchmarks.sequences NAME` repeats the trials
around the settings that were taken. Then the model is fitted on the whole train part, which holds that item. Published
figures may come from models that never learnt from the validation item; the row "without the validation item" is the
comparable one: fitted without it, and told of it in the history only, as the papers do.

The best recommender is a `Blend` of that same tower with item kNN on a history that fades.

The tower's settings were chosen on Beauty's validation, in some twenty runs, and the epochs confirmed on that of Toys;
Sports took them over. On Beauty's validation, HR@10 / NDCG@10: one item ahead and 128 histories a step .0967 / .0562; a
moving average of the weights .0998 / .0597; several items ahead .099 to .104 / .058 to .061; steps of like numbers of
places (750) instead of histories .1134 / .0657, of 512 places .1176 / .0685. One seed moves these by about .002 / .001.
Of no use, with 128 histories a step, were: item vectors begun with an SVD of the log, cosines with a temperature, a
correction of the softmax for the number of negatives, 256 negatives, twice the learning rate, a falling one, decay of
the weights, and twice the width at 25 epochs. Item kNN was chosen among 100 and 200 neighbours, shrinkage 0 to
80 and decay .4 to .85, and their weight in the blend from .03 to .5; on Beauty and Toys more shrinkage was tried, and
found better on the validation, after the test had been measured once with shrinkage 20.
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
"""HR@10 and NDCG@10."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A data set, the figures asked for, and the settings that `search` chose."""

    file: str
    tower: Limits
    best: Limits
    published: str
    settings: dict[str, Any]
    """Of the tower."""
    neighbours: dict[str, Any]
    """Of item kNN."""
    weight: float
    """Of item kNN in the blend, against 1 for the tower."""


TOWER: dict[str, Any] = {
    "dimensions": 64,
    "batch_size": 512,
    "horizon": 4,
    "horizon_decay": 0.6,
    "averaging": 0.998,
    "epochs": 36,
    "patience": 0,
}
"""Settings of all three towers; what is not named here is SASRec's default."""
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
"""Values that `search` tries, one at a time, in place of a setting."""


def questions(contest: Contest) -> Split:
    """Return the split whose questions are the test."""
    file = data_folder("sequences") / f"s3rec_{contest.file}.txt.gz"
    return LeaveLastOut().split(load(str(file)))[0]


def tower(contest: Contest, data: Dataset, **changed: Any) -> SASRec:
    """Return the tower fitted on the data."""
    model = SASRec(**{**contest.settings, **changed})
    return model.fit(data, rng=np.random.default_rng(0))


def blend(model: SASRec, neighbours: ItemKNN, weight: float) -> Recommender:
    """Return the blend of the tower, which weighs 1, and item kNN."""
    return Recommender(Blend([model, neighbours], [1, weight]))


def measured(recommender: Retriever, split: Split) -> dict[str, Interval]:
    """Return HR@10 and NDCG@10 with intervals over users."""
    found = evaluate(recommender, split, list(METRICS.values()), rng=np.random.default_rng(0)).overall
    return {name: found[metric] for name, metric in METRICS.items()}


def run(contest: Contest) -> list[Row]:
    """Fit tower, item kNN and popularity on the train part, and measure them and the blend on the test."""
    split = questions(contest)
    began = perf_counter()
    model = tower(contest, split.train)
    detail = f"SASRec, {_told(contest.settings)}; fitted in {perf_counter() - began:.0f} s"
    rows = _rows("one tower", model, split, contest.tower, detail)
    neighbours = ItemKNN(**contest.neighbours).fit(split.train, rng=np.random.default_rng(0))
    detail = f"the tower and item kNN, weights 1 and {contest.weight:g}"
    rows += _rows("best recommender", blend(model, neighbours, contest.weight), split, contest.best, detail)
    without = tower(contest, validation_protocol(LeaveLastOut()).split(split.train)[0].train)
    rows += _rows("one tower, without the validation item", without, split, None, contest.published)
    rows += _rows("item kNN", neighbours, split, None, f"{_told(contest.neighbours)}, chosen on the validation")
    popular = Popularity().fit(split.train, rng=np.random.default_rng(0))
    return rows + _rows("popularity", popular, split, None, "")


def _rows(what: str, answers: Model | Recommender, split: Split, limits: Limits | None, detail: str) -> list[Row]:
    recommender = answers if isinstance(answers, Recommender) else fallback_chain(answers)
    found = measured(recommender, split)
    return [
        Row(
            target=f"{name}, {what}",
            value=interval.mean,
            limit=None if limits is None else limits[place],
            better="higher",
            detail=f"{interval.low:.4f} to {interval.high:.4f}; {detail}" if detail else "",
        )
        for place, (name, interval) in enumerate(found.items())
    ]


def search(contest: Contest) -> None:
    """Print the validation figures of every trial: tower settings one at a time, item kNN, and weights of the blend."""
    split = validation_protocol(LeaveLastOut()).split(questions(contest).train)[0]
    model = tower(contest, split.train)
    _tell("tower", fallback_chain(model), split)
    for name, values in TRIALS.items():
        for value in values:
            _tell(f"tower, {name} {value}", fallback_chain(tower(contest, split.train, **{name: value})), split)
    found = [(_tell(f"{near}", fallback_chain(near), split), near) for near in _neighbours(split.train)]
    near = max(found, key=lambda pair: pair[0])[1]
    for weight in (0.03, 0.05, 0.08, 0.12, 0.2, 0.3):
        _tell(f"blend, item kNN weighs {weight}", blend(model, near, weight), split)


def _neighbours(data: Dataset) -> Iterator[ItemKNN]:
    for neighbours, shrinkage in product((50, 100, 200), (10.0, 20.0, 40.0)):
        fitted = ItemKNN(neighbours=neighbours, shrinkage=shrinkage).fit(data, rng=np.random.default_rng(0))
        for decay in (0.4, 0.6, 0.8, 1.0):
            other = replace(fitted, decay=decay)
            other.load_state(fitted.state())
            yield other


def _told(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _tell(what: str, recommender: Recommender, split: Split) -> float:
    found = measured(recommender, split)
    print(what, {name: round(interval.mean, 4) for name, interval in found.items()}, flush=True)
    return found["NDCG@10"].mean


if __name__ == "__main__":
    import importlib

    search(importlib.import_module(f"benchmarks.sequence_{sys.argv[1]}").CONTEST)
