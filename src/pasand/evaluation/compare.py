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

from pasand.contracts import Model, PredictsRatings, RecordsCurves, Retriever
from pasand.data.dataset import Dataset
from pasand.default_recipe import of_configured
from pasand.errors import InputError, failure_cause, is_interruption
from pasand.evaluation.against_popularity import against_popularity
from pasand.evaluation.compile_seconds import compile_seconds
from pasand.evaluation.evaluate import Evaluation, evaluate_pooled
from pasand.evaluation.funnel import Funnel, has_stages, stages_report
from pasand.evaluation.history_groups import group_rules
from pasand.evaluation.hybrid_parts import Hybrid, compare_with_parts
from pasand.evaluation.intervals import Interval
from pasand.evaluation.isolation import in_own_process
from pasand.evaluation.memory_estimate import check_memory, is_near_limit, peak_mb, reset_peak, training_memory
from pasand.evaluation.protocols import SplitsData
from pasand.evaluation.results_json import comparison_json
from pasand.evaluation.significance import PairedComparison, PairedTest, verdict_rule
from pasand.evaluation.split import Split
from pasand.evaluation.training_seeds import seeds_rule
from pasand.evaluation.watch_minutes import minutes_calibration
from pasand.models.classical.newest import Newest
from pasand.models.classical.popularity import Popularity
from pasand.progress import track
from pasand.recipe import has_drawn
from pasand.recommender import Recommender, fallback_chain
from pasand.training.calibration import Calibration

WINDOWS = (7, 30)
"""Days of the windows of the recent popularity baselines."""
HALF_LIFE = 14
"""Half-life in days of the popularity baseline with decay."""
METRICS_PER_K = ("ndcg", "recall", "capped_recall", "precision", "hit_rate", "map", "mrr", "coverage", "gini")
METRICS_AT_FIRST_K = ("novelty", "average_popularity", "intra_list_diversity")
ALL_TIME, NEWEST = "popularity", "newest"
"""Names of the baseline of all time, and of the reference for cold items."""


@dataclass(frozen=True)
class FittedEntry:
    """A fitted recommender, with its model, which may also predict ratings or record learning curves."""

    recommender: Retriever
    model: object = None
    reused_seconds: float = 0.0
    """Seconds spent earlier on fitting components that it shares with other entries and reuses."""
    is_random: bool = False
    """Whether fitting drew random numbers from another generator than the given one."""


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
    with_seed: Callable[[int], Callable[[Dataset, Generator], FittedEntry]] | None = None
    """Returns `build` for another seed; None: `build` draws from the given generator only."""
    recipe: str = ""
    """The recipe as TOML by which `pasand fit` fits the same; "": none does."""


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
    text = of_configured(name, model)
    return Entry(name, _FitsModel(model), hyperparameters(model), model, components=(model,), recipe=text)


def baselines(data: Dataset | None = None) -> list[Entry]:
    """Return the baselines of every comparison: popularity of all time, of the last days, and with decay.

    Where histories are live they follow the log up to each test query. Windows and half-life are fixed beforehand, not
    chosen on any data. Those without a meaning for `data`, which have no times, are left out.
    """
    all_time = [model_entry(ALL_TIME, Popularity())]
    if data is not None and data.order != "time":
        return all_time
    recent = [model_entry(f"{ALL_TIME}_{days}_days", Popularity(window_days=days)) for days in WINDOWS]
    decayed = Popularity(half_life_days=HALF_LIFE)
    return [*all_time, *recent, model_entry(f"{ALL_TIME}_half_life", decayed)]


def references(splits: Sequence[Split]) -> list[Entry]:
    """Return the reference for cold items, the newest items first; [] if no test query has a relevant cold item."""
    has_cold = any(split.cold_items[split.test_queries.item].any() for split in splits)
    return [model_entry(NEWEST, Newest())] if has_cold else []


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
    """Without the seconds in which kernels were compiled or loaded."""
    peak_memory_mb: float
    """Peak resident memory of fitting and evaluating, including the data; 2**20 bytes."""
    curves: dict[str, list[float]]
    seeds: tuple[int, ...]
    """Seeds that it was fitted with; one if fitting draws no random number."""
    is_random: bool
    """Whether fitting draws random numbers."""
    against_popularity: PairedComparison | None
    """Comparison with the best baseline on the main metric, Holm's correction for the number of entries; None for
    baselines and for the reference `newest`."""
    funnel: Funnel | None = None
    """Its retriever and stages on the first split, if it has stages or retrieves more candidates than it returns."""
    minutes: Calibration | None = None
    """Calibration of predicted watch minutes on the first split, by tenth; None if it predicts none."""
    recipe: str = ""
    """The recipe as TOML by which `pasand fit` fits the same; "": none does."""

    @property
    def role(self) -> str:
        """ "contender" where it is compared with popularity, else "baseline", or "for cold items" for `newest`."""
        if self.against_popularity is not None:
            return "contender"
        return "for cold items" if self.name == NEWEST else "baseline"


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
    baselines: tuple[str, ...]
    """Names of the popularity baselines."""
    best_baseline: str
    """Name of the baseline with the highest main metric on the test queries, a choice that favours popularity."""
    results: list[Result]
    """The best main metric first."""
    failed: dict[str, str]
    """Cause by name of the entries that could not be fitted and evaluated."""
    complete: bool = True
    """Whether all entries were tried; False for the results so far and after Ctrl-C."""
    hybrids: list[Hybrid] = field(default_factory=list)
    """Entries that combine others, compared with the best of these."""
    n_seeds: int = 1
    """Seeds that a random entry is fitted with: `seed` and the next ones."""

    @property
    def protocol(self) -> str:
        """The protocol and its options, in words."""
        first = self.splits[0].name
        return first if len(self.splits) == 1 else first.rpartition(", ")[0] + f", all {len(self.splits)}"

    @property
    def rules(self) -> dict[str, str]:
        """The definitions of the protocol by term, then those of the groups, the verdict and the intervals."""
        evaluation = self.results[0].evaluation
        return {
            **self.splits[0].rules,
            **group_rules(bool(evaluation.n_users["not_in_train"]), bool(evaluation.n_cold_items)),
            "against popularity": verdict_rule(
                self.main_metric, f"{self.best_baseline}, the best of {len(self.baselines)} popularity baselines"
            ),
            "intervals": seeds_rule(self.seed, self.n_seeds),
        }

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for JSON; nan is None."""
        return comparison_json(self)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows of the leaderboard, best first."""
        shown = [name for name in self.metrics if any(name in r.evaluation.overall for r in self.results)]
        head = ["model", *shown, "against popularity", "p (Holm)", "fit s", "evaluate s", "peak MB"]
        rows = []
        for r in self.results:
            cells = [str(r.evaluation.overall.get(name, "")) for name in shown]
            compared = r.against_popularity
            verdict, p_value = (r.role, "") if compared is None else (compared.verdict, compared.p_text)
            seconds = [f"{r.fit_seconds:.2f}", f"{r.evaluation.seconds:.2f}"]
            rows.append([r.name, *cells, verdict, p_value, *seconds, f"{r.peak_memory_mb:.0f}"])
        return head, rows


def compare(
    data: Dataset,
    entries: Sequence[Entry],
    protocol: SplitsData,
    *,
    ks: Sequence[int] = (10,),
    seed: int = 0,
    n_seeds: int = 1,
    metrics: Sequence[str] | None = None,
    isolate: bool = False,
    on_result: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Fit all entries to the train part of the protocol and evaluate them on the same test queries.

    The popularity baselines come first, and are added unless entries have their names. So is `newest` where a test
    query has a relevant cold item: what is ranked high because it is new is no success on cold items. Each entry starts
    from the same seed, so leaving one out does not change the others. Entries whose fit draws random numbers are fitted
    with `n_seeds` seeds, from `seed` on, and their test queries are pooled over the seeds; the others are fitted once.
    `metrics` are added to the default ones. After every entry `on_result` gets the comparison so far.

    An entry that raises any exception, or would not fit into the free memory, is logged as a warning and listed in
    `failed`; the others go on. With `isolate` every entry runs in a process of its own, so that a crash of that process
    costs this entry only; entries that need most of the free memory always do. Ctrl-C ends the comparison after the
    finished entries, if a baseline is among them. Raises InputError if the protocol cannot split the data, a baseline
    fails or all given entries fail, ValueError if a k or `n_seeds` is below 1.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be at least 1 each, got {list(ks)}")
    if n_seeds < 1:
        raise ValueError(f"n_seeds must be at least 1, got {n_seeds}")
    splits = protocol.split(data)
    ks = tuple(dict.fromkeys(ks))
    names = tuple(dict.fromkeys([*default_metrics(ks, data), *(metrics or ())]))
    main_metric = f"ndcg@{ks[0]}"
    of_popularity = tuple(baseline.name for baseline in baselines(data))
    added = [entry for entry in (*baselines(data), *references(splits)) if entry.name not in {e.name for e in entries}]
    all_entries = [*added, *entries]
    all_entries.sort(key=lambda entry: entry.name not in of_popularity)
    results: list[Result] = []
    failed: dict[str, str] = {}
    tests: dict[tuple[str, str], tuple[Interval, PairedTest]] = {}

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
            n_seeds=n_seeds,
            **against_popularity(
                results, main_metric, baselines=of_popularity, untested=(NEWEST,), seed=seed, known=tests
            ),
        )

    try:
        for entry in track(all_entries, "comparing"):
            try:
                results.append(_evaluated(entry, splits, names, seed, n_seeds, isolate))
            except Exception as error:
                if is_interruption(error):
                    raise KeyboardInterrupt from error
                failed[entry.name] = failure_cause(error)
                if entry.name in of_popularity or (isinstance(error, InputError) and len(entries) == 1):
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


def _evaluated(
    entry: Entry, splits: Sequence[Split], names: Sequence[str], seed: int, n_seeds: int, isolate: bool
) -> Result:
    """Return the result of one entry, evaluated in another process with `isolate` or where memory is scarce."""
    memory = training_memory(splits[0].train, entry.components)
    check_memory(memory, entry.name)
    if isolate or is_near_limit(memory):
        return in_own_process(evaluate_entry, entry, splits, names, seed, n_seeds)
    return evaluate_entry(entry, splits, names, seed, n_seeds)


def default_metrics(ks: Sequence[int], data: Dataset) -> list[str]:
    """Return the default metrics: accuracy and exposure at each k, others at the first k, and errors of ratings."""
    names = [f"{name}@{k}" for k in ks for name in METRICS_PER_K] + [f"{name}@{ks[0]}" for name in METRICS_AT_FIRST_K]
    return names + (["rmse", "mae"] if data.values == "rating" else [])


def evaluate_entry(entry: Entry, splits: Sequence[Split], names: Sequence[str], seed: int, n_seeds: int = 1) -> Result:
    """Fit one entry to the train part of each split and evaluate it; the comparison with the baselines is left open.

    If fitting draws random numbers, this is done with `n_seeds` seeds from `seed` on. Seconds are means over seeds;
    curves, funnel and minutes are those of the first seed.
    """
    reset_peak()
    fitting, compiled, reused_seconds, curves, staged, fitted = [0.0], [0.0], [0.0], {}, [], []
    seeds, random = [], [False]

    def runs() -> Iterator[tuple[Retriever, PredictsRatings | None, Split]]:
        for own_seed in range(seed, seed + n_seeds):
            build = entry.build if own_seed == seed or entry.with_seed is None else entry.with_seed(own_seed)
            seeds.append(own_seed)
            for split in splits:
                began, rng = time.perf_counter(), np.random.default_rng(own_seed)
                with compile_seconds() as compiling:
                    built = build(split.train, rng)
                fitting[0] += time.perf_counter() - began
                compiled[0] += compiling[0]
                reused_seconds[0] += built.reused_seconds
                random[0] |= built.is_random or has_drawn(rng, own_seed)
                is_first = split is splits[0] and own_seed == seed
                if isinstance(built.model, RecordsCurves) and own_seed == seed:
                    curves.update(built.model.curves())
                if is_first:
                    fitted.append(built.model)
                if is_first and isinstance(built.recommender, Recommender) and has_stages(built.recommender):
                    staged.append(built.recommender)
                yield built.recommender, built.model if isinstance(built.model, PredictsRatings) else None, split
            if not random[0]:
                return

    evaluation = evaluate_pooled(runs(), names, rng=np.random.default_rng(seed), n_splits=len(splits))
    return Result(
        name=entry.name,
        hyperparameters=entry.hyperparameters,
        evaluation=replace(evaluation, seconds=(evaluation.seconds - fitting[0]) / len(seeds)),
        fit_seconds=(fitting[0] - compiled[0] + reused_seconds[0]) / len(seeds),
        peak_memory_mb=peak_mb(),
        curves=curves,
        seeds=tuple(seeds),
        is_random=random[0],
        against_popularity=None,
        funnel=stages_report(staged[0], splits[0]) if staged else None,
        minutes=minutes_calibration(fitted[0], splits[0]),
        recipe=entry.recipe,
    )
