"""Stores of what happens while recommendations are served, one file each; the folder is the register.

A file of this folder is a store when it has the two functions of `Store`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol, cast

from pasand.errors import InputError
from pasand.serving.states.contract import State


class Store(Protocol):
    """What a file of this folder promises."""

    def recognises(self, place: str) -> bool:
        """Return whether the place is of this kind."""

    def opened(self, place: str) -> State:
        """Return the state that is there; raises InputError where it cannot be used."""


def stores() -> Mapping[str, Store]:
    """Return the stores of this folder by name."""
    loaded = {name: importlib.import_module(f"{__name__}.{name}") for _, name, _ in pkgutil.iter_modules(__path__)}
    return {name: cast(Store, module) for name, module in loaded.items() if hasattr(module, "recognises")}


def open_state(place: str) -> State:
    """Return the state at a place: a path or sqlite:///PATH, or redis://HOST:PORT/DATABASE.

    Raises InputError where no store knows the place, or it cannot be used.
    """
    for store in stores().values():
        if store.recognises(place):
            return store.opened(place)
    raise InputError(
        place.split("@")[-1], cause="no store knows this kind of place", cure="give a path, or redis://..."
    )
