"""Models, one file each; the folder is the register: the name of a model is the name of its file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from typing import cast

from pasand.contracts import Model
from pasand.errors import InputError


def classes() -> dict[str, type[Model]]:
    """Return the model of each file of the folder, by name."""
    found = {file.name: _model(file.name) for file in pkgutil.iter_modules(__path__)}
    return {name: model for name, model in found.items() if model is not None}


def find(name: str) -> type[Model]:
    """Return the model of that name; raises InputError with the names there are."""
    model = _model(name) if name.isidentifier() and importlib.util.find_spec(f"{__name__}.{name}") else None
    if model is None:
        raise InputError("models", value=name, cause="no such model", cure=f"choose from {', '.join(classes())}")
    return model


def _model(name: str) -> type[Model] | None:
    module = importlib.import_module(f"{__name__}.{name}")
    for value in vars(module).values():
        if inspect.isclass(value) and value.__module__ == module.__name__ and _is_model(value):
            return cast(type[Model], value)
    return None


def _is_model(cls: type) -> bool:
    return all(callable(getattr(cls, method, None)) for method in ("fit", "score", "state", "load_state"))
