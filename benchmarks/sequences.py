"""Shared parts of the three S3-Rec sequence benchmarks: leave-last-out, HR@10 and NDCG@10 over the whole catalogue.

The target is each user's last item. The user's other items are the history and are left out of the list. There are two
settings, which differ in the training events only:

- "without the validation item in training", as in the papers: the models never learn from the last item but one of a
  user, by which the settings were chosen. It is only part of the history of the test query.
- "with the validation item in training": once the settings are chosen, the models are fitted on all events before the
  target. That is what one would deploy, and not comparable with the papers' figures.

Every figure of a tower, and of a recommender with a tower, is the mean over five training seeds. The detail has the
lowest and highest seed, their standard deviation, and the 95 % bootstrap interval over users of the users' means over
seeds. Training uses two threads: other numbers add floats in another order and give figures with other last digits.
`python -m benchmarks.sequences fit` fits what is missing in the cache (`fit_cache`), setting by setting; with `--device
cuda` on a GPU, which the rows name.

Every setting, the number of epochs included, was chosen on a validation split inside the train part: its targets are
each user's last item but one, and the model is fitted without them. `python -m benchmarks.sequences search NAME`
repeats the trials around the chosen settings.

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

import argparse
import importlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

import numba
import numpy as np
import torch

from benchmarks import fit_cache
from benchmarks.rows import Row, data_folder
from pasand.contracts import Retriever
from pasand.data.dataset import Dataset
from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.intervals import Interval, Values, ratio_intervals
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
Limits: TypeAlias = tuple[float, float]
"""Limits of HR@10 and NDCG@10."""


THREADS = 2
SEEDS = (0, 1, 2, 3, 4)
WITHOUT, WITH = "without the validation item in training", "with the validation item in training"
SETTINGS = {"without": WITHOUT, "with": WITH}
"""The two settings by their names on the command line."""
TRAINING = (
    "layers/attention.py",
    "layers/embeddings.py",
    "models/deep_model.py:DeepModel._train",
    "models/deep_model.py:DeepModel.fit",
    "models/dimensions.py",
    "models/towers/sasrec.py",
    "models/towers/sequence_tower.py",
    "models/towers/tower.py",
    "training/fused_softmax.py",
    "training/loop.py",
    "training/losses.py",
    "training/negatives.py",
    "training/optimiser.py",
    "training/tasks/next_item.py",
)
"""The code that trains a tower, in `src/pasand`."""
NOT_PUBLISHED = "published models never learn from the validation item"
MEASURES = (
    *TRAINING,
    "evaluation/protocols/leave_last_out.py",
    "features/strengths.py",
    "metrics/accuracy.py",
    "models/classical/item_knn.py",
    "models/classical/neighbours.py",
    "models/classical/popularity.py",
    "stages/blending.py",
)


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A data set, its limits, and the settings that `search` chose."""

    file: str
    limits: Mapping[str, Mapping[str, Limits]]
    """Limits of "one tower" and of "best recommender", by setting."""
    peer: str
    """The best published model of the setting without the validation item; its figures are that setting's limits."""
    published: str
    """Other published figures of that setting."""
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


def training_events(split: Split, setting: str) -> Dataset:
    """Return the events from which the models of a setting learn."""
    return split.train if setting == WITH else validation_protocol(LeaveLastOut()).split(split.train)[0].train


def tower(contest: Contest, data: Dataset, **changed: Any) -> SASRec:
    """Return the tower with changed settings, fitted on the data with seed 0."""
    model = SASRec(**{**contest.settings, **changed})
    return model.fit(data, rng=np.random.default_rng(0))


def kept_tower(
    contest: Contest, data: Dataset, setting: str, seed: int, device: str = "cpu"
) -> tuple[SASRec, fit_cache.Fit]:
    """Return the tower of this seed from the cache, fitted now if it is missing there, and how it was fitted."""
    use_threads()
    name = f"{contest.file}-{next(word for word, words in SETTINGS.items() if words == setting)}"
    model = SASRec(**contest.settings, device=device)
    return fit_cache.fitted(name, model, data, seed=seed, threads=THREADS, code=TRAINING)


def use_threads() -> None:
    """Let torch and numba use two threads, or as many as there are if these are fewer."""
    torch.set_num_threads(THREADS)
    numba.set_num_threads(min(THREADS, numba.config.NUMBA_NUM_THREADS))


def blend(model: SASRec, neighbours: ItemKNN, weight: float) -> Recommender:
    """Return the blend of the tower, with weight 1, and item kNN."""
    return Recommender(Blend([model, neighbours], [1, weight]))


def evaluated(recommender: Retriever, split: Split) -> Evaluation:
    """Return the evaluation of the recommender on the test queries."""
    return evaluate(recommender, split, list(METRICS.values()), rng=np.random.default_rng(0))


def measured(recommender: Retriever, split: Split) -> dict[str, Interval]:
    """Return HR@10 and NDCG@10 with intervals over users."""
    overall = evaluated(recommender, split).overall
    return {name: overall[metric] for name, metric in METRICS.items()}


def run(contest: Contest) -> list[Row]:
    """Measure tower, best recommender, item kNN and popularity in both settings, the papers' setting first."""
    split = test_split(contest)
    return [row for setting in (WITHOUT, WITH) for row in _setting_rows(contest, split, setting)]


def _setting_rows(contest: Contest, split: Split, setting: str) -> list[Row]:
    data = training_events(split, setting)
    neighbours = ItemKNN(**contest.neighbours).fit(data, rng=np.random.default_rng(0))
    popular = Popularity().fit(data, rng=np.random.default_rng(0))
    alone, blended = [], []
    devices: Counter[str] = Counter()
    for seed in SEEDS:
        model, how = kept_tower(contest, data, setting, seed)
        devices[how.device] += 1
        alone.append(evaluated(fallback_chain(model), split))
        blended.append(evaluated(blend(model, neighbours, contest.weight), split))
    knn = evaluated(fallback_chain(neighbours), split)
    figures: tuple[float, ...]
    if setting == WITHOUT:
        peer, figures = f"{contest.peer}, published", contest.limits[setting]["one tower"]
        why = f"as in the papers; also published: {contest.published}"
    else:
        peer, figures = "item kNN, same events", tuple(knn.overall[metric].mean for metric in METRICS.values())
        why = NOT_PUBLISHED
    where = ", ".join(f"{count} fitted on {device}" for device, count in devices.items())
    fits = f"{len(SEEDS)} seeds, {THREADS} threads, {where}; {why}"
    details = {
        "one tower": f"SASRec, {_as_text(contest.settings)}; {fits}",
        "best recommender": f"the tower and item kNN, weights 1 and {contest.weight:g}; {why}",
    }
    rows = []
    for what, evaluations in (("one tower", alone), ("best recommender", blended)):
        for index, (name, metric) in enumerate(METRICS.items()):
            mean, spread = over_seeds([evaluation.user_values[metric] for evaluation in evaluations])
            rows.append(
                Row(
                    target=f"{name}, {what}, {setting}",
                    value=mean,
                    limit=contest.limits[setting][what][index],
                    better="higher",
                    peer=peer,
                    peer_value=figures[index],
                    comparable=setting == WITHOUT,
                    reason="" if setting == WITHOUT else NOT_PUBLISHED,
                    detail=f"{spread}; {details[what]}",
                )
            )
    chosen = f"{_as_text(contest.neighbours)}, chosen on the validation split"
    for what, evaluation, detail in (
        ("item kNN", knn, chosen),
        ("popularity", evaluated(fallback_chain(popular), split), ""),
    ):
        for name, metric in METRICS.items():
            interval = evaluation.overall[metric]
            span = f"users {interval.low:.4f} to {interval.high:.4f}"
            rows.append(
                Row(
                    target=f"{name}, {what}, {setting}",
                    value=interval.mean,
                    limit=None,
                    better="higher",
                    detail=f"{span}; {detail}" if detail else span,
                )
            )
    return rows


def over_seeds(values: Sequence[Values]) -> tuple[float, str]:
    """Return the mean over seeds of the mean over users, (n,) values for each seed, and their spread as text."""
    means = np.array([float(np.mean(one)) for one in values])
    users = np.mean(values, axis=0)[:, None]
    _, low, high = ratio_intervals(users, np.ones_like(users), np.random.default_rng(0))
    spread = f"seeds {means.min():.4f} to {means.max():.4f}, standard deviation {means.std(ddof=1):.4f}"
    return float(means.mean()), f"{spread}; users {low[0]:.4f} to {high[0]:.4f}"


def fit_all(names: Sequence[str], settings: Sequence[str], seeds: Sequence[int], device: str) -> None:
    """Fit the towers that are missing in the cache, and print the figures of each: all data sets of a setting first."""
    for word in settings:
        for name in names:
            contest = contest_of(name)
            split = test_split(contest)
            data = training_events(split, SETTINGS[word])
            for seed in seeds:
                model, how = kept_tower(contest, data, SETTINGS[word], seed, device)
                what = f"{name}, {word}, seed {seed}, {how.seconds:.0f} s on {how.device}"
                _report(what, fallback_chain(model), split)


def contest_of(name: str) -> Contest:
    """Return the contest of "beauty", "sports" or "toys"."""
    found: Contest = importlib.import_module(f"benchmarks.sequence_{name}").CONTEST
    return found


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


def main() -> None:
    """Run the command line described above."""
    names = ("beauty", "toys", "sports")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequences")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("search", help="print the validation figures of trials").add_argument("name", choices=names)
    fit = commands.add_parser("fit", help="fit the towers that are missing in the cache")
    fit.add_argument("names", nargs="*", default=names, metavar="NAME", help=f"of {', '.join(names)}; default: all")
    fit.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    fit.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    fit.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.command == "search":
        search(contest_of(options.name))
    else:
        fit_all(options.names, options.settings, options.seeds, options.device)


if __name__ == "__main__":
    main()
