"""Reduces vectors of encoders to the directions in which the items of a catalogue differ."""

from __future__ import annotations

import numpy as np

from pasand.encoders.pretrained import normalised
from pasand.layouts import Entry
from pasand.types import Array, Arrays, Mask, Vectors

DIMENSIONS = 128
"""Numbers of a reduced vector at most."""
LAYOUT = {"mean": Entry("float32", "D"), "axes": Entry("float32", "D d")}


def learn(vectors: Vectors, dimensions: int = DIMENSIONS) -> dict[str, Array]:
    """Return the mean and the principal axes of vectors, (n, D): "mean" (D,) and "axes" (D, d), float32.

    d is at most `dimensions`, and less where the vectors span less. Pretrained encoders give all texts of a catalogue
    nearly the same direction; what is left after subtracting the mean is what distinguishes them (Mu, Bhat and
    Viswanath, "All-but-the-top", ICLR 2018). Without a vector, or with one alone, the axes are those of the numbers
    themselves.
    """
    width = vectors.shape[1]
    mean = vectors.mean(axis=0, dtype=np.float64) if len(vectors) > 1 else np.zeros(width)
    scatter = np.zeros((width, width))
    for start in range(0, len(vectors), 4096):
        part = vectors[start : start + 4096].astype(np.float64) - mean
        scatter += part.T @ part
    size, axes = np.linalg.eigh(scatter)
    kept = np.flatnonzero(size > 1e-9 * max(size[-1], 1e-30))[::-1][:dimensions] if width else np.empty(0, np.int64)
    chosen = axes[:, kept] if len(vectors) > 1 and len(kept) else np.eye(width)[:, :dimensions]
    if chosen.shape[1]:
        largest = np.abs(chosen).argmax(axis=0)
        chosen = chosen * np.where(chosen[largest, np.arange(chosen.shape[1])] < 0, -1, 1)
    return {"mean": mean.astype(np.float32), "axes": chosen.astype(np.float32)}


def reduced(vectors: Vectors, learnt: Arrays) -> Vectors:
    """Return vectors in the axes of `learn`, of length 1, (n, D) -> (n, d); nan where one is missing or all zeros."""
    known = given(vectors)
    out = np.full((len(vectors), learnt["axes"].shape[1]), np.nan, np.float32)
    out[known] = normalised((vectors[known] - learnt["mean"]) @ learnt["axes"])
    return out


def given(vectors: Vectors) -> Mask:
    """Return which vectors are neither missing nor all zeros, (n,)."""
    return np.asarray(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))
