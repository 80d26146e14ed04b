"""Search spaces: ranges and choices of hyper-parameters, how they are parsed, and the models and recipes to tune."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pasand import recipe
from pasand.contracts import Model
from pasand.errors import InputError
from pasand.evaluation.compare import Entry, hyperparameters, model_entry
from pasand.evaluation.recipe_entries import ComponentCache, recipe_entry
from pasand.models.deep_model import DeepModel


@dataclass(frozen=True)
class Range:
    """All numbers from low to high; they are drawn log-uniformly if low is above 0, else uniformly."""

    low: float
    high: float
    whole: bool = False
    """Whole numbers only."""


Choices = Sequence[object] | Range

DEEP_SPACE: dict[str, Choices] = {
    "dimensions": [32, 64, 128],
    "learning_rate": Range(3e-4, 3e-2),
    "l2": Range(1e-6, 1e-1),
    "dropout": Range(0.0, 0.6),
    "temperature": Range(0.03, 0.3),
    "blocks": [1, 2],
}
"""The default search space of deep models; a model is tuned in those of these fields that it has."""


@dataclass
class TunableRecipe:
    """A recipe and the search of its options "table.option"; components that do not change are fitted once."""

    name: str
    text: str
    seed: int = 0
    _cache: ComponentCache = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._cache = ComponentCache(self.seed)

    def parse_setting(self, setting: str) -> tuple[str, Choices]:
        """Return option and choices of a setting such as `trees.leaves=7,15`, which is parsed as a model's field is."""
        option, equals, text = setting.partition("=")
        component, name = self._component(option.strip())
        return option.strip(), parse_setting(component, f"{name}={text}" if equals else name)[1]

    def parse_value(self, option: str, text: str) -> object:
        """Return the value of an option from its text; raises InputError unless the text gives exactly one value."""
        component, name = self._component(option)
        return single_values(component, {name: text})[name]

    def check(self, option: str, value: object | None = None) -> None:
        """Raise InputError if there is no such option, or if its component rejects the value."""
        component, name = self._component(option)
        _check_field(component, name)
        if value is not None:
            recipe.build(recipe.with_options(self.text, {option: value}, where=self.name), where=self.name)

    def entry(self, changes: Mapping[str, object]) -> Entry:
        """Return the comparison entry of the recipe with these options changed."""
        text = recipe.with_options(self.text, changes, where=self.name)
        entry = recipe_entry(self.name, text, self._cache)
        return replace(entry, hyperparameters={**entry.hyperparameters, **changes})

    def _component(self, option: str) -> tuple[Any, str]:
        """Return the component that an option "table.option" belongs to, and the name of its field."""
        table, _, name = option.partition(".")
        components = recipe.build(self.text, where=self.name).components
        if table not in components or not name:
            cure = f"write TABLE.OPTION=VALUE,VALUE, with one of: {', '.join(components)}"
            raise InputError(self.name, value=option, cause="no such table in the recipe", cure=cure)
        return components[table], name


@dataclass
class TunableModel:
    """A model and the search of its fields."""

    model: Model

    @property
    def name(self) -> str:
        """The class of the model."""
        return type(self.model).__name__

    def check(self, name: str, value: object | None = None) -> None:
        """Raise InputError if the model has no such field, or if it rejects the value."""
        _check_field(self.model, name)
        if value is not None:
            with_hyperparameters(self.model, {name: value})

    def entry(self, changes: Mapping[str, object]) -> Entry:
        """Return the comparison entry of the model with these fields changed."""
        return model_entry(self.name, with_hyperparameters(self.model, changes))


def default_search_space(model: Model) -> dict[str, Choices]:
    """Return the default search space of a deep model; raises InputError for other models.

    It holds `DEEP_SPACE` for the fields that the model has, and 1/4, 1 and 4 times its default number of negatives.
    """
    if not isinstance(model, DeepModel):
        cause, cure = "no fields to search are given", "name them: --grid l2=0.01,0.1"
        raise InputError("grid", value=type(model).__name__, cause=cause, cure=cure)
    own = hyperparameters(model)
    space = {name: choices for name, choices in DEEP_SPACE.items() if name in own}
    negatives = own.get("negatives")
    if isinstance(negatives, int):
        space["negatives"] = [max(1, negatives // 4), negatives, 4 * negatives]
    return space


def with_hyperparameters(model: Model, changes: Mapping[str, object]) -> Model:
    """Return the model with these fields changed; raises InputError if it rejects a value."""
    try:
        changed: Model = replace(model, **changes)  # type: ignore[type-var]
    except (ValueError, TypeError) as error:
        shown = ", ".join(f"{name}={value}" for name, value in changes.items())
        cure = "choose values that the model accepts"
        raise InputError(f"{type(model).__name__} with {shown}", cause=str(error), cure=cure) from error
    return changed


def parse_setting(model: object, setting: str) -> tuple[str, Choices]:
    """Return field and choices of a setting such as `dimensions=10,20`, or `l2=0.001..0.1` for a range.

    Each value gets the type of the model's field. If a field holds several values, commas separate these and slashes
    separate the choices, as in `layers=64,32/128`; there "none" is the empty tuple, and "all" is None. Raises
    InputError for an unknown field or a value of another type.
    """
    name, equals, text = setting.partition("=")
    name = name.strip()
    if not equals or not text.strip():
        raise InputError("grid", value=setting, cause="not of the form field=value,value", cure="write l2=0.01,0.02")
    _check_field(model, name)
    kinds = _allowed_types(typing.get_type_hints(type(model))[name])
    if any(typing.get_origin(kind) in (tuple, Sequence) for kind in kinds):
        return name, [_parse_tuple(kinds, name, piece.strip()) for piece in text.split("/")]
    low, dots, high = text.partition("..")
    if dots:
        try:
            return name, Range(float(low), float(high), whole=int in kinds and float not in kinds)
        except ValueError:
            cure = "write l2=0.001..0.1"
            raise InputError("grid", column=name, value=text, cause="not two numbers", cure=cure) from None
    return name, [_parse_value(kinds, name, piece.strip()) for piece in text.split(",")]


def single_values(model: Model, settings: Mapping[str, str], option: str = "--set") -> dict[str, object]:
    """Return the value of each field from its text; raises InputError as `parse_setting`, and for several values."""
    values = {}
    for field_name, text in settings.items():
        setting = f"{field_name}={text}"
        name, choices = parse_setting(model, setting)
        if not isinstance(choices, Sequence) or len(choices) != 1:
            raise InputError(option, value=setting, cause="one value is needed", cure="search with pasand tune")
        values[name] = choices[0]
    return values


def check_choices(searched: TunableRecipe | TunableModel, name: str, choices: Choices, *, drawn: bool) -> None:
    """Raise InputError if the choices of a hyper-parameter are empty or rejected, or a range is not `drawn` from."""
    searched.check(name)
    if isinstance(choices, Range):
        if not drawn:
            cause, cure = "a range needs random trials", "give a number of --trials, or list the values"
            raise InputError("grid", column=name, cause=cause, cure=cure)
        if not choices.low < choices.high:
            cause = "the range is empty"
            raise InputError("grid", column=name, value=f"{choices.low}..{choices.high}", cause=cause, cure="swap them")
        return
    if not choices:
        raise InputError("grid", column=name, cause="no values are given", cure=f"write {name}=1,2")
    for value in choices:
        searched.check(name, value)


def _check_field(model: object, name: str) -> None:
    fields = hyperparameters(model)
    if name not in fields:
        where, cause = f"hyper-parameters of {type(model).__name__}", "no such field"
        raise InputError(where, value=name, cause=cause, cure=f"choose from {', '.join(fields)}")


def _parse_tuple(kinds: list[object], name: str, text: str) -> object:
    if text.lower() == "none":
        return ()
    if text.lower() == "all" and type(None) in kinds:
        return None
    members = [part for kind in kinds for part in typing.get_args(kind) if part is not Ellipsis]
    return tuple(_parse_value(members, name, piece.strip()) for piece in text.split(","))


def _parse_value(kinds: list[object], name: str, text: str) -> object:
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


def _allowed_types(hint: object) -> list[object]:
    """Return the types, and the values of literals, that the annotation of a field allows."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return list(typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _allowed_types(part)]
    return [hint]
