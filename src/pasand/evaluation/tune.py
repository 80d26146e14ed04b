"""Hyper-parameter tuning: a grid or TPE search on a validation part of train, and one test of the best trial."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.errors import InputError, failure_cause, is_interruption
from pasand.evaluation.compare import Result, evaluate_entry
from pasand.evaluation.environment import environment
from pasand.evaluation.evaluate import Group
from pasand.evaluation.history_groups import group_rules
from pasand.evaluation.intervals import Interval
from pasand.evaluation.memory_estimate import check_memory, training_memory
from pasand.evaluation.protocols import SplitsData, validation_protocol
from pasand.evaluation.results_json import group_json
from pasand.evaluation.search_space import Choices, Range, TunableModel, TunableRecipe, check_choices
from pasand.evaluation.split import Split
from pasand.evaluation.training_seeds import seeds_rule
from pasand.metrics.names import metrics as metrics_by_name
from pasand.progress import step

LOWER_IS_BETTER = ("rmse", "mae", "gini", "average_popularity")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration and its metrics on the validation part."""

    hyperparameters: dict[str, object]
    """The values of the searched hyper-parameters."""
    validation: dict[str, Interval]
    """Metrics over all users."""
    groups: list[Group]
    """Metrics by length of history, and of users not in train."""
    curves: dict[str, list[float]]
    """The model's learning curves, one value per epoch; {} if it records none."""
    fit_seconds: float
    failure: str | None = None
    """Why it could not be fitted and evaluated; it then has no metrics. None: it succeeded."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The trials of a search, in order, with the best of them and its result on test."""

    model: str
    data: Dataset
    metric: str
    """The metric that the search optimises."""
    seed: int
    search: str
    """The search method, in words."""
    outer: Split
    """The train/test split; its test part is used once, by the best configuration."""
    inner: Split
    """The train/validation split of the outer train part, by the same protocol."""
    trials: list[Trial]
    best: Trial
    test: Result | None
    """The best configuration, fitted to the whole outer train part; None if the search was interrupted or this fit
    failed."""
    complete: bool = True
    """Whether all trials and the test were done; False for the trials so far and after Ctrl-C."""
    test_failure: str | None = None
    """Why the best configuration could not be tested."""

    @property
    def interrupted(self) -> bool:
        """Whether the search was stopped before its end."""
        return not self.complete

    @property
    def ranked(self) -> list[Trial]:
        """The trials, best first."""
        return sorted(self.trials, key=lambda trial: _cost(trial, self.metric))

    @property
    def rules(self) -> dict[str, str]:
        """The definitions of the protocol by term, then those of the groups and the intervals."""
        test = self.test
        not_in_train = test is not None and bool(test.evaluation.n_users["not_in_train"])
        return self.outer.rules | group_rules(not_in_train, False) | {"intervals": seeds_rule(self.seed, 1)}

    def as_json(self) -> dict[str, Any]:
        """Return the search for JSON, with the versions and threads that made it; nan is None."""
        return {
            "complete": self.complete,
            "model": self.model,
            "metric": self.metric,
            "seed": self.seed,
            **environment(),
            "search": self.search,
            "protocol": self.outer.name,
            "validation": self.inner.name,
            "leakage": self.outer.leakage,
            "rules": self.rules,
            "data": {"name": self.data.name, "events": len(self.data), "fingerprint": self.data.fingerprint},
            "interrupted": self.interrupted,
            **({"test_failure": self.test_failure} if self.test_failure else {}),
            "trials": [_trial_json(trial) for trial in self.trials],
            "best": _trial_json(self.best),
            "test": None
            if self.test is None
            else {
                "hyperparameters": self.test.hyperparameters,
                "users": self.test.evaluation.n_users,
                "metrics": _metrics_json(self.test.evaluation.overall),
                "groups": [group_json(group) for group in self.test.evaluation.groups],
                "curves": self.test.curves,
                "fit_seconds": self.test.fit_seconds,
            },
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and a row per trial, best first."""
        searched, groups = list(self.best.hyperparameters), [group.name for group in self.best.groups]
        rows = []
        for trial in self.ranked:
            by_group = {group.name: group.metrics.get(self.metric, "") for group in trial.groups}
            cells = ["failed" if trial.failure else str(trial.validation.get(self.metric, ""))]
            cells += [str(by_group.get(name, "")) for name in groups]
            rows.append([*(str(trial.hyperparameters[name]) for name in searched), *cells, f"{trial.fit_seconds:.2f}"])
        return [*searched, f"validation {self.metric}", *groups, "fit s"], rows


def tune(
    data: Dataset,
    model: Model | TunableRecipe,
    space: Mapping[str, Choices],
    protocol: SplitsData,
    *,
    metric: str,
    trials: int | None = None,
    seed: int = 0,
    metrics: Sequence[str] = (),
    on_trial: Callable[[Tuning], None] | None = None,
) -> Tuning:
    """Search for the best configuration of a model or a recipe on a validation part of train, and test it once.

    The validation part is split off train by the same protocol; of several folds only the first is used. With `trials`
    None the search tries the whole grid, else that many draws of optuna's tree-structured Parzen estimator (TPE).
    `metrics` are measured as well, but do not decide. A trial that raises an exception, would not fit into memory or
    has an undefined metric is kept with the cause, and the search goes on. After every trial with at least one success
    `on_trial` gets the search so far. Ctrl-C ends the search after the finished trials, if one of them succeeded.
    Raises InputError for an unknown field, a metric that the split cannot measure, and if all trials fail.
    """
    searched = model if isinstance(model, TunableRecipe) else TunableModel(model)
    for name, choices in space.items():
        check_choices(searched, name, choices, drawn=trials is not None)
    outer = protocol.split(data)[0]
    inner = validation_protocol(protocol).split(outer.train)[0]
    names = tuple(dict.fromkeys([metric, *metrics]))
    metrics_by_name(names, inner.train)
    configurations: Iterable[dict[str, object]]
    if trials is None:
        total = math.prod(len(choices) for choices in space.values() if not isinstance(choices, Range))
        search, configurations = f"grid of {total}", _grid(space)
    else:
        total, search = trials, f"{trials} trials of optuna's TPE"
        configurations = _TPE(space, trials, seed)
    done: list[Trial] = []
    test: Result | None = None
    test_failure: str | None = None

    def so_far(complete: bool) -> Tuning:
        best = min((trial for trial in done if trial.failure is None), key=lambda trial: _cost(trial, metric))
        return Tuning(
            model=searched.name,
            data=data,
            metric=metric,
            seed=seed,
            search=search,
            outer=outer,
            inner=inner,
            trials=list(done),
            best=best,
            test=test,
            complete=complete,
            test_failure=test_failure,
        )

    try:
        step("tuning", 0, total)
        for changes in configurations:
            done.append(_run_trial(searched, changes, inner, names, metric, seed))
            if isinstance(configurations, _TPE):
                configurations.record(_cost(done[-1], metric))
            step("tuning", len(done), total)
            if on_trial is not None and any(trial.failure is None for trial in done):
                on_trial(so_far(complete=False))
        if all(trial.failure is not None for trial in done):
            raise InputError(searched.name, cause=f"all trials failed: {_causes(done)}", cure="search other values")
        try:
            test = evaluate_entry(searched.entry(so_far(complete=False).best.hyperparameters), [outer], names, seed)
        except Exception as error:
            if is_interruption(error):
                raise KeyboardInterrupt from error
            test_failure = failure_cause(error)
    except KeyboardInterrupt:
        if all(trial.failure is not None for trial in done):
            raise
        return so_far(complete=False)
    return so_far(complete=True)


def _causes(failed: Sequence[Trial]) -> str:
    """Return the distinct causes of failed trials, each with the first configuration that failed by it."""
    causes: dict[str, str] = {}
    for trial in failed:
        settings = ", ".join(f"{name}={value}" for name, value in trial.hyperparameters.items())
        causes.setdefault(str(trial.failure), settings)
    return "; ".join(f"{cause} ({settings})" for cause, settings in causes.items())


def _grid(space: Mapping[str, Choices]) -> Iterator[dict[str, object]]:
    lists = [choices for choices in space.values() if not isinstance(choices, Range)]
    for values in itertools.product(*lists):
        yield dict(zip(space, values, strict=True))


class _TPE:
    """Yields configurations that optuna draws; `record` the cost of each before the next is drawn."""

    def __init__(self, space: Mapping[str, Choices], trials: int, seed: int) -> None:
        if trials < 1:
            raise InputError("trials", value=trials, cause="at least one is needed", cure="give a number above 0")
        try:
            import optuna
        except ImportError:
            cause = "random trials need optuna, which is not installed"
            raise InputError("trials", cause=cause, cure="pip install pasand[train], or search a grid") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        self._space, self._trials = space, trials
        self._current: Any = None

    def __iter__(self) -> Iterator[dict[str, object]]:
        for _ in range(self._trials):
            self._current = self._study.ask()
            yield {name: self._suggest(name, choices) for name, choices in self._space.items()}

    def _suggest(self, name: str, choices: Choices) -> object:
        if not isinstance(choices, Range):
            return choices[self._current.suggest_categorical(name, list(range(len(choices))))]
        number: object
        if choices.whole:
            number = self._current.suggest_int(name, int(choices.low), int(choices.high), log=choices.low >= 1)
            return number
        number = self._current.suggest_float(name, choices.low, choices.high, log=choices.low > 0)
        return number

    def record(self, cost: float) -> None:
        """Record the cost of the last configuration; an infinite one as a failure."""
        if math.isinf(cost):
            from optuna.trial import TrialState

            self._study.tell(self._current, state=TrialState.FAIL)
        else:
            self._study.tell(self._current, cost)


def _run_trial(
    searched: TunableRecipe | TunableModel,
    changes: dict[str, object],
    inner: Split,
    names: Sequence[str],
    metric: str,
    seed: int,
) -> Trial:
    """Return one configuration with its metrics, or with the cause of its failure."""
    began = time.perf_counter()
    try:
        entry = searched.entry(changes)
        check_memory(training_memory(inner.train, entry.components), entry.name)
        result = evaluate_entry(entry, [inner], names, seed)
    except Exception as error:
        if is_interruption(error):
            raise KeyboardInterrupt from error
        seconds, cause = time.perf_counter() - began, failure_cause(error)
        return Trial(hyperparameters=changes, validation={}, groups=[], curves={}, fit_seconds=seconds, failure=cause)
    if metric not in result.evaluation.overall:
        cause = "not measured: it needs ratings in the data and a model that predicts them"
        raise InputError("metric", value=metric, cause=cause, cure="choose a ranking metric such as ndcg@10")
    value = result.evaluation.overall[metric].mean
    return Trial(
        hyperparameters=changes,
        validation=result.evaluation.overall,
        groups=result.evaluation.groups,
        curves=result.curves,
        fit_seconds=result.fit_seconds,
        failure=None if math.isfinite(value) else f"{metric} is {'undefined' if math.isnan(value) else value}",
    )


def _cost(trial: Trial, metric: str) -> float:
    """Return the trial's metric as a number to minimise; infinite if the trial failed."""
    if trial.failure is not None:
        return float("inf")
    value = trial.validation[metric].mean
    return value if metric.partition("@")[0] in LOWER_IS_BETTER else -value


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "hyperparameters": trial.hyperparameters,
        "validation": _metrics_json(trial.validation),
        "groups": [group_json(group) for group in trial.groups],
        "curves": trial.curves,
        "fit_seconds": trial.fit_seconds,
        **({"failure": trial.failure} if trial.failure else {}),
    }


def _metrics_json(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    return {name: interval.as_json() for name, interval in intervals.items()}
