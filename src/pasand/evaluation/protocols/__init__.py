"""Evaluation protocols: how a log is split into train and test, and the lookup of protocols by name.

Each file is one protocol: a dataclass of its options with a method `split(data)`. It is found by its name:
`leave-last-out` is the class `LeaveLastOut`. The protocol `validation_protocol(...)` splits the train part of a split
once more, for tuning.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import Protocol, cast

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.split import Split


class SplitsData(Protocol):
    """The contract of a protocol."""

    def split(self, data: Dataset) -> list[Split]:
        """Return one split, or several whose results are pooled; raises InputError for data that it cannot split."""


def validation_protocol(outer: SplitsData) -> SplitsData:
    """Return the protocol for the train part of a split: its own `validation_protocol()` if it has one, else itself."""
    inner: SplitsData = outer.validation_protocol() if hasattr(outer, "validation_protocol") else outer
    return inner


def names() -> dict[str, type]:
    """Return the classes of all protocols by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if inspect.isclass(value) and value.__module__.endswith(f".{module.name}") and hasattr(value, "split"):
                found[re.sub(r"(?<=[a-z])(?=[A-Z])", "-", value.__name__).lower()] = value
    return found


def protocol(name: str, **options: object) -> SplitsData:
    """Return the protocol of this name with these options; raises InputError for an unknown name or option."""
    classes = names()
    if name not in classes:
        raise InputError("protocol", value=name, cause="no such protocol", cure=f"choose from {', '.join(classes)}")
    accepted = list(inspect.signature(classes[name]).parameters)
    for option in options:
        if option not in accepted:
            cure = f"choose from {', '.join(accepted)}" if accepted else "remove it: this protocol has no options"
            raise InputError(f"protocol {name}", value=option, cause="no such option", cure=cure)
    try:
        return cast(SplitsData, classes[name](**options))
    except ValueError as error:
        raise InputError(f"protocol {name}", cause=str(error), cure="change that option") from None


def usable(data: Dataset, *names: str) -> list[str]:
    """Return those of the named protocols that split these data into parts with a test query."""
    found = []
    for name in names:
        try:
            splits = protocol(name).split(data)
        except InputError:
            continue
        if any(len(split.test_queries) for split in splits):
            found.append(name)
    return found


def default_protocol(data: Dataset) -> SplitsData:
    """Return the default protocol of these data.

    Temporal if events have times, leave-last-out if they only have an order. Otherwise folds for ratings, and strong
    generalisation for everything else.
    """
    without = "folds" if data.values == "rating" else "strong-generalisation"
    return protocol({"time": "temporal", "sequence": "leave-last-out"}.get(data.order, without))
