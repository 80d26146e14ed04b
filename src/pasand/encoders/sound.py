"""Reads the sound of files as samples, and turns samples into log-mel spectrograms."""

from __future__ import annotations

import warnings
from functools import cache
from math import gcd
from typing import Any

import numpy as np

from pasand.encoders import UnreadableInput
from pasand.types import Array

MAX_SECONDS = 1200
"""Seconds of a file that are read at most."""


def samples(path: str, rate: int) -> Array:
    """Return the mean of a file's channels at a rate in Hz, (n,) float32 in [-1, 1]; its first 20 minutes.

    WAV is read without another package, other formats with `av`. Raises UnreadableInput for a file that cannot be read,
    and for one without sound.
    """
    try:
        with open(path, "rb") as content:
            is_wave = content.read(4) in (b"RIFF", b"RIFX")
    except FileNotFoundError as error:
        raise UnreadableInput("there is no such file") from error
    values, found = _wave(path) if is_wave else _decoded(path)
    if not len(values):
        raise UnreadableInput("it has no sound: its length is 0 seconds")
    return resampled(values, found, rate)


def _wave(path: str) -> tuple[Array, int]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, values = wavfile.read(path)
    except Exception as error:  # the reader raises errors of many kinds
        raise UnreadableInput(f"it is not a WAV file that can be read: {error}") from error
    if rate < 1:
        raise UnreadableInput(f"its sampling rate is {rate}")
    values = np.asarray(values)[: rate * MAX_SECONDS]
    if values.dtype.kind in "iu":
        middle, scale = (128, 128) if values.dtype == np.uint8 else (0, np.iinfo(values.dtype).max)
        values = (values.astype(np.float32) - middle) / scale
    mono = values.astype(np.float32) if values.ndim == 1 else values.mean(axis=1, dtype=np.float32)
    return np.nan_to_num(mono, nan=0, posinf=0, neginf=0), int(rate)


def av_module() -> Any:
    """Return the package `av`; raises UnreadableInput where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UnreadableInput("only WAV, GIF and images are read without av: pip install 'pasand[media]'") from error
    return av


def _decoded(path: str) -> tuple[Array, int]:
    av = av_module()
    try:
        with av.open(path) as container:
            if not container.streams.audio:
                return np.zeros(0, np.float32), 1
            rate = container.streams.audio[0].rate
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            parts, count = [], 0
            for frame in container.decode(audio=0):
                for one in resampler.resample(frame):
                    parts.append(one.to_ndarray().reshape(-1))
                    count += len(parts[-1])
                if count > rate * MAX_SECONDS:
                    break
    except UnreadableInput:
        raise
    except Exception as error:  # av raises errors of many kinds
        raise UnreadableInput(f"it is not a sound that can be read: {' '.join(str(error).split())}") from error
    return np.concatenate(parts or [np.zeros(0, np.float32)]).astype(np.float32), int(rate)


def resampled(values: Array, rate: int, wanted: int) -> Array:
    """Return samples at another rate, by a polyphase filter; (n,) -> (about n * wanted / rate,)."""
    if rate == wanted:
        return values
    from scipy.signal import resample_poly

    shared = gcd(rate, wanted)
    out: Array = resample_poly(values, wanted // shared, rate // shared).astype(np.float32)
    return out


def log_mel(values: Array, *, rate: int, window: int, hop: int, mels: int) -> Array:
    """Return log10(1 + 10,000 power) of mel bands, (frames, mels) float32, with frames centred every `hop` samples.

    Hann windows, and triangular bands of equal area on the scale of Slaney (Auditory Toolbox, 1998), as in librosa.
    """
    padded = np.pad(values, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    bands = mel_bands(rate, window, mels)
    out = np.empty((len(frames), mels), np.float32)
    for start in range(0, len(frames), 4096):
        power = np.abs(np.fft.rfft(frames[start : start + 4096] * shape, axis=1)).astype(np.float32) ** 2
        out[start : start + 4096] = np.log10(1 + 10_000 * (power @ bands.T))
    return out


@cache
def mel_bands(rate: int, window: int, mels: int) -> Array:
    """Return the weights of frequencies in mel bands from 0 to half the rate, (mels, window / 2 + 1) float32."""

    def hertz(mel: Array) -> Array:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    top = 15 + 27 * np.log(max(rate / 2, 1000) / 1000) / np.log(6.4)
    edges = hertz(np.linspace(0, top, mels + 2))
    frequency = np.arange(window // 2 + 1) * rate / window
    rising = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    bands: Array = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return bands.astype(np.float32)
