"""Recommenders side by side on the same questions, always beside the most popular items."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.contracts import Model, PredictsRatings, RecordsCurves, Retriever
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.evaluate import Evaluation, pooled
from pasand.evaluation.funnel import Funnel, has_stages, stages_report
from pasand.evaluation.hybrid_parts import Hybrid, against_parts
from pasand.evaluation.memory_estimate import forget_peak, peak_mb
from pasand.evaluation.protocols import SplitsData
from pasand.evaluation.significance import PairedTest, holm, paired
from pasand.evaluation.split import COLD_ITEMS, Split
from pasand.evaluation.watch_minutes import of_minutes
from pasand.models.classical.popularity import Popularity
from pasand.progress import track
from pasand.recommender import Recommender, fallback_chain
from pasand.training.calibration import Calibration

RECENT_DAYS = 30.0
PER_K = ("ndcg", "recall", "capped_recall", "precision", "hit_rate", "map", "mrr", "coverage", "gini")
BEYOND = ("novelty", "average_popularity", "intra_list_diversity")
ALL_TIME, RECENT = "popularity", "popularity_recent"


@dataclass(frozen=True)
class Built:
    """A recommender, fitted, and the model behind it where it also predicts ratings or keeps learning curves."""

    recommender: Retriever
    model: object = None
    spared: float = 0.0
    """Seconds that fitting what it shares with other contenders took, where these were fitted before."""


@dataclass(frozen=True)
class Entry:
    """One contender."""

    name: str
    build: Callable[[Dataset, Generator], Built]
    """Fits on the train events and returns the recommender."""
    hyperparameters: dict[str, object]
    model: object = None
    """What is built from, where it is one model."""
    parts: tuple[str, ...] = ()
    """Names of the contenders that it is a hybrid of."""


def entry(name: str, model: Model) -> Entry:
    """Return the contender of a model: a fitted copy of it, with popularity where it has nothing to say."""

    def build(train: Dataset, rng: Generator) -> Built:
        fitted = copy.deepcopy(model).fit(train, rng=rng)
        if isinstance(fitted, Popularity):
            return Built(fallback_chain(fitted), fitted)
        return Built(fallback_chain(fitted, Popularity().fit(train, rng=rng)), fitted)

    return Entry(name, build, hyperparameters(model), model)


def baselines() -> list[Entry]:
    """Return the two contenders of every comparison: most popular of all time, and of the last 30 days."""
    return [entry(ALL_TIME, Popularity()), entry(RECENT, Popularity(window_days=RECENT_DAYS))]


def hyperparameters(model: object) -> dict[str, object]:
    """Return the public fields that a dataclass is made with; {} for anything else."""
    if not is_dataclass(model):
        return {}
    return {f.name: getattr(model, f.name) for f in fields(model) if f.init and not f.name.startswith("_")}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out for one contender."""

    name: str
    hyperparameters: dict[str, object]
    evaluation: Evaluation
    fit_seconds: float
    peak_memory_mb: float
    """Resident memory at the peak of fitting and evaluating, the data themselves included; 2**20 bytes."""
    curves: dict[str, list[float]]
    beats_popularity: bool
    """Whether its mean is above that of the better baseline in the deciding metric."""
    test: PairedTest | None
    """Against the better baseline, by user, in the deciding metric; None for that baseline itself."""
    corrected: float
    """The permutation p value of `test` after Holm's correction for the number of contenders; nan without a test."""
    funnel: Funnel | None = None
    """Its parts on the first split, where it has stages or takes more candidates than are shown."""
    minutes: Calibration | None = None
    """Minutes foreseen beside minutes watched on the first split, by tenth, where it foresees any."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that `pasand compare` tells."""

    data: Dataset
    splits: list[Split]
    ks: tuple[int, ...]
    seed: int
    metrics: tuple[str, ...]
    decided_by: str
    """The metric that the baselines are beaten in."""
    best_popularity: str
    """Name of the better baseline in that metric."""
    results: list[Result]
    """Best first by the deciding metric."""
    failed: dict[str, str]
    """Contenders that could not learn from these data, and why."""
    hybrids: list[Hybrid] = field(default_factory=list)
    """Contenders that are hybrids of others, held against these."""

    @property
    def protocol(self) -> str:
        """The protocol in a sentence."""
        first = self.splits[0].name
        return first if len(self.splits) == 1 else first.rpartition(", ")[0] + f", all {len(self.splits)}"

    @property
    def rules(self) -> dict[str, str]:
        """What counts as what, as the protocol says; that of cold items where some are asked for."""
        cold = {"cold items": COLD_ITEMS} if self.results[0].evaluation.n_cold_items else {}
        return self.splits[0].rules | cold

    def as_json(self) -> dict[str, Any]:
        """Return the comparison in numbers, strings and lists; nan is None."""
        split, data = self.splits[0], self.data
        return {
            "protocol": self.protocol,
            "leaks": split.leaks,
            "rules": self.rules,
            "k": self.ks[0] if len(self.ks) == 1 else list(self.ks),
            "seed": self.seed,
            "decided_by": self.decided_by,
            "best_popularity": self.best_popularity,
            "data": {
                "name": data.name,
                "users": data.n_users,
                "items": data.n_items,
                "events": len(data),
                "positive_from": data.positive_from if np.isfinite(data.positive_from) else None,
                "fingerprint": data.fingerprint,
                "train_events": [len(s.train) for s in self.splits],
                "test_events": [len(s.test) for s in self.splits],
                "users_asked": self.results[0].evaluation.n_users,
                "cold_items_asked": self.results[0].evaluation.n_cold_items,
            },
            "models": [_result_json(result) for result in self.results],
            **({"hybrids": [hybrid.as_json() for hybrid in self.hybrids]} if self.hybrids else {}),
            "failed": self.failed,
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the head and the rows of the leaderboard, best first."""
        shown = [name for name in self.metrics if any(name in r.evaluation.overall for r in self.results)]
        head = ["model", *shown, "beats popularity", "p (Holm)", "fit s", "evaluate s", "peak MB"]
        rows = []
        for r in self.results:
            values = (r.evaluation.overall.get(name) for name in shown)
            cells = [
                "" if v is None or np.isnan(v.mean) else f"{v.mean:.4f} [{v.low:.4f}, {v.high:.4f}]" for v in values
            ]
            beats = "baseline" if r.name in (ALL_TIME, RECENT) else "yes" if r.beats_popularity else "NO"
            corrected = "" if np.isnan(r.corrected) else f"{r.corrected:.3g}"
            seconds = [f"{r.fit_seconds:.2f}", f"{r.evaluation.seconds:.2f}"]
            rows.append([r.name, *cells, beats, corrected, *seconds, f"{r.peak_memory_mb:.0f}"])
        return head, rows


def compare(
    data: Dataset,
    entries: Sequence[Entry],
    protocol: SplitsData,
    *,
    ks: Sequence[int] = (10,),
    seed: int = 0,
    metrics: Sequence[str] | None = None,
) -> Comparison:
    """Fit every contender on the protocol's train part, ask them all the same, and return what they were worth.

    Popularity of all time and of the last 30 days are added where no contender has their names. Each contender starts
    from the same seed, so that leaving one out changes nothing for the others. `metrics` adds to the default ones.
    A contender that refuses the data is told of in a warning and in `failed`. Raises InputError where the protocol
    cannot split the data or all contenders refuse them, ValueError where a k is below 1.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be at least 1 each, got {list(ks)}")
    splits = protocol.split(data)
    ks = tuple(dict.fromkeys(ks))
    names = tuple(dict.fromkeys([*default_metrics(ks, data), *(metrics or ())]))
    decided_by = f"ndcg@{ks[0]}"
    everyone = [*(b for b in baselines() if b.name not in {e.name for e in entries}), *entries]
    results, failed = [], {}
    for contender in track(everyone, "comparing"):
        try:
            results.append(run(contender, splits, names, seed))
        except InputError as error:
            failed[contender.name] = str(error)
            if contender not in entries or len(failed) == len(entries):
                raise
            logging.getLogger(__name__).warning("%s is left out: %s", contender.name, error)
    values = {result.name: result.evaluation.user_values[decided_by] for result in results}
    return Comparison(
        data=data,
        splits=splits,
        ks=ks,
        seed=seed,
        metrics=names,
        decided_by=decided_by,
        failed=failed,
        hybrids=against_parts(values, {e.name: e.parts for e in entries}, seed),
        **_judged(results, decided_by, seed),
    )


def default_metrics(ks: Sequence[int], data: Dataset) -> list[str]:
    """Return the metrics of a comparison: accuracy and exposure at each k, the rest at the first, errors of ratings."""
    names = [f"{name}@{k}" for k in ks for name in PER_K] + [f"{name}@{ks[0]}" for name in BEYOND]
    return names + (["rmse", "mae"] if data.values == "rating" else [])


def run(contender: Entry, splits: Sequence[Split], names: Sequence[str], seed: int) -> Result:
    """Fit one contender on each split's train part and return what it was worth, not yet held against popularity."""
    forget_peak()
    fitting, spared, curves, staged, fitted = [0.0], [0.0], {}, [], []

    def runs() -> Iterator[tuple[Retriever, PredictsRatings | None, Split]]:
        for split in splits:
            began = time.perf_counter()
            built = contender.build(split.train, np.random.default_rng(seed))
            fitting[0] += time.perf_counter() - began
            spared[0] += built.spared
            if isinstance(built.model, RecordsCurves):
                curves.update(built.model.curves())
            if split is splits[0]:
                fitted.append(built.model)
            if split is splits[0] and isinstance(built.recommender, Recommender) and has_stages(built.recommender):
                staged.append(built.recommender)
            yield built.recommender, built.model if isinstance(built.model, PredictsRatings) else None, split

    evaluation = pooled(runs(), names, rng=np.random.default_rng(seed))
    return Result(
        name=contender.name,
        hyperparameters=contender.hyperparameters,
        evaluation=replace(evaluation, seconds=evaluation.seconds - fitting[0]),
        fit_seconds=fitting[0] + spared[0],
        peak_memory_mb=peak_mb(),
        curves=curves,
        beats_popularity=False,
        test=None,
        corrected=float("nan"),
        funnel=stages_report(staged[0], splits[0]) if staged else None,
        minutes=of_minutes(fitted[0], splits[0]),
    )


def _judged(results: list[Result], decided_by: str, seed: int) -> dict[str, Any]:
    def mean(result: Result) -> float:
        return float(np.nan_to_num(result.evaluation.overall[decided_by].mean, nan=-np.inf))

    best = max((r for r in results if r.name in (ALL_TIME, RECENT)), key=mean)
    others = [r for r in results if r is not best]
    base = best.evaluation.user_values[decided_by]
    tests = [paired(r.evaluation.user_values[decided_by], base, rng=np.random.default_rng(seed)) for r in others]
    corrected: NDArray[np.float64] = holm(np.array([test.permutation for test in tests]))
    judged = [
        replace(r, beats_popularity=mean(r) > mean(best), test=test, corrected=float(p))
        for r, test, p in zip(others, tests, corrected, strict=True)
    ]
    return {"best_popularity": best.name, "results": sorted([best, *judged], key=mean, reverse=True)}


def _result_json(result: Result) -> dict[str, Any]:
    e, test = result.evaluation, result.test
    return {
        "name": result.name,
        "hyperparameters": result.hyperparameters,
        "metrics": {name: value.as_json() for name, value in e.overall.items()},
        "warm": {"users": e.n_users["warm"]} | {name: value.as_json() for name, value in e.warm.items()},
        "cold": {"users": e.n_users["cold"]} | {name: value.as_json() for name, value in e.cold.items()},
        **({"cold_items": _cold_items(e)} if e.n_cold_items else {}),
        "groups": [
            {"name": g.name, "users": g.n_users, "metrics": {name: v.as_json() for name, v in g.metrics.items()}}
            for g in e.groups
        ],
        "fit_seconds": result.fit_seconds,
        "evaluate_seconds": e.seconds,
        "peak_memory_mb": result.peak_memory_mb,
        "beats_popularity": result.beats_popularity,
        "test_against_popularity": None
        if test is None
        else {
            "users": test.n_users,
            "difference": _number(test.difference),
            "p_t": _number(test.t),
            "p_wilcoxon": _number(test.wilcoxon),
            "p_permutation": _number(test.permutation),
            "p_holm": _number(result.corrected),
        },
        "curves": result.curves,
        **({"funnel": result.funnel.as_json()} if result.funnel is not None else {}),
        **({"minutes": result.minutes.as_json()} if result.minutes is not None else {}),
    }


def _cold_items(e: Evaluation) -> dict[str, Any]:
    counts = {"users": e.n_users["cold_items"], "items": e.n_cold_items}
    return counts | {name: value.as_json() for name, value in e.cold_items.items()}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
