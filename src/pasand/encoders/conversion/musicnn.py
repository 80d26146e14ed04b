"""musicnn (Pons and Serra 2019) from the checkpoint that the package musicnn ships, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pasand.encoders.audio import SPECTROGRAM
from pasand.encoders.conversion.checkpoint import read
from pasand.encoders.conversion.graph import Graph
from pasand.types import Array

PACKAGE, FILE = "musicnn", "MSD_musicnn"
FRAMES, MELS = SPECTROGRAM["frames"], SPECTROGRAM["mels"]
EPS = 1e-3
"""Added to variances by the layers of TensorFlow that it was trained with."""


def graph(weights: dict[str, Array]) -> bytes:
    """Return the network as an ONNX graph of log-mel spectrograms (B, 187, 96) to its last hidden layer, (B, 200)."""
    g = Graph()
    numbers = {"conv2d": 0, "batch_normalization": 0}

    def name(layer: str) -> str:
        """Return the name of the next layer of a kind, which are numbered in order."""
        number = numbers[layer]
        numbers[layer] += 1
        return next(
            key.rpartition("/")[0] for key in weights if f"/{layer}{f'_{number}' if number else ''}/" in f"/{key}"
        )

    def norm(x: str, axes: int) -> str:
        at = name("batch_normalization")
        scale = weights[f"{at}/gamma"] / np.sqrt(weights[f"{at}/moving_variance"] + EPS)
        bias = weights[f"{at}/beta"] - weights[f"{at}/moving_mean"] * scale
        shape = (-1, *[1] * axes)
        return str(g.node("Add", g.node("Mul", x, g.weight(scale.reshape(shape))), g.weight(bias.reshape(shape))))

    def convolution(x: str, pads: list[int]) -> str:
        at = name("conv2d")
        kernel = weights[f"{at}/kernel"].transpose(3, 2, 0, 1)
        return str(g.node("Relu", g.convolution(x, kernel, weights[f"{at}/bias"], pads=pads)))

    def highest(x: str) -> str:
        """Pool over the bands: (B, C, frames, bands) -> (B, C, frames)."""
        return str(g.node("ReduceMax", x, axes=[3], keepdims=0))

    x = g.input("spectrograms", "FLOAT", ["excerpts", FRAMES, MELS])
    x = norm(g.node("Unsqueeze", x, g.weight(np.array([1]))), 2)
    front = [highest(norm(convolution(x, [3, 0, 3, 0]), 2)) for _ in range(2)]
    for length in (128, 64, 32):
        before = (length - 1) // 2
        front.append(highest(norm(convolution(x, [before, 0, length - 1 - before, 0]), 2)))
    x = g.node("Concat", *front, axis=1)  # (B, C, frames)

    def middle(x: str) -> str:
        """Convolve over 7 frames and all channels, (B, C, frames) -> (B, 64, frames)."""
        at = name("conv2d")
        kernel = weights[f"{at}/kernel"]  # (7, C, 1, 64)
        wide = g.node("Unsqueeze", x, g.weight(np.array([3])))
        y = g.convolution(wide, kernel.transpose(3, 1, 0, 2), weights[f"{at}/bias"], pads=[3, 0, 3, 0])
        y = norm(g.node("Relu", y), 2)
        return str(g.node("Squeeze", y, g.weight(np.array([3]))))

    first = middle(x)
    second = g.node("Add", middle(first), first)
    third = g.node("Add", middle(second), second)
    x = g.node("Concat", x, first, second, third, axis=1)
    pools = [g.node("ReduceMax", x, axes=[2], keepdims=1), g.node("ReduceMean", x, axes=[2], keepdims=1)]
    pooled = norm(g.node("Flatten", g.node("Concat", *pools, axis=2)), 0)  # maximum and mean of a channel in turn
    dense = next(key.rpartition("/")[0] for key in weights if key.endswith("dense/kernel"))
    x = norm(g.node("Relu", g.dense(pooled, weights[f"{dense}/kernel"].T, weights[f"{dense}/bias"])), 0)
    return g.bytes({x: ["excerpts", 200]}, dict(SPECTROGRAM))


def files(source: Path) -> dict[str, bytes]:
    """Return the files of the prepared model by name."""
    return {"model.onnx": graph(read(source))}
