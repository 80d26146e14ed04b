"""Finds good hyper-parameters on a part of train, and says once what they are worth on test."""

from __future__ import annotations

import itertools
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pasand import recipe
from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.compare import Entry, Result, entry, hyperparameters, run
from pasand.evaluation.intervals import Interval
from pasand.evaluation.protocols import SplitsData, inside
from pasand.evaluation.recipe_entries import Shared, of_recipe
from pasand.evaluation.split import Split
from pasand.models.deep_model import DeepModel
from pasand.progress import step

LOWER_IS_BETTER = ("rmse", "mae", "gini", "average_popularity")


@dataclass(frozen=True)
class Between:
    """Any number from low to high, drawn evenly on the scale of logarithms where low is above 0."""

    low: float
    high: float
    whole: bool = False
    """Whole numbers only."""


Choices = Sequence[object] | Between

DEEP: dict[str, Choices] = {
    "dimensions": [32, 64, 128],
    "learning_rate": Between(3e-4, 3e-2),
    "l2": Between(1e-6, 1e-1),
    "dropout": Between(0.0, 0.6),
    "temperature": Between(0.03, 0.3),
    "blocks": [1, 2],
}
"""Where deep models are searched unless told otherwise, in those of these fields that they have."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration and what it was worth on the validation part."""

    hyperparameters: dict[str, object]
    """Those that were searched over."""
    validation: dict[str, Interval]
    warm: dict[str, Interval]
    cold: dict[str, Interval]
    curves: dict[str, list[float]]
    """The model's learning curves, one value per epoch; {} where it keeps none."""
    fit_seconds: float


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """All trials of a search, in order, and the best."""

    model: str
    data: Dataset
    metric: str
    seed: int
    search: str
    """How configurations were chosen, in words."""
    outer: Split
    """Its test part was touched once, by the best configuration."""
    inner: Split
    """Cut out of the outer train part by the same protocol."""
    trials: list[Trial]
    best: Trial
    test: Result | None
    """The best configuration, fitted on the whole outer train part; None where the search was interrupted."""

    @property
    def interrupted(self) -> bool:
        """Whether the search was stopped before its end."""
        return self.test is None

    def as_json(self) -> dict[str, Any]:
        """Return the search in numbers, strings and lists; nan is None."""
        return {
            "model": self.model,
            "metric": self.metric,
            "seed": self.seed,
            "search": self.search,
            "protocol": self.outer.name,
            "validation": self.inner.name,
            "leaks": self.outer.leaks,
            "rules": self.outer.rules,
            "data": {"name": self.data.name, "events": len(self.data), "fingerprint": self.data.fingerprint},
            "interrupted": self.interrupted,
            "trials": [_trial_json(trial) for trial in self.trials],
            "best": _trial_json(self.best),
            "test": None
            if self.test is None
            else {
                "hyperparameters": self.test.hyperparameters,
                "users": self.test.evaluation.n_users,
                "metrics": _numbers(self.test.evaluation.overall),
                "warm": _numbers(self.test.evaluation.warm),
                "cold": _numbers(self.test.evaluation.cold),
                "curves": self.test.curves,
                "fit_seconds": self.test.fit_seconds,
            },
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the head and a row per trial, best first."""
        searched = list(self.best.hyperparameters)
        rows = []
        for trial in sorted(self.trials, key=lambda trial: _cost(trial, self.metric)):
            values = (part.get(self.metric) for part in (trial.validation, trial.warm, trial.cold))
            cells = [
                "" if v is None or math.isnan(v.mean) else f"{v.mean:.4f} [{v.low:.4f}, {v.high:.4f}]" for v in values
            ]
            rows.append([*(str(trial.hyperparameters[name]) for name in searched), *cells, f"{trial.fit_seconds:.2f}"])
        return [*searched, f"validation {self.metric}", "warm", "cold", "fit s"], rows


@dataclass
class OfRecipe:
    """A recipe whose options "table.option" are searched; components that do not change are fitted once."""

    name: str
    text: str
    seed: int = 0
    _shared: Shared = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._shared = Shared(self.seed)

    def parsed(self, setting: str) -> tuple[str, Choices]:
        """Return option and choices of a setting such as `trees.leaves=7,15`, as `parsed` does for a model's field."""
        option, equals, text = setting.partition("=")
        part, name = self._part(option.strip())
        return option.strip(), parsed(part, f"{name}={text}" if equals else name)[1]

    def value(self, option: str, text: str) -> object:
        """Return the one value of an option that a text gives; raises InputError where there are several, or none."""
        part, name = self._part(option)
        return single(part, {name: text})[name]

    def check(self, option: str, value: object | None = None) -> None:
        """Raise InputError where there is no such option, or it refuses the value."""
        part, name = self._part(option)
        _known(part, name)
        if value is not None:
            recipe.build(recipe.changed(self.text, {option: value}, where=self.name), where=self.name)

    def entry(self, changes: Mapping[str, object]) -> Entry:
        """Return the contender with these options."""
        text = recipe.changed(self.text, changes, where=self.name)
        made = of_recipe(self.name, text, self._shared)
        return replace(made, hyperparameters={**made.hyperparameters, **changes})

    def _part(self, option: str) -> tuple[Any, str]:
        table, _, name = option.partition(".")
        components = recipe.build(self.text, where=self.name).components
        if table not in components or not name:
            cure = f"write TABLE.OPTION=VALUE,VALUE, with one of: {', '.join(components)}"
            raise InputError(self.name, value=option, cause="no such table in the recipe", cure=cure)
        return components[table], name


@dataclass
class _OfModel:
    """A model whose fields are searched."""

    model: Model

    @property
    def name(self) -> str:
        return type(self.model).__name__

    def check(self, name: str, value: object | None = None) -> None:
        _known(self.model, name)
        if value is not None:
            changed(self.model, {name: value})

    def entry(self, changes: Mapping[str, object]) -> Entry:
        return entry(self.name, changed(self.model, changes))


def tune(
    data: Dataset,
    model: Model | OfRecipe,
    grid: Mapping[str, Choices],
    protocol: SplitsData,
    *,
    metric: str,
    trials: int | None = None,
    seed: int = 0,
    metrics: Sequence[str] = (),
) -> Tuning:
    """Try configurations of a model or a recipe on a validation part of train, then the best of them once on test.

    The validation part is cut out of train by the same protocol; of several folds the first is tuned in and tested on.
    `trials` None: the whole grid; else so many draws by optuna's tree-structured Parzen estimator. `metrics` are
    measured besides, and decide nothing. Ctrl-C ends the search with what is done, once there is a trial. Raises
    InputError for a field that the model does not have, a value it refuses, or a metric that the split cannot give.
    """
    searched = model if isinstance(model, OfRecipe) else _OfModel(model)
    for name, choices in grid.items():
        _check(searched, name, choices, drawn=trials is not None)
    outer = protocol.split(data)[0]
    inner = inside(protocol).split(outer.train)[0]
    names = tuple(dict.fromkeys([metric, *metrics]))
    chosen: Iterable[dict[str, object]]
    if trials is None:
        total = math.prod(len(choices) for choices in grid.values() if not isinstance(choices, Between))
        search, chosen = f"grid of {total}", _grid(grid)
    else:
        total, search, chosen = trials, f"{trials} trials of optuna's TPE", _Drawn(grid, trials, metric, seed)
    done: list[Trial] = []
    finished = False
    try:
        step("tuning", 0, total)
        for changes in chosen:
            done.append(_try(searched, changes, inner, names, metric, seed))
            if isinstance(chosen, _Drawn):
                chosen.tell(_cost(done[-1], metric))
            step("tuning", len(done), total)
        finished = True
    except KeyboardInterrupt:
        if not done:
            raise
    best = min(done, key=lambda trial: _cost(trial, metric))
    test = run(searched.entry(best.hyperparameters), [outer], names, seed) if finished else None
    return Tuning(
        model=searched.name,
        data=data,
        metric=metric,
        seed=seed,
        search=search,
        outer=outer,
        inner=inner,
        trials=done,
        best=best,
        test=test,
    )


def space(model: Model) -> dict[str, Choices]:
    """Return where a deep model is searched unless told otherwise; raises InputError for other models.

    `DEEP` in those of its fields that the model has, and a quarter, all and four times of its own number of negatives.
    """
    if not isinstance(model, DeepModel):
        name = type(model).__name__
        raise InputError(
            "grid", value=name, cause="no fields to search are given", cure="name them: --grid l2=0.01,0.1"
        )
    own = hyperparameters(model)
    found = {name: choices for name, choices in DEEP.items() if name in own}
    drawn = own.get("negatives")
    if isinstance(drawn, int):
        found["negatives"] = [max(1, drawn // 4), drawn, 4 * drawn]
    return found


def parsed(model: object, setting: str) -> tuple[str, Choices]:
    """Return field and choices of a setting such as `dimensions=10,20` or, for draws, `l2=0.001..0.1`.

    Each value takes the type of the model's field. Where the field holds several values, commas stand between those and
    slashes between the choices, as in `layers=64,32/128`; "none" is then no value at all, and "all" is None. Raises
    InputError for an unknown field or a value of another type.
    """
    name, equals, text = setting.partition("=")
    name = name.strip()
    if not equals or not text.strip():
        raise InputError("grid", value=setting, cause="not of the form field=value,value", cure="write l2=0.01,0.02")
    _known(model, name)
    kinds = _kinds(typing.get_type_hints(type(model))[name])
    if any(typing.get_origin(kind) in (tuple, Sequence) for kind in kinds):
        return name, [_several(kinds, name, piece.strip()) for piece in text.split("/")]
    low, between, high = text.partition("..")
    if between:
        try:
            return name, Between(float(low), float(high), whole=int in kinds and float not in kinds)
        except ValueError:
            cure = "write l2=0.001..0.1"
            raise InputError("grid", column=name, value=text, cause="not two numbers", cure=cure) from None
    return name, [_typed(kinds, name, piece.strip()) for piece in text.split(",")]


def single(model: Model, settings: Mapping[str, str], option: str = "--set") -> dict[str, object]:
    """Return the value of each field that a text gives; raises InputError as `parsed`, and where there are several."""
    chosen = {}
    for option_name, text in settings.items():
        setting = f"{option_name}={text}"
        name, values = parsed(model, setting)
        if not isinstance(values, Sequence) or len(values) != 1:
            raise InputError(option, value=setting, cause="one value is needed", cure="search with pasand tune")
        chosen[name] = values[0]
    return chosen


def _known(model: object, name: str) -> None:
    fields = hyperparameters(model)
    if name not in fields:
        where, cause = f"hyper-parameters of {type(model).__name__}", "no such field"
        raise InputError(where, value=name, cause=cause, cure=f"choose from {', '.join(fields)}")


def _several(kinds: list[object], name: str, text: str) -> object:
    if text.lower() == "none":
        return ()
    if text.lower() == "all" and type(None) in kinds:
        return None
    members = [part for kind in kinds for part in typing.get_args(kind) if part is not Ellipsis]
    return tuple(_typed(members, name, piece.strip()) for piece in text.split(","))


def _typed(kinds: list[object], name: str, text: str) -> object:
    if type(None) in kinds and text.lower() == "none":
        return None
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            if kind in kinds:
                return kind(text)
        except ValueError:
            continue
    literals = [kind for kind in kinds if not isinstance(kind, type)]
    if str in kinds or text in literals:
        return text
    expected = " or ".join("none" if k is type(None) else k.__name__ if isinstance(k, type) else str(k) for k in kinds)
    raise InputError("grid", column=name, value=text, cause="not of the field's type", cure=f"write {expected}")


def _kinds(hint: object) -> list[object]:
    """Return the types, and the values of literals, that a field's annotation allows."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return list(typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    return [hint]


def _check(searched: OfRecipe | _OfModel, name: str, choices: Choices, *, drawn: bool) -> None:
    searched.check(name)
    if isinstance(choices, Between):
        if not drawn:
            cause = "a range can only be drawn from"
            raise InputError("grid", column=name, cause=cause, cure="say how many --trials, or list the values")
        if not choices.low < choices.high:
            cause = "the range is empty"
            raise InputError("grid", column=name, value=f"{choices.low}..{choices.high}", cause=cause, cure="swap them")
        return
    if not choices:
        raise InputError("grid", column=name, cause="no values are given", cure=f"write {name}=1,2")
    for value in choices:
        searched.check(name, value)


def changed(model: Model, changes: Mapping[str, object]) -> Model:
    try:
        changed: Model = replace(model, **changes)  # type: ignore[type-var]
    except (ValueError, TypeError) as error:
        shown = ", ".join(f"{name}={value}" for name, value in changes.items())
        cure = "choose values that the model accepts"
        raise InputError(f"{type(model).__name__} with {shown}", cause=str(error), cure=cure) from error
    return changed


def _grid(grid: Mapping[str, Choices]) -> Iterator[dict[str, object]]:
    lists = [choices for choices in grid.values() if not isinstance(choices, Between)]
    for values in itertools.product(*lists):
        yield dict(zip(grid, values, strict=True))


class _Drawn:
    """Configurations that optuna draws, each after it was told what the one before cost."""

    def __init__(self, grid: Mapping[str, Choices], trials: int, metric: str, seed: int) -> None:
        if trials < 1:
            raise InputError("trials", value=trials, cause="at least one is needed", cure="give a number above 0")
        try:
            import optuna
        except ImportError:
            cause = "drawing trials needs optuna, which is not installed"
            raise InputError("trials", cause=cause, cure="pip install pasand[train], or search a grid") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        self._grid, self._trials = grid, trials
        self._asked: Any = None

    def __iter__(self) -> Iterator[dict[str, object]]:
        for _ in range(self._trials):
            self._asked = self._study.ask()
            yield {name: self._suggest(name, choices) for name, choices in self._grid.items()}

    def _suggest(self, name: str, choices: Choices) -> object:
        if not isinstance(choices, Between):
            return choices[self._asked.suggest_categorical(name, list(range(len(choices))))]
        number: object
        if choices.whole:
            number = self._asked.suggest_int(name, int(choices.low), int(choices.high), log=choices.low >= 1)
            return number
        number = self._asked.suggest_float(name, choices.low, choices.high, log=choices.low > 0)
        return number

    def tell(self, cost: float) -> None:
        """Report the cost of the configuration given last."""
        self._study.tell(self._asked, cost)


def _try(
    searched: OfRecipe | _OfModel,
    changes: dict[str, object],
    inner: Split,
    names: Sequence[str],
    metric: str,
    seed: int,
) -> Trial:
    result = run(searched.entry(changes), [inner], names, seed)
    if metric not in result.evaluation.overall:
        cause = "not measured: it needs ratings in the data and a model that predicts them"
        raise InputError("metric", value=metric, cause=cause, cure="choose a ranking metric such as ndcg@10")
    return Trial(
        hyperparameters=changes,
        validation=result.evaluation.overall,
        warm=result.evaluation.warm,
        cold=result.evaluation.cold,
        curves=result.curves,
        fit_seconds=result.fit_seconds,
    )


def _cost(trial: Trial, metric: str) -> float:
    """Return the trial's metric as a number to make small; infinite where it is undefined."""
    value = trial.validation[metric].mean
    if np.isnan(value):
        return float("inf")
    return value if metric.partition("@")[0] in LOWER_IS_BETTER else -value


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "hyperparameters": trial.hyperparameters,
        "validation": _numbers(trial.validation),
        "warm": _numbers(trial.warm),
        "cold": _numbers(trial.cold),
        "curves": trial.curves,
        "fit_seconds": trial.fit_seconds,
    }


def _numbers(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    return {name: interval.as_json() for name, interval in intervals.items()}
