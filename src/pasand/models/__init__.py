"""Models, one file each; the folder is the register: the name of a model is the name of its file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import cast

from pasand.contracts import Model
from pasand.errors import InputError


def classes() -> dict[str, type[Model]]:
    """Return the model of each file of the folder, by name."""
    found: dict[str, type[Model]] = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == module.__name__ and _is_model(value):
                found[file.name] = cast(type[Model], value)
    return found


def find(name: str) -> type[Model]:
    """Return the model of that name; raises InputError with the names there are."""
    known = classes()
    if name not in known:
        raise InputError("models", value=name, cause="no such model", cure=f"choose from {', '.join(known)}")
    return known[name]


def _is_model(cls: type) -> bool:
    return all(callable(getattr(cls, method, None)) for method in ("fit", "score", "state", "load_state"))
