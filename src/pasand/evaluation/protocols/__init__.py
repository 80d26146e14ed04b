"""Evaluation protocols: what is train, what is asked, what is true.

A file is a protocol, a dataclass of its options with `split(data)`, found by its name: `leave-last-out` is the class
`LeaveLastOut`. The protocol `inside(...)` applied to a split's own train part gives the validation split for tuning.
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
    """What every protocol promises."""

    def split(self, data: Dataset) -> list[Split]:
        """Return one split, or several that are pooled; raises InputError where the data cannot be split so."""


def inside(outer: SplitsData) -> SplitsData:
    """Return the protocol for the train part of a split: the same, or what its own `inside()` says where files rule."""
    inner: SplitsData = outer.inside() if hasattr(outer, "inside") else outer
    return inner


def names() -> dict[str, type]:
    """Return the protocols' classes by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if inspect.isclass(value) and value.__module__.endswith(f".{module.name}") and hasattr(value, "split"):
                found[re.sub(r"(?<=[a-z])(?=[A-Z])", "-", value.__name__).lower()] = value
    return found


def protocol(name: str, **options: object) -> SplitsData:
    """Return a protocol by its name with these options; raises InputError for a name or an option it does not have."""
    known = names()
    if name not in known:
        raise InputError("protocol", value=name, cause="no such protocol", cure=f"choose from {', '.join(known)}")
    accepted = list(inspect.signature(known[name]).parameters)
    for option in options:
        if option not in accepted:
            cure = f"choose from {', '.join(accepted)}" if accepted else "give it none"
            raise InputError(f"protocol {name}", value=option, cause="no such option", cure=cure)
    try:
        return cast(SplitsData, known[name](**options))
    except ValueError as error:
        raise InputError(f"protocol {name}", cause=str(error), cure="change that option") from None


def default_protocol(data: Dataset) -> SplitsData:
    """Return temporal where times are known, leave-last-out where only the order is, else folds or held-out users."""
    without = "folds" if data.values == "rating" else "strong-generalisation"
    return protocol({"time": "temporal", "sequence": "leave-last-out"}.get(data.order, without))
