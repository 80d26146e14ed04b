"""`VideoOnnx`: encodes files of moving pictures by sampled frames, and by their sound where they have any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pasand.encoders import UnreadableInput
from pasand.encoders.audio import AudioOnnx
from pasand.encoders.image import ImageOnnx, on_white, opened
from pasand.encoders.pretrained import normalised
from pasand.encoders.sound import av_module, samples
from pasand.types import Arrays, Vectors

PICTURES = (".gif", ".webp", ".png", ".apng", ".jpg", ".jpeg")
"""Files whose frames Pillow reads; the others need `av`."""


@dataclass(kw_only=True)
class VideoOnnx:
    """The mean and the maximum of the vectors of evenly spaced frames, and the vector of the sound.

    The three parts have length 1, or are zeros where there is no sound; the whole has length 1. MP4, WebM and other
    films need the package av; animated GIF, WebP and PNG do not, and neither does a folder of images.
    """

    image: str = "lite0"
    """Model of the frames, as of `ImageOnnx`."""
    audio: str = "musicnn"
    """Model of the sound, as of `AudioOnnx`; "" to leave the sound out."""
    frames: int = 8
    """Frames that are encoded at most."""
    threads: int = 1
    """Number of threads of the networks; 0: one for each core."""
    reads_files: ClassVar[bool] = True
    _pictures: ImageOnnx = field(init=False, repr=False, compare=False)
    _sounds: AudioOnnx | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")
        self._pictures = ImageOnnx(model=self.image, threads=self.threads)
        self._sounds = AudioOnnx(model=self.audio, threads=self.threads) if self.audio else None

    def fit(self, texts: Sequence[str]) -> Self:
        """Return the encoder unchanged: it learns nothing."""
        return self

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of length 1 for files of videos, (n, D); raises UnreadableInput for the first bad one."""
        if not texts:
            return np.empty((0, self._width()), np.float32)
        return np.stack([self._encoded(path) for path in texts])

    def fingerprint(self) -> str:
        """Return the fingerprints of both networks, and the number of frames, as one sha256."""
        import hashlib

        sound = self._sounds.fingerprint() if self._sounds else ""
        return hashlib.sha256(f"video 1 {self._pictures.fingerprint()} {sound} {self.frames}".encode()).hexdigest()

    def state(self) -> Arrays:
        """Return no arrays: the weights stay in their files."""
        return {}

    def load_state(self, arrays: Arrays) -> None:
        """Restore nothing."""

    def _encoded(self, path: str) -> Vectors:
        vectors = self._pictures.encode_images(_frames(path, self.frames))
        if not len(vectors):
            raise UnreadableInput("it has no frame")
        parts = [normalised(vectors.mean(axis=0, keepdims=True))[0], normalised(vectors.max(axis=0, keepdims=True))[0]]
        if self._sounds is not None:
            parts.append(self._sound(self._sounds, path))
        vector: Vectors = normalised(np.concatenate(parts)[None])[0]
        return vector

    def _sound(self, encoder: AudioOnnx, path: str) -> Vectors:
        """Return the vector of the sound of a file, zeros where it has none."""
        if Path(path).is_dir() or Path(path).suffix.lower() in PICTURES:
            return np.zeros(encoder.encode([]).shape[1], np.float32)
        try:
            return encoder.encode_samples(samples(path, encoder.rate()))
        except UnreadableInput:
            return np.zeros(encoder.encode([]).shape[1], np.float32)

    def _width(self) -> int:
        images, sound = (
            self._pictures.encode([]).shape[1],
            0 if self._sounds is None else self._sounds.encode([]).shape[1],
        )
        return int(2 * images + sound)


def _frames(path: str, n: int) -> Iterator[Any]:
    """Yield up to n evenly spaced frames of a file, or images of a folder in order of name, as images of Pillow."""
    if Path(path).is_dir():
        files = sorted(str(file) for file in Path(path).iterdir() if file.suffix.lower() in PICTURES)
        yield from (opened(files[at]) for at in _spaced(len(files), n))
    elif Path(path).suffix.lower() in PICTURES:
        yield from _animation(path, n)
    else:
        yield from _film(path, n)


def _spaced(total: int, n: int) -> list[int]:
    """Return up to n positions in the middle of equal parts of `total`.

    >>> _spaced(10, 2), _spaced(1, 8)
    ([2, 7], [0])
    """
    count = min(total, n)
    return [int((2 * at + 1) * total / (2 * count)) for at in range(count)]


def _animation(path: str, n: int) -> Iterator[Any]:
    from PIL import Image

    first = opened(path)
    try:
        with Image.open(path) as image:
            total = getattr(image, "n_frames", 1)
            for at in _spaced(total, n):
                image.seek(at)
                yield first if total == 1 else on_white(image.copy())
    except UnreadableInput:
        raise
    except Exception as error:  # decoders raise errors of many kinds
        raise UnreadableInput(f"its frames cannot be read: {' '.join(str(error).split())}") from error


def _film(path: str, n: int) -> Iterator[Any]:
    """Yield frames of a film: the first at or after each of n evenly spaced times, found by its key frames."""
    av = av_module()
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise UnreadableInput("it has no moving pictures")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            length = stream.duration or 0
            if not length:
                for frame, _ in zip(container.decode(stream), range(n), strict=False):
                    yield frame.to_image()
                return
            for at in range(n):
                container.seek(int((2 * at + 1) * length / (2 * n)) + (stream.start_time or 0), stream=stream)
                for frame in container.decode(stream):
                    yield frame.to_image()
                    break
    except UnreadableInput:
        raise
    except FileNotFoundError as error:
        raise UnreadableInput("there is no such file") from error
    except Exception as error:  # av raises errors of many kinds
        raise UnreadableInput(f"it is not a video that can be read: {' '.join(str(error).split())}") from error
