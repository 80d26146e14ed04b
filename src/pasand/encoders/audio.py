"""`AudioOnnx`: encodes files of sound with any ONNX model of log-mel spectrograms; musicnn unless another is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pasand.encoders.pretrained import OnnxModel, Pretrained, normalised
from pasand.encoders.sound import log_mel, samples
from pasand.errors import InputError
from pasand.types import Array, Vectors

WINDOWS = 40
"""Excerpts of a sound that are encoded at most, evenly spaced; musicnn's take 3 seconds each."""
BATCH = 8
"""Excerpts that are encoded at a time."""
SPECTROGRAM = {"rate": 16_000, "window": 512, "hop": 256, "mels": 96, "frames": 187}
"""The input of musicnn; metadata of a file with these names, as JSON, replace it."""


@dataclass(kw_only=True)
class AudioOnnx(Pretrained):
    """Encodes files of sound: the mean over excerpts of the network's output.

    The default is musicnn (Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
    tagging", 2019), trained on tags of songs: its last hidden layer, 200 numbers. Of another file the input must be (B,
    frames, mels), (B, mels, frames), or one of these with an axis of size 1; the first output is read.
    """

    model: str = "musicnn"
    """"musicnn", which `pasand fetch musicnn` prepares, or the path of an ONNX file."""
    names: ClassVar[Sequence[str]] = ("musicnn",)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of length 1 for files of sound, (n, D); raises UnreadableInput for the first bad one."""
        network = self.network()
        form = SPECTROGRAM | {key: int(network.about[key]) for key in SPECTROGRAM if key in network.about}
        vectors = [self.encode_samples(samples(path, form["rate"])) for path in texts]
        if not vectors:
            return np.empty((0, len(self.encode_samples(np.zeros(form["rate"], np.float32)))), np.float32)
        return np.stack(vectors)

    def rate(self) -> int:
        """Return the sampling rate in Hz that the network reads."""
        return int(self.network().about.get("rate", SPECTROGRAM["rate"]))

    def encode_samples(self, values: Array) -> Vectors:
        """Return the vector of samples at the network's rate, (n,) -> (D,)."""
        network = self.network()
        form = SPECTROGRAM | {key: int(network.about[key]) for key in SPECTROGRAM if key in network.about}
        frames = form.pop("frames")
        excerpts = _excerpts(log_mel(values, **form), frames)
        name, shape = next(iter(network.shapes.items()))
        outputs = [network.run({name: _arranged(part, shape, network)}) for part in _parts(excerpts, shape)]
        pooled = [output.reshape(len(output), output.shape[1], -1).mean(axis=2) for output in outputs]
        vector: Vectors = normalised(np.concatenate(pooled).mean(axis=0, keepdims=True))[0]
        return vector


def _excerpts(spectrogram: Array, frames: int) -> Array:
    """Return excerpts of equal length, (n, frames, mels), evenly spaced; a short sound is repeated to fill one."""
    if len(spectrogram) < frames:
        spectrogram = np.tile(spectrogram, (-(-frames // len(spectrogram)), 1))[:frames]
    starts = np.arange(0, len(spectrogram) - frames + 1, frames)
    if len(starts) > WINDOWS:
        starts = np.linspace(0, len(spectrogram) - frames, WINDOWS).astype(np.int64)
    return np.stack([spectrogram[start : start + frames] for start in starts.tolist()])


def _parts(excerpts: Array, shape: Sequence[object]) -> list[Array]:
    size = 1 if shape and shape[0] == 1 else BATCH
    return [excerpts[at : at + size] for at in range(0, len(excerpts), size)]


def _arranged(excerpts: Array, shape: Sequence[object], network: OnnxModel) -> Array:
    """Return excerpts in the order of axes that the network reads; raises InputError where it reads no spectrograms."""
    sizes = list(shape[1:])
    mels = excerpts.shape[2]
    alone = [at for at, size in enumerate(sizes) if size == 1]
    plain = [size for size in sizes if size != 1]
    if len(network.shapes) != 1 or len(plain) != 2 or len(alone) > 1:
        cause = f"its input is {list(network.shapes.values())}, not spectrograms (B, frames, mels)"
        raise InputError(network.path, cause=cause, cure="give an ONNX model of log-mel spectrograms")
    turned = plain[0] == mels and plain[1] != mels
    arranged = np.ascontiguousarray(excerpts.transpose(0, 2, 1) if turned else excerpts)
    return np.expand_dims(arranged, alone[0] + 1) if alone else arranged
