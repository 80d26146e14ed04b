"""`Encoder`: the contract of text encoders, which map texts to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

from pasand.types import Arrays, Vectors


@runtime_checkable
class Encoder(Protocol):
    """Maps each text to a vector of length 1, or to zeros where it has no known content."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Fit the encoder to the texts of a catalogue, and return it; a pretrained encoder learns nothing."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text, (n,) -> (n, D); zeros for an empty text."""

    def fingerprint(self) -> str:
        """Return a string that differs between encoders that map the same text to different vectors."""

    def state(self) -> Arrays:
        """Return the learnt arrays; an equal instance encodes the same after `load_state`."""

    def load_state(self, arrays: Arrays) -> None:
        """Restore the arrays of `state`."""
