"""Recipes: TOML texts that list components, and the recommender built from them.

Each table is a component: `class = "module:Class"`, and the fields of that dataclass. A value "@name" refers to the
component of an earlier table, also inside a list. The table `recommender` is the recommender that serves queries.
Tables `[[policy]]` are rules on its lists (`pasand.reranking`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import re
import time
import tomllib
import zlib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, get_type_hints

import msgspec
import numpy as np

from pasand.contracts import AddsItems, ExportsONNX, Fits, Owns, Refreshes, SavesFile
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.errors import InputError, did_you_mean
from pasand.progress import step
from pasand.recommender import Recommender
from pasand.renamed import RENAMED_CLASSES, RENAMED_KEYS, RENAMED_VALUES
from pasand.reranking.policies import expanded
from pasand.training import checkpoints
from pasand.types import Rows

PACKAGED = Path(__file__).parent / "recipes"
ALLOW_NETWORK = "PASAND_ALLOW_NETWORK"
"""Environment variable that, set to 1, allows recipes to connect to servers; `pasand --allow-network` sets it."""
KEPT_SECONDS = 2.0
"""Seconds of a component's fit from which its state is saved; shorter fits are repeated instead."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""Table names that TOML accepts without quotes."""


@dataclass(frozen=True)
class Assembly:
    """The components built from a recipe, among them the recommender."""

    text: str
    """The recipe that the components were built from."""
    components: dict[str, Any]
    """Components by name, in the order of the recipe."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digest of each component: a hash of its name, class and options, and of the components that it refers to."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time that `fit` spent on each component."""
    random: set[str] = field(default_factory=set)
    """Names of the components whose `fit` drew random numbers."""

    @property
    def recommender(self) -> Recommender:
        """The recommender, which is evaluated and served."""
        recommender: Recommender = self.components["recommender"]
        return recommender

    @property
    def fitted(self) -> dict[str, Fits]:
        """The components that learn from data, by name."""
        return {name: part for name, part in self.components.items() if isinstance(part, Fits)}

    @property
    def owned(self) -> set[str]:
        """The names of the components that another component fits."""
        inner = [part for owner in self.components.values() if isinstance(owner, Owns) for part in owner.owned]
        return {name for name, part in self.components.items() if any(part is other for other in inner)}

    @property
    def stored(self) -> dict[str, SavesFile]:
        """The fitted components that keep a file of their own, by name."""
        return {name: part for name, part in self.fitted.items() if isinstance(part, SavesFile)}

    @property
    def exported(self) -> dict[str, ExportsONNX]:
        """The models that also run as ONNX graphs, by name."""
        return {name: part for name, part in self.components.items() if isinstance(part, ExportsONNX)}

    @property
    def digest(self) -> str:
        """sha256 of the recipe, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def add_items(self, features: Features, rows: Rows) -> None:
        """Add items with these catalogue rows and features to every model that accepts new items, then refresh indexes.

        To the other models, these rows are unknown items.
        """
        owned = self.owned
        for name, part in self.components.items():
            if features and name not in owned and isinstance(part, AddsItems):
                part.add_items(features)
        for part in self.components.values():
            if isinstance(part, Refreshes):
                part.refresh(rows)

    def fit(self, data: Dataset, *, seed: int, ready: Container[str] = ()) -> Self:
        """Fit every component that learns, each with its own random generator, and return itself.

        The generator of a component is seeded by `seed` and the component's name. Components whose digest is in `ready`
        are skipped: they are already fitted to the same data with the same seed. Inside `checkpoints.saving_to`, the
        state of a component whose fit needs `KEPT_SECONDS` is saved, and read when the same fit is started again. Deep
        models save their own checkpoints, and indexes and owners of other components are always fitted.
        """
        owned, dependencies = self.owned, checkpoints.of_data(data, seed)
        for name, part in self.fitted.items():
            if name in owned or self.digests.get(name) in ready:
                continue
            step(f"fitting {name}", 0, 1)
            own = isinstance(part, ExportsONNX | SavesFile | Owns)
            kept = None if own else checkpoints.checkpoint(name, {"component": self.digests.get(name), **dependencies})
            if kept is not None and (saved := kept.read()) is not None:
                state, numbers = saved
                part.load_state(state)
            else:
                own_seed = [seed, zlib.crc32(name.encode())]
                began = time.perf_counter()
                part.fit(data, rng=(rng := np.random.default_rng(own_seed)))
                numbers = {"seconds": time.perf_counter() - began, "random": has_drawn(rng, own_seed)}
                if kept is not None and numbers["seconds"] >= KEPT_SECONDS:
                    kept.write(part.state(), numbers)
            self.seconds[name] = numbers["seconds"]
            if numbers["random"]:
                self.random.add(name)
            step(f"fitting {name}", 1, 1)
        return self


def has_drawn(rng: np.random.Generator, seed: int | list[int]) -> bool:
    """Return whether a generator that was made with this seed has drawn numbers or spawned other generators since."""
    fresh, sequence = np.random.default_rng(seed).bit_generator, rng.bit_generator.seed_seq
    return rng.bit_generator.state != fresh.state or getattr(sequence, "n_children_spawned", 0) > 0


def read(path: str | Path) -> Assembly:
    """Build the recipe in a TOML file, or the packaged recipe of that name, such as "classic".

    Raises InputError if there is no such file or recipe, and as `build` does.
    """
    file = Path(path)
    if not file.is_file() and (PACKAGED / file.name).with_suffix(".toml").exists():
        file = (PACKAGED / file.name).with_suffix(".toml")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = packaged()
        cause = f"cannot be read ({error})" if file.exists() else "no such recipe or file"
        cure = f"{did_you_mean(path, names)}give a TOML file or one of: {', '.join(names)}"
        raise InputError(path, cause=cause, cure=cure) from None
    return build(text, where=str(path))


def packaged() -> list[str]:
    """Return the names of the recipes that are part of pasand."""
    return sorted(recipe.stem for recipe in PACKAGED.glob("*.toml"))


def build(text: str, *, where: str = "recipe", ready: Mapping[str, Any] | None = None) -> Assembly:
    """Build the components of a recipe.

    `ready` maps digests to built components, which are used in place of new ones. Raises InputError for a wrong recipe,
    naming the table, the key and the cure.
    """
    components: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for name, table in tables(text, where=where).items():
        digests[name] = _digest(name, table, digests)
        reused = (ready or {}).get(digests[name])
        components[name] = reused or _component(f"{where}, [{name}]", dict(table), components)
    if not isinstance(components.get("recommender"), Recommender):
        raise InputError(
            where, cause="no table [recommender]", cure='add one with class = "pasand.recommender:Recommender"'
        )
    owners = [name for name, part in components.items() if isinstance(part, Owns)]
    inner = [id(part) for name in owners for part in components[name].owned]
    if len(set(inner)) < len(inner):
        named = ", ".join(f"[{name}]" for name in owners)
        cure = "give each a component of its own"
        raise InputError(where, value=named, cause="one component would be fitted by two of these", cure=cure)
    return Assembly(text, components, digests)


def tables(text: str, *, where: str = "recipe") -> dict[str, dict[str, Any]]:
    """Return the tables of a recipe by name, in order.

    Raises InputError if the text is not TOML or a table has no class.

    >>> tables('[seen]\\nclass = "pasand.stages.filtering:DropSeen"')
    {'seen': {'class': 'pasand.stages.filtering:DropSeen'}}
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(where, cause=f"not TOML: {error}", cure="correct the syntax there") from None
    found = expanded(found, where=where)
    for name, table in found.items():
        if not isinstance(table, dict) or "class" not in table:
            raise InputError(f"{where}, [{name}]", cause="no class", cure='add class = "pasand.module:Class"')
    return found


def with_options(text: str, changes: Mapping[str, object], *, where: str = "recipe") -> str:
    """Return the recipe with new values of options, given as "table.option"; comments are lost.

    Raises InputError if there is no such table, or if a value is None, which TOML cannot express.
    """
    found = tables(text, where=where)
    for option, value in changes.items():
        table, _, key = option.partition(".")
        if table not in found or not key:
            cure = f"write TABLE.OPTION, with one of: {', '.join(found)}"
            raise InputError(where, value=option, cause="no such table", cure=cure)
        if value is None:
            raise InputError(option, cause="a recipe cannot hold None", cure="leave it out if None is its default")
        found[table][key] = value
    return dump(found)


def dump(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Return the TOML text of a recipe with these tables, in order."""

    def as_toml(value: object) -> str:
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{as_toml(key)} = {as_toml(one)}' for key, one in value.items())}}}"
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(as_toml, value))}]"
        return json.dumps(value, ensure_ascii=False)

    return "\n".join(
        f"[{name if BARE_KEY.fullmatch(name) else as_toml(name)}]\n"
        + "".join(f"{key} = {as_toml(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def component_class(name: str, *, where: str) -> type:
    """Return the dataclass named "module:Class"; raises InputError unless that module of pasand defines it."""
    if name in RENAMED_CLASSES:
        cure = f'write class = "{RENAMED_CLASSES[name]}"'
        raise InputError(where, value=name, cause="the class has moved", cure=cure)
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
        cure = "name a dataclass and the module that defines it"
        raise InputError(where, value=name, cause="not a component", cure=cure)
    return found  # type: ignore[no-any-return]


def hyperparameters(part: object) -> dict[str, Any]:
    """Return the fields of a component that are plain values, by name."""
    plain = (bool, int, float, str, tuple, list, type(None))
    chosen = [field.name for field in dataclasses.fields(part) if field.init]  # type: ignore[arg-type]
    pairs = ((name, getattr(part, name)) for name in chosen)
    return {name: value for name, value in pairs if isinstance(value, plain)}


def _digest(name: str, table: dict[str, Any], earlier: Mapping[str, str]) -> str:
    """Return the digest of a component; references in its table are replaced by the digests of earlier components."""

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(element) for element in value]
        return f"@{earlier.get(value[1:], value)}" if _refers(value) else value

    content = json.dumps([name, {key: resolved(value) for key, value in table.items()}], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def _component(where: str, table: dict[str, Any], earlier: dict[str, Any]) -> Any:
    cls = component_class(str(table.pop("class")), where=where)
    if getattr(cls, "uses_network", False) and os.environ.get(ALLOW_NETWORK) != "1":
        cause = f"{cls.__name__} connects to a server, and recipes may not, since a bundle of others holds one"
        cure = f"if you trust it, write pasand --allow-network before the name of the command, or set {ALLOW_NETWORK}=1"
        raise InputError(where, cause=cause, cure=cure)
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    hints = get_type_hints(cls)
    options = {}
    for key, value in table.items():
        _check_renamed(where, cls.__name__, key, value)
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
            raise InputError(
                where, column=key, value=value, cause=str(error), cure="give a value of that type"
            ) from None
    try:
        return cls(**options)
    except (ValueError, TypeError) as error:
        raise InputError(where, cause=str(error), cure="change that option") from None


def _check_renamed(where: str, class_name: str, key: str, value: Any) -> None:
    """Raise InputError for an earlier name of an option or of a value, with the new name as the cure."""
    new_key = RENAMED_KEYS.get(class_name, {}).get(key)
    if new_key is not None:
        raise InputError(where, value=key, cause=f"the option of {class_name} was renamed", cure=f"write {new_key}")
    values = RENAMED_VALUES.get(class_name, {}).get(key, {})
    if isinstance(value, str) and value in values:
        raise InputError(where, column=key, value=value, cause="the value was renamed", cure=f'write "{values[value]}"')


def _refers(value: Any) -> bool:
    """Return whether a value is or holds a reference "@name"."""
    if isinstance(value, list):
        return any(_refers(element) for element in value)
    return isinstance(value, str) and value.startswith("@")


def _resolved(value: Any, earlier: dict[str, Any]) -> Any:
    """Return a value with its references replaced by components; raises KeyError for an unknown name."""
    if isinstance(value, list):
        return [_resolved(element, earlier) for element in value]
    return earlier[value[1:]] if isinstance(value, str) and value.startswith("@") else value
