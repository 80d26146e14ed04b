"""Registry of the models: each has a file of its own, whose name is the name of the model, in a folder per family."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC
from typing import cast

from pasand.contracts import Model
from pasand.errors import InputError, did_you_mean


def modules() -> dict[str, str]:
    """Return the module path of every file in the model folders, by file name."""
    folders = [f"{__name__}.{folder.name}" for folder in pkgutil.iter_modules(__path__) if folder.ispkg]
    return {
        file.name: f"{folder}.{file.name}"
        for folder in folders
        for file in pkgutil.iter_modules(importlib.import_module(folder).__path__)
    }


def classes() -> dict[str, type[Model]]:
    """Return the model class of each file by name; files without one, such as base classes, are left out."""
    found = {name: _model(module) for name, module in sorted(modules().items())}
    return {name: model for name, model in found.items() if model is not None}


def find(name: str) -> type[Model]:
    """Return the model class of that name; raises InputError with the existing names if there is none."""
    module = modules().get(name)
    model = None if module is None else _model(module)
    if model is None:
        names = classes()
        cure = f"{did_you_mean(name, names)}choose from {', '.join(names)}"
        raise InputError("models", value=name, cause="no such model", cure=cure)
    return model


def _model(name: str) -> type[Model] | None:
    module = importlib.import_module(name)
    for value in vars(module).values():
        if inspect.isclass(value) and value.__module__ == module.__name__ and _is_model(value):
            return cast(type[Model], value)
    return None


def _is_model(cls: type) -> bool:
    methods = ("fit", "score", "state", "load_state")
    base = ABC in cls.__bases__ or inspect.isabstract(cls)
    return not base and all(callable(getattr(cls, method, None)) for method in methods)
