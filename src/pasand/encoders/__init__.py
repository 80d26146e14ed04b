"""Content to vectors: each encoder turns texts into rows of numbers under one contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

from pasand.types import Arrays, Vectors


@runtime_checkable
class Encoder(Protocol):
    """Maps each text to a vector of length 1, or of 0 where nothing is known of it."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn from the texts of a catalogue, where the encoder learns at all, and return itself."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text, (n,) -> (n, D); all 0 for an empty one."""

    def fingerprint(self) -> str:
        """Return what tells encoders apart that give different vectors for one text."""

    def state(self) -> Arrays:
        """Return what was learnt, enough for `load_state` on an equal instance to encode the same."""

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
