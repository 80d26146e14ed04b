"""Recipes: a TOML text that names components, and the recommender that is built from it.

Each table is a component: `class = "module:Class"`, and the fields of that dataclass. A value "@name" stands for the
component of an earlier table, also inside a list. The table `recommender` is what answers queries.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import re
import time
import tomllib
import zlib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, get_type_hints, runtime_checkable

import msgspec
import numpy as np
from numpy.random import Generator

from pasand import models
from pasand.contracts import AddsItems, ExportsONNX, Owns
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError
from pasand.progress import step
from pasand.recommender import Recommender
from pasand.types import Arrays, Rows

PACKAGED = Path(__file__).parent / "recipes"
PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""Names of tables that TOML takes without quotes."""
ENOUGH = 20_000
"""Likings from which on the recipe `best` is the default."""
PLAIN = """\
# {name}, and what is popular where it has nothing to say.

[model]
{fields}

[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_model]
class = "pasand.stages.retrieval:FromModel"
model = "@model"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_model", "@from_popular"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""


@runtime_checkable
class Fits(Protocol):
    """A component that learns from the data: models, and filters that look ids up."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self: ...
    def state(self) -> Arrays: ...
    def load_state(self, arrays: Arrays) -> None: ...


@runtime_checkable
class Stores(Protocol):
    """A component that also keeps a file of its own, such as an index."""

    def save(self, path: Path) -> None: ...
    def load(self, path: Path) -> object: ...


@runtime_checkable
class Refreshes(Protocol):
    """A component that depends on the models' vectors of items."""

    def refresh(self, rows: Rows) -> None:
        """Look anew at the vectors of these items, which were added or have changed."""


@dataclass(frozen=True)
class Assembly:
    """The components of a recipe, built; `recommender` is the one that answers."""

    text: str
    """The recipe that it was built from."""
    components: dict[str, Any]
    """By name, in the recipe's order."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of each component, what tells it from others: its name, class and options, and those of all it refers to."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Spent by `fit` on each component."""

    @property
    def recommender(self) -> Recommender:
        """What is evaluated and served."""
        recommender: Recommender = self.components["recommender"]
        return recommender

    @property
    def fitted(self) -> dict[str, Fits]:
        """The components that learn, by name."""
        return {name: part for name, part in self.components.items() if isinstance(part, Fits)}

    @property
    def owned(self) -> set[str]:
        """The names of the components that another one fits."""
        inner = [one for part in self.components.values() if isinstance(part, Owns) for one in part.owned]
        return {name for name, part in self.components.items() if any(part is one for one in inner)}

    @property
    def stored(self) -> dict[str, Stores]:
        """The components that learn and keep a file of their own, by name."""
        return {name: part for name, part in self.fitted.items() if isinstance(part, Stores)}

    @property
    def exported(self) -> dict[str, ExportsONNX]:
        """The models that also run as ONNX graphs, by name."""
        return {name: part for name, part in self.components.items() if isinstance(part, ExportsONNX)}

    @property
    def digest(self) -> str:
        """sha256 of the recipe, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def add_items(self, features: Features, rows: Rows) -> None:
        """Let every model that can take the items of these rows, with their features, and then refresh what depends.

        A model that cannot goes on without them: to it, later rows are unknown items.
        """
        owned = self.owned
        for name, part in self.components.items():
            if features and name not in owned and isinstance(part, AddsItems):
                part.add_items(features)
        for part in self.components.values():
            if isinstance(part, Refreshes):
                part.refresh(rows)

    def fit(self, data: Dataset, *, seed: int, ready: Container[str] = ()) -> Self:
        """Fit every component that learns, each with a generator of its own, and return itself.

        Those whose digest is in `ready` are fitted already, by the same data and seed.
        """
        owned = self.owned
        for name, part in self.fitted.items():
            if name in owned or self.digests.get(name) in ready:
                continue
            step(f"fitting {name}", 0, 1)
            began = time.perf_counter()
            part.fit(data, rng=np.random.default_rng([seed, zlib.crc32(name.encode())]))
            self.seconds[name] = time.perf_counter() - began
            step(f"fitting {name}", 1, 1)
        return self


def read(path: str | Path) -> Assembly:
    """Build the recipe in a file, or the one of that name that comes with pasand ("classic").

    Raises InputError where there is no such file, and as `build`.
    """
    file = Path(path)
    if not file.is_file() and (PACKAGED / file.name).with_suffix(".toml").exists():
        file = (PACKAGED / file.name).with_suffix(".toml")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        ready = ", ".join(packaged())
        raise InputError(path, cause=f"cannot be read ({error})", cure=f"give a TOML file or one of: {ready}") from None
    return build(text, where=str(path))


def suited(data: Dataset) -> tuple[str, str]:
    """Return the name of the recipe that suits the data, and why.

    "best" needs an order of events, `ENOUGH` likings to teach its second stage by, and what it is trained with.
    """
    missing = [package for package in ("torch", "lightgbm") if importlib.util.find_spec(package) is None]
    likings = int(data.liked.sum())
    if missing:
        return "classic", f"{' and '.join(missing)} not installed (pip install 'pasand[train]')"
    if data.order == "none":
        return "classic", "the log has no order of events"
    if likings < ENOUGH:
        return "classic", f"{likings:,} likings are too few to teach a second stage by, which takes {ENOUGH:,}"
    return "best", f"{likings:,} likings in order"


def of_model(name: str, settings: Mapping[str, object]) -> str:
    """Return the recipe of a model of that name with these fields, and of what is popular where it has nothing to say.

    Raises InputError where there is no such model, or where a field is to be None, which TOML cannot say.
    """
    model = models.find(name)
    lines = [f'class = "{model.__module__}:{model.__qualname__}"']
    for option, value in settings.items():
        if value is None:
            raise InputError(option, cause="a recipe cannot say None", cure="leave it out, if that is its default")
        lines.append(f"{option} = {json.dumps(value)}")
    return PLAIN.format(name=name, fields="\n".join(lines))


def packaged() -> list[str]:
    """Return the names of the recipes that come with pasand."""
    return sorted(recipe.stem for recipe in PACKAGED.glob("*.toml"))


def changed(text: str, changes: Mapping[str, object], *, where: str = "recipe") -> str:
    """Return the recipe with other values of options "table.option", without its comments.

    Raises InputError where there is no such table, or where a value is to be None, which TOML cannot say.
    """
    found = tables(text, where=where)
    for option, value in changes.items():
        table, _, key = option.partition(".")
        if table not in found or not key:
            cure = f"write TABLE.OPTION, with one of: {', '.join(found)}"
            raise InputError(where, value=option, cause="no such table", cure=cure)
        if value is None:
            raise InputError(option, cause="a recipe cannot say None", cure="leave it out, if that is its default")
        found[table][key] = value
    return written(found)


def written(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Return the recipe that has these tables, in order."""

    def said(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    return "\n".join(
        f"[{name if PLAIN_KEY.fullmatch(name) else said(name)}]\n"
        + "".join(f"{key} = {said(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def build(text: str, *, where: str = "recipe", ready: Mapping[str, Any] | None = None) -> Assembly:
    """Build the components of a recipe; raises InputError naming the table, the key and the cure for what is wrong.

    `ready` has components by digest, which are taken as they are in the place of new ones.
    """
    components: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for name, table in tables(text, where=where).items():
        digests[name] = _digest(name, table, digests)
        made = (ready or {}).get(digests[name])
        components[name] = made or _component(f"{where}, [{name}]", dict(table), components)
    if not isinstance(components.get("recommender"), Recommender):
        raise InputError(
            where, cause="no table [recommender]", cure='add one with class = "pasand.recommender:Recommender"'
        )
    owners = [name for name, part in components.items() if isinstance(part, Owns)]
    inner = [id(one) for name in owners for one in components[name].owned]
    if len(set(inner)) < len(inner):
        named = ", ".join(f"[{name}]" for name in owners)
        cure = "give each a table of its own"
        raise InputError(where, value=named, cause="one component is to be fitted by two of these", cure=cure)
    return Assembly(text, components, digests)


def tables(text: str, *, where: str = "recipe") -> dict[str, dict[str, Any]]:
    """Return the tables of a recipe by name, in order; raises InputError where it is not TOML or a table has no class.

    >>> tables('[seen]\\nclass = "pasand.stages.filtering:DropSeen"')
    {'seen': {'class': 'pasand.stages.filtering:DropSeen'}}
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(where, cause=f"not TOML: {error}", cure="mend the syntax there") from None
    for name, table in found.items():
        if not isinstance(table, dict) or "class" not in table:
            raise InputError(f"{where}, [{name}]", cause="no class", cure='add class = "pasand.module:Class"')
    return found


def _digest(name: str, table: dict[str, Any], earlier: Mapping[str, str]) -> str:
    """Return the digest of a component whose table refers to components of these digests."""

    def told(value: Any) -> Any:
        if isinstance(value, list):
            return [told(one) for one in value]
        return f"@{earlier.get(value[1:], value)}" if _refers(value) else value

    whole = json.dumps([name, {key: told(value) for key, value in table.items()}], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()


def find(name: str, *, where: str) -> type:
    """Return the dataclass "module:Class"; raises InputError unless it is defined in that module of pasand."""
    module_name, _, class_name = name.partition(":")
    if module_name.split(".")[0] != "pasand" or not class_name:
        raise InputError(
            where,
            value=name,
            cause="only classes of pasand itself are run from a recipe",
            cure='write "pasand.module:Class"; use components of your own through Python',
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise InputError(where, value=name, cause=f"no such class ({error})", cure="check the spelling") from None
    own = isinstance(found, type) and dataclasses.is_dataclass(found) and found.__module__ == module_name
    if not own:
        raise InputError(where, value=name, cause="not a component", cure="name a dataclass where it is defined")
    return found  # type: ignore[no-any-return]


def hyperparameters(part: object) -> dict[str, Any]:
    """Return the fields of a component that are plain values."""
    plain = (bool, int, float, str, tuple, list, type(None))
    chosen = [field.name for field in dataclasses.fields(part) if field.init]  # type: ignore[arg-type]
    pairs = ((name, getattr(part, name)) for name in chosen)
    return {name: value for name, value in pairs if isinstance(value, plain)}


def _component(where: str, table: dict[str, Any], earlier: dict[str, Any]) -> Any:
    cls = find(str(table.pop("class")), where=where)
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    hints = get_type_hints(cls)
    options = {}
    for key, value in table.items():
        if key not in names:
            raise InputError(
                where, value=key, cause=f"{cls.__name__} has no such option", cure=f"use one of: {', '.join(names)}"
            )
        refers = _refers(value)
        try:
            options[key] = _resolved(value, earlier) if refers else msgspec.convert(value, hints[key])
        except KeyError as error:
            raise InputError(
                where,
                column=key,
                value=f"@{error.args[0]}",
                cause="no earlier table of that name",
                cure=f"name one of: {', '.join(earlier) or '(none yet)'}",
            ) from None
        except (msgspec.ValidationError, TypeError) as error:
            raise InputError(where, column=key, value=value, cause=str(error), cure="give the type asked for") from None
    try:
        return cls(**options)
    except (ValueError, TypeError) as error:
        raise InputError(where, cause=str(error), cure="change that option") from None


def _refers(value: Any) -> bool:
    if isinstance(value, list):
        return any(_refers(one) for one in value)
    return isinstance(value, str) and value.startswith("@")


def _resolved(value: Any, earlier: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_resolved(one, earlier) for one in value]
    return earlier[value[1:]] if isinstance(value, str) and value.startswith("@") else value
