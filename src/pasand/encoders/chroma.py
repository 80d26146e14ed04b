"""`Chroma`: encodes files of sound by their notes, with basic-pitch: the strength of the 12 pitch classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pasand.encoders.pretrained import Pretrained, normalised
from pasand.encoders.sound import samples
from pasand.types import Array, Vectors

RATE, LENGTH = 22_050, 43_844
"""Sampling rate and number of samples that the network reads."""
WINDOWS = 30
"""Excerpts of two seconds that are read at most, evenly spaced."""
LOWEST = 21
"""MIDI number of the first of its 88 notes, an A."""


@dataclass(kw_only=True)
class Chroma(Pretrained):
    """The mean strength of each pitch class from C to B, and the notes a second of each, 24 numbers of length 1.

    The notes are those of basic-pitch (Bittner et al., "A lightweight instrument-agnostic model for polyphonic note
    transcription", ICASSP 2022).
    """

    model: str = "basic-pitch"
    """"basic-pitch", which `pasand fetch basic-pitch` prepares."""
    names: ClassVar[Sequence[str]] = ("basic-pitch",)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of length 1 for files of sound, (n, 24); raises UnreadableInput for the first bad one."""
        vectors = [self._encoded(samples(path, RATE)) for path in texts]
        return normalised(np.stack(vectors)) if vectors else np.empty((0, 24), np.float32)

    def _encoded(self, values: Array) -> Array:
        network, starts = self.network(), np.arange(0, max(len(values), 1), LENGTH)
        if len(starts) > WINDOWS:
            starts = np.linspace(0, len(values) - LENGTH, WINDOWS).astype(np.int64)
        name = next(iter(network.shapes))
        strength, onsets = np.zeros(12), np.zeros(12)
        for start in starts.tolist():
            part = values[start : start + LENGTH]
            notes = network.run({name: np.pad(part, (0, LENGTH - len(part))).astype(np.float32)[None, :, None]})[0]
            of_class = np.zeros((len(notes), 12), np.float32)
            for note in range(notes.shape[1]):
                pitch = (note + LOWEST) % 12
                of_class[:, pitch] = np.maximum(of_class[:, pitch], notes[:, note])
            strength += of_class.mean(axis=0)
            onsets += np.maximum(np.diff(of_class, axis=0), 0).sum(axis=0) / len(notes)
        return np.concatenate([strength, onsets]).astype(np.float32)
