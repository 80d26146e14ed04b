"""`Encoder`: the contract of encoders, which map texts, or files of images, sounds and videos, to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, Self, runtime_checkable

from pasand.types import Arrays, Vectors


@runtime_checkable
class Encoder(Protocol):
    """Maps each input, a text or the path of a file, to a vector of length 1, or to zeros for an empty text.

    A pretrained encoder reads its weights from this machine at its first `encode` or `fingerprint`, and raises
    InputError where they are missing. None downloads anything: `pasand fetch` prepares weights beforehand.
    """

    reads_files: ClassVar[bool]
    """Whether the inputs are paths of files; else they are the texts themselves."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Fit the encoder to the inputs of a catalogue, and return it; a pretrained encoder learns nothing."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each input, (n,) -> (n, D); zeros for an empty text.

        Raises UnreadableInput if one of the inputs is a file that cannot be encoded.
        """

    def fingerprint(self) -> str:
        """Return a string that differs between encoders that map the same input to different vectors."""

    def state(self) -> Arrays:
        """Return the learnt arrays; an equal instance encodes the same after `load_state`."""

    def load_state(self, arrays: Arrays) -> None:
        """Restore the arrays of `state`."""


class UnreadableInput(ValueError):
    """Raised for an input that has no vector, such as a corrupt file; the message is the cause."""
