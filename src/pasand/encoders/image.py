"""`ImageOnnx`: encodes image files with any ONNX vision model; EfficientNet-Lite0 unless another is given."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pasand.encoders import UnreadableInput
from pasand.encoders.pretrained import OnnxModel, Pretrained, normalised
from pasand.errors import InputError
from pasand.types import Array, Vectors

BATCH = 16
"""Images that are encoded at a time."""
MAX_PIXELS = 128_000_000
"""Pixels of an image at most; decoding one of this size takes half a gigabyte."""
SAMPLED = 1024
"""Shorter side in pixels that larger images are reduced to, but for a factor below 2, before all else."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue on ImageNet, in [0, 1]: the usual scale of inputs."""


@dataclass(kw_only=True)
class ImageOnnx(Pretrained):
    """Encodes image files: the shorter side is scaled, the middle square is cut out and the network's output pooled.

    The default is EfficientNet-Lite0 (Tan and Le, "EfficientNet", ICML 2019) without its last layer: 1,280 numbers. Of
    another file the input must be (B, 3, H, W) or (B, H, W, 3), and the first output is read: (B, D), or maps
    (B, D, h, w), whose mean is used. Metadata `mean` and `std` of the file, as JSON, replace those of ImageNet.
    """

    model: str = "lite0"
    """"lite0", which `pasand fetch lite0` prepares, or the path of an ONNX file."""
    names: ClassVar[Sequence[str]] = ("lite0",)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of length 1 for files of images, (n, D); raises UnreadableInput for the first bad one."""
        return self.encode_images(opened(path) for path in texts)

    def encode_images(self, images: Iterable[Any]) -> Vectors:
        """Return vectors of length 1 for images of Pillow, (n, D)."""
        network = self.network()
        size, channels_first = self._input(network)
        parts: list[Vectors] = []
        batch: list[Array] = []
        for image in images:
            batch.append(self._pixels(image, size))
            if len(batch) == BATCH:
                parts.append(self._run(network, np.stack(batch), channels_first))
                batch = []
        if batch or not parts:
            pixels = np.stack(batch) if batch else np.zeros((1, size, size, 3), np.float32)
            parts.append(self._run(network, pixels, channels_first)[: len(batch)])
        return np.concatenate(parts)

    def _input(self, network: OnnxModel) -> tuple[int, bool]:
        """Return the side of the input in pixels and whether channels are first; raises InputError for other inputs."""
        shape = next(iter(network.shapes.values()), [])
        if len(network.shapes) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            cause = f"its input is {list(network.shapes.values())}, not images (B, 3, H, W) or (B, H, W, 3)"
            raise InputError(network.path, cause=cause, cure="give an ONNX model of images")
        side = shape[2]
        return side if isinstance(side, int) else 224, shape[1] == 3

    def _pixels(self, image: Any, size: int) -> Array:
        """Return the middle square of an image, (size, size, 3) float32."""
        about = self.network().about
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        square = image.resize((size, size), 3, (left, top, left + side, top + side), 2.0)  # 3: bicubic
        values = np.asarray(square, np.float32) / 255
        scaled: Array = (values - np.float32(about.get("mean", MEAN))) / np.float32(about.get("std", DEVIATION))
        return scaled

    def _run(self, network: OnnxModel, pixels: Array, channels_first: bool) -> Vectors:
        """Return the vectors of pixels, (B, H, W, 3); one by one where the file has a fixed batch of 1."""
        name, shape = next(iter(network.shapes.items()))
        pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if channels_first else pixels
        step = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else len(pixels)
        outputs = []
        for at in range(0, len(pixels), step):
            part = pixels[at : at + step]
            padded = np.concatenate([part, np.zeros((step - len(part), *part.shape[1:]), np.float32)])
            output = network.run({name: padded})[: len(part)]
            outputs.append(output.mean(axis=tuple(range(2, output.ndim))) if output.ndim > 2 else output)
        return normalised(np.concatenate(outputs))


def opened(path: str) -> Any:
    """Return an image file as red, green and blue, upright and on white; raises UnreadableInput for what is none."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise InputError("encoders", cause="Pillow is not installed", cure="pip install 'pasand[media]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width:,} x {image.height:,}"
                    raise UnreadableInput(f"it has {size} pixels, and at most {MAX_PIXELS:,} are read")
                image.draft("RGB", (512, 512))  # JPEG is decoded at a fraction of its size
                factor = min(image.size) // SAMPLED
                small = image.resize((image.width // factor, image.height // factor), 0) if factor > 1 else image
                return on_white(ImageOps.exif_transpose(small))
    except UnreadableInput:
        raise
    except FileNotFoundError as error:
        raise UnreadableInput("there is no such file") from error
    except Exception as error:  # decoders raise errors of many kinds
        raise UnreadableInput(f"it is not an image that can be read: {' '.join(str(error).split())}") from error


def on_white(image: Any) -> Any:
    """Return an image of Pillow as red, green and blue; what is transparent becomes white."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
