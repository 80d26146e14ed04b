"""Comparison of recommenders on the same test queries, always against popularity baselines."""

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
from pasand.errors import InputError, failure_cause, is_interruption
from pasand.evaluation.evaluate import Evaluation, evaluate_pooled
from pasand.evaluation.funnel import Funnel, has_stages, stages_report
from pasand.evaluation.hybrid_parts import Hybrid, compare_with_parts
from pasand.evaluation.isolation import in_own_process
from pasand.evaluation.memory_estimate import check_memory, is_near_limit, peak_mb, reset_peak, training_memory
from pasand.evaluation.protocols import SplitsData
from pasand.evaluation.results_json import result_json
from pasand.evaluation.significance import PairedTest, holm, paired
from pasand.evaluation.split import COLD_ITEMS_RULE, Split
from pasand.evaluation.watch_minutes import minutes_calibration
from pasand.models.classical.popularity import Popularity
from pasand.progress import track
from pasand.recommender import Recommender, fallback_chain
from pasand.training.calibration import Calibration

RECENT_DAYS = 30.0
"""Window of the recent popularity baseline."""
METRICS_PER_K = ("ndcg", "recall", "capped_recall", "precision", "hit_rate", "map", "mrr", "coverage", "gini")
METRICS_AT_FIRST_K = ("novelty", "average_popularity", "intra_list_diversity")
ALL_TIME, RECENT = "popularity", "popularity_recent"
"""Names of the two baselines."""


@dataclass(frozen=True)
class FittedEntry:
    """A fitted recommender, with its model, which may also predict ratings or record learning curves."""

    recommender: Retriever
    model: object = None
    reused_seconds: float = 0.0
    """Seconds spent earlier on fitting components that it shares with other entries and reuses."""


@dataclass(frozen=True)
class Entry:
    """One recommender of a comparison, not fitted yet."""

    name: str
    build: Callable[[Dataset, Generator], FittedEntry]
    """Fits the recommender to the train events and returns it."""
    hyperparameters: dict[str, object]
    model: object = None
    """The unfitted model, if the recommender has just one."""
    parts: tuple[str, ...] = ()
    """Names of the entries that it combines, if it is a hybrid."""
    components: tuple[object, ...] = ()
    """The unfitted components that it fits, by which its memory is estimated."""


@dataclass(frozen=True)
class _FitsModel:
    """Fits a copy of a model, with popularity as the fallback; a class, so that another process can be given it."""

    model: Model

    def __call__(self, train: Dataset, rng: Generator) -> FittedEntry:
        fitted = copy.deepcopy(self.model).fit(train, rng=rng)
        if isinstance(fitted, Popularity):
            return FittedEntry(fallback_chain(fitted), fitted)
        return FittedEntry(fallback_chain(fitted, Popularity().fit(train, rng=rng)), fitted)


def model_entry(name: str, model: Model) -> Entry:
    """Return the entry of a model, which fits a copy of it with popularity as the fallback."""
    return Entry(name, _FitsModel(model), hyperparameters(model), model, components=(model,))


def baselines() -> list[Entry]:
    """Return the baselines of every comparison: popularity of all time, and of the last 30 days of train."""
    return [model_entry(ALL_TIME, Popularity()), model_entry(RECENT, Popularity(window_days=RECENT_DAYS))]


def hyperparameters(model: object) -> dict[str, object]:
    """Return the public init fields of a dataclass by name; {} for anything else."""
    if not is_dataclass(model):
        return {}
    return {f.name: getattr(model, f.name) for f in fields(model) if f.init and not f.name.startswith("_")}


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one entry."""

    name: str
    hyperparameters: dict[str, object]
    evaluation: Evaluation
    fit_seconds: float
    peak_memory_mb: float
    """Peak resident memory of fitting and evaluating, including the data; 2**20 bytes."""
    curves: dict[str, list[float]]
    beats_popularity: bool
    """Whether its mean of the main metric is above that of the better baseline."""
    paired_test: PairedTest | None
    """Test against the better baseline on the main metric, paired by user; None for that baseline itself."""
    p_holm: float
    """The permutation p value of `paired_test` with Holm's correction for the number of entries; nan without a test."""
    funnel: Funnel | None = None
    """Its retriever and stages on the first split, if it has stages or retrieves more candidates than it returns."""
    minutes: Calibration | None = None
    """Calibration of predicted watch minutes on the first split, by tenth; None if it predicts none."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The results of all entries, with the data, the splits and the significance tests."""

    data: Dataset
    splits: list[Split]
    ks: tuple[int, ...]
    seed: int
    metrics: tuple[str, ...]
    main_metric: str
    """The metric that ranks the entries and that the significance tests are about."""
    best_baseline: str
    """Name of the baseline with the higher main metric."""
    results: list[Result]
    """The best main metric first."""
    failed: dict[str, str]
    """Cause by name of the entries that could not be fitted and evaluated."""
    complete: bool = True
    """Whether all entries were tried; False for the results so far and after Ctrl-C."""
    hybrids: list[Hybrid] = field(default_factory=list)
    """Entries that combine others, compared with the best of these."""

    @property
    def protocol(self) -> str:
        """The protocol and its options, in words."""
        first = self.splits[0].name
        return first if len(self.splits) == 1 else first.rpartition(", ")[0] + f", all {len(self.splits)}"

    @property
    def rules(self) -> dict[str, str]:
        """The definitions of the protocol by term; with that of cold items if a test query has one as relevant."""
        cold = {"cold items": COLD_ITEMS_RULE} if self.results[0].evaluation.n_cold_items else {}
        return self.splits[0].rules | cold

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for JSON; nan is None."""
        split, data = self.splits[0], self.data
        return {
            "complete": self.complete,
            "protocol": self.protocol,
            "leakage": split.leakage,
            "rules": self.rules,
            "k": self.ks[0] if len(self.ks) == 1 else list(self.ks),
            "seed": self.seed,
            "main_metric": self.main_metric,
            "best_baseline": self.best_baseline,
            "data": {
                "name": data.name,
                "users": data.n_users,
                "items": data.n_items,
                "events": len(data),
                "positive_from": data.positive_from if np.isfinite(data.positive_from) else None,
                "fingerprint": data.fingerprint,
                "train_events": [len(s.train) for s in self.splits],
                "test_events": [len(s.test) for s in self.splits],
                "test_users": self.results[0].evaluation.n_users,
                "cold_items": self.results[0].evaluation.n_cold_items,
            },
            "models": [result_json(result) for result in self.results],
            **({"hybrids": [hybrid.as_json() for hybrid in self.hybrids]} if self.hybrids else {}),
            "failed": self.failed,
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows of the leaderboard, best first."""
        shown = [name for name in self.metrics if any(name in r.evaluation.overall for r in self.results)]
        head = ["model", *shown, "beats popularity", "p (Holm)", "fit s", "evaluate s", "peak MB"]
        rows = []
        for r in self.results:
            cells = [str(r.evaluation.overall.get(name, "")) for name in shown]
            beats = "baseline" if r.name in (ALL_TIME, RECENT) else "yes" if r.beats_popularity else "NO"
            p_holm = "" if np.isnan(r.p_holm) else f"{r.p_holm:.3g}"
            seconds = [f"{r.fit_seconds:.2f}", f"{r.evaluation.seconds:.2f}"]
            rows.append([r.name, *cells, beats, p_holm, *seconds, f"{r.peak_memory_mb:.0f}"])
        return head, rows


def compare(
    data: Dataset,
    entries: Sequence[Entry],
    protocol: SplitsData,
    *,
    ks: Sequence[int] = (10,),
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    isolate: bool = False,
    on_result: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Fit all entries to the train part of the protocol and evaluate them on the same test queries.

    The popularity baselines come first, and are added unless entries have their names. Each entry starts from the same
    seed, so leaving one out does not change the others. `metrics` are added to the default ones. After every entry
    `on_result` gets the comparison so far.

    An entry that raises any exception, or would not fit into the free memory, is logged as a warning and listed in
    `failed`; the others go on. With `isolate` every entry runs in a process of its own, so that a crash of that process
    costs this entry only; entries that need most of the free memory always do. Ctrl-C ends the comparison after the
    finished entries, if a baseline is among them. Raises InputError if the protocol cannot split the data, a baseline
    fails or all given entries fail, ValueError if a k is below 1.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be at least 1 each, got {list(ks)}")
    splits = protocol.split(data)
    ks = tuple(dict.fromkeys(ks))
    names = tuple(dict.fromkeys([*default_metrics(ks, data), *(metrics or ())]))
    main_metric = f"ndcg@{ks[0]}"
    all_entries = [*(b for b in baselines() if b.name not in {e.name for e in entries}), *entries]
    all_entries.sort(key=lambda entry: entry.name not in (ALL_TIME, RECENT))
    results: list[Result] = []
    failed: dict[str, str] = {}
    tests: dict[tuple[str, str], PairedTest] = {}

    def so_far(complete: bool) -> Comparison:
        values = {result.name: result.evaluation.user_values[main_metric] for result in results}
        return Comparison(
            data=data,
            splits=splits,
            ks=ks,
            seed=seed,
            metrics=names,
            main_metric=main_metric,
            failed=failed,
            complete=complete,
            hybrids=compare_with_parts(values, {e.name: e.parts for e in entries}, seed) if complete else [],
            **_against_baseline(results, main_metric, seed, tests),
        )

    try:
        for entry in track(all_entries, "comparing"):
            try:
                results.append(_evaluated(entry, splits, names, seed, isolate))
            except Exception as error:
                if is_interruption(error):
                    raise KeyboardInterrupt from error
                failed[entry.name] = failure_cause(error)
                if entry.name in (ALL_TIME, RECENT) or (isinstance(error, InputError) and len(entries) == 1):
                    raise
                logging.getLogger(__name__).warning("%s is left out: %s", entry.name, failed[entry.name])
            if on_result is not None and entry is not all_entries[-1]:
                on_result(so_far(complete=False))
    except KeyboardInterrupt:
        if not results:
            raise
        return so_far(complete=False)
    if entries and len(failed) == len(entries):
        causes = "; ".join(f"{name}: {cause}" for name, cause in failed.items())
        raise InputError(data.name, cause=f"no entry could be fitted and evaluated: {causes}")
    return so_far(complete=True)


def _evaluated(entry: Entry, splits: Sequence[Split], names: Sequence[str], seed: int, isolate: bool) -> Result:
    """Return the result of one entry, evaluated in another process with `isolate` or where memory is scarce."""
    memory = training_memory(splits[0].train, entry.components)
    check_memory(memory, entry.name)
    if isolate or is_near_limit(memory):
        return in_own_process(evaluate_entry, entry, splits, names, seed)
    return evaluate_entry(entry, splits, names, seed)


def default_metrics(ks: Sequence[int], data: Dataset) -> list[str]:
    """Return the default metrics: accuracy and exposure at each k, others at the first k, and errors of ratings."""
    names = [f"{name}@{k}" for k in ks for name in METRICS_PER_K] + [f"{name}@{ks[0]}" for name in METRICS_AT_FIRST_K]
    return names + (["rmse", "mae"] if data.values == "rating" else [])


def evaluate_entry(entry: Entry, splits: Sequence[Split], names: Sequence[str], seed: int) -> Result:
    """Fit one entry to the train part of each split and evaluate it; the comparison with the baselines is left open."""
    reset_peak()
    fitting, reused_seconds, curves, staged, fitted = [0.0], [0.0], {}, [], []

    def runs() -> Iterator[tuple[Retriever, PredictsRatings | None, Split]]:
        for split in splits:
            began = time.perf_counter()
            built = entry.build(split.train, np.random.default_rng(seed))
            fitting[0] += time.perf_counter() - began
            reused_seconds[0] += built.reused_seconds
            if isinstance(built.model, RecordsCurves):
                curves.update(built.model.curves())
            if split is splits[0]:
                fitted.append(built.model)
            if split is splits[0] and isinstance(built.recommender, Recommender) and has_stages(built.recommender):
                staged.append(built.recommender)
            yield built.recommender, built.model if isinstance(built.model, PredictsRatings) else None, split

    evaluation = evaluate_pooled(runs(), names, rng=np.random.default_rng(seed))
    return Result(
        name=entry.name,
        hyperparameters=entry.hyperparameters,
        evaluation=replace(evaluation, seconds=evaluation.seconds - fitting[0]),
        fit_seconds=fitting[0] + reused_seconds[0],
        peak_memory_mb=peak_mb(),
        curves=curves,
        beats_popularity=False,
        paired_test=None,
        p_holm=float("nan"),
        funnel=stages_report(staged[0], splits[0]) if staged else None,
        minutes=minutes_calibration(fitted[0], splits[0]),
    )


def _against_baseline(
    results: list[Result], main_metric: str, seed: int, tests: dict[tuple[str, str], PairedTest]
) -> dict[str, Any]:
    """Return the results compared with the better baseline; `tests` keeps the tests of pairs that were done before."""

    def mean(result: Result) -> float:
        return float(np.nan_to_num(result.evaluation.overall[main_metric].mean, nan=-np.inf))

    best = max((r for r in results if r.name in (ALL_TIME, RECENT)), key=mean)
    others = [r for r in results if r is not best]
    base = best.evaluation.user_values[main_metric]
    for r in others:
        if (r.name, best.name) not in tests:
            values = r.evaluation.user_values[main_metric]
            tests[r.name, best.name] = paired(values, base, rng=np.random.default_rng(seed))
    of_others = [tests[r.name, best.name] for r in others]
    p_holm: NDArray[np.float64] = holm(np.array([test.permutation for test in of_others]))
    tested = [
        replace(r, beats_popularity=mean(r) > mean(best), paired_test=test, p_holm=float(p))
        for r, test, p in zip(others, of_others, p_holm, strict=True)
    ]
    return {"best_baseline": best.name, "results": sorted([best, *tested], key=mean, reverse=True)}
