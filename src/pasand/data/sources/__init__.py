"""Formats that a log may come in, one file each; the folder is the register.

A file of this folder is a source when it has the two functions of `Source`.
"""

from __future__ import annotations

from typing import Protocol

from pasand.data.log import Log, Options


class Source(Protocol):
    """What a file of this folder promises: two functions."""

    def recognises(self, place: str) -> float:
        """Return how surely the place (a path, a database URL, a name) is of this format, 0 to 1; it must be cheap.

        1: certain, by its name or its files; .5: a general format that more special ones go before; 0: not.
        """

    def read(self, place: str, options: Options) -> Log:
        """Return the log that is there; raises InputError where it cannot."""
