"""Stores of events and catalogue changes that arrive while serving; each file of this folder is one kind of store.

A file of this folder is a store if it has the two functions of `Store`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol, cast

from pasand.errors import InputError
from pasand.serving.states.contract import State
from pasand.serving.states.guarded import Guarded


class Store(Protocol):
    """Functions that a file of this folder must define."""

    def recognises(self, address: str) -> bool:
        """Return whether the address is of this kind."""

    def connect(self, address: str) -> State:
        """Return the state at the address; raises InputError if it cannot be used."""


def stores() -> Mapping[str, Store]:
    """Return the stores of this folder by name."""
    modules = {name: importlib.import_module(f"{__name__}.{name}") for _, name, _ in pkgutil.iter_modules(__path__)}
    return {name: cast(Store, module) for name, module in modules.items() if hasattr(module, "recognises")}


def open_state(address: str) -> State:
    """Return the state at an address: a path or sqlite:///PATH, or redis://HOST:PORT/DATABASE.

    Raises InputError if no store recognises the address, or the state cannot be used.
    """
    for store in stores().values():
        if store.recognises(address):
            return store.connect(address)
    raise InputError(
        address.split("@")[-1], cause="no store recognises this kind of address", cure="give a path, or redis://..."
    )


def guarded(state: State) -> State:
    """Return a state whose calls never keep an event loop waiting: guarded if it is remote, the state itself if not."""
    return Guarded(state) if state.remote else state
