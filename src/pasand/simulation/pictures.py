"""Pictures of the products of the marketplace: shape by kind, colour and texture by craft, wear by quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pasand.errors import InputError
from pasand.simulation.counter_random import uniform
from pasand.simulation.crafts import COLOURS, CRAFTS
from pasand.types import Array

if TYPE_CHECKING:
    from pasand.simulation.marketplace import Marketplace

SIDE = 96
"""Width and height in pixels."""
PIXELS = {
    "black": (45, 45, 50),
    "blue": (40, 80, 170),
    "green": (40, 130, 70),
    "red": (190, 40, 45),
    "white": (225, 222, 215),
    "yellow": (225, 185, 50),
}
"""Red, green and blue of each colour."""
MATERIAL = {
    "brass": (200, 160, 70),
    "ceramic": (235, 230, 220),
    "cotton": (220, 215, 200),
    "plastic": (120, 120, 125),
    "silk": (170, 40, 90),
    "silver": (190, 195, 205),
    "steel": (140, 150, 160),
    "teak": (120, 80, 45),
    "terracotta": (185, 90, 55),
    "wooden": (205, 160, 105),
}
"""Red, green and blue of each material."""


def paths(folder: str, ids: Sequence[str]) -> list[str]:
    """Return the absolute paths of the pictures of products, PNG files, in their order."""
    base = Path(folder).resolve()
    return [str(base / f"{one.replace(' ', '-')}.png") for one in ids]


def write(world: Marketplace, folder: str) -> int:
    """Draw the picture of every product into a folder, which is created if needed, and return how many they are.

    Pictures of an earlier call are replaced. Raises InputError where the folder cannot be written, or without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        cure = "pip install 'pasand[media]'"
        raise InputError("pictures", value=folder, cause="drawing needs Pillow", cure=cure) from error
    products, films = world.products, world.films
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for row, path in enumerate(paths(folder, films.ids)):
            codes = (int(products.craft[row]), int(products.kind[row]), int(products.colour[row]))
            pixels = draw(*codes, quality=float(films.quality[row]), seed=world.seed * len(films) + row)
            Image.fromarray(pixels).save(path)
    except OSError as error:
        raise InputError(
            "pictures", value=folder, cause=str(error), cure="give a folder that can be written"
        ) from error
    return len(films)


def draw(craft: int, kind: int, colour: int, *, quality: float, seed: int) -> Array:
    """Return the picture of a product, (SIDE, SIDE, 3) uint8; equal arguments give equal pictures.

    The kind determines the shape and the craft the material, the number of stripes and their direction; the colour is
    that of the stripes. Low quality (standard normal) shows as scratches and an uneven outline, high quality as fine
    stripes of more contrast.
    """
    made = CRAFTS[craft]
    good = 1 / (1 + np.exp(-1.5 * quality))
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE * 2 - 1
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    wobble = 0.12 * (1 - good) * np.sin(angle * (5 + seed % 4) + seed)
    size = 0.6 + 0.2 * float(uniform(seed, 0))
    outline = (
        np.maximum(abs(x) * 1.15, abs(y)),
        radius,
        np.maximum(abs(x) * (1.3 - 0.5 * y), abs(y)),
    )[kind % 3]
    inside = outline + wobble < size
    turn = np.pi * craft / len(CRAFTS)
    across = x * np.cos(turn) + y * np.sin(turn)
    stripes = np.sin(across * np.pi * (3 + craft + 4 * good)) > 0.3
    light = 0.75 + 0.35 * good - 0.25 * radius
    body = np.array(MATERIAL[made.material]) * light[..., None]
    trim = np.array(PIXELS[COLOURS[colour]]) * light[..., None]
    weight = np.where(stripes, 0.25 + 0.5 * good, 0.0)[..., None]
    noise = uniform(seed, np.arange(SIDE)[:, None], np.arange(SIDE))
    scratches = (noise < 0.15 * (1 - good))[..., None]
    object_ = np.where(scratches, 0.55, 1.0) * ((1 - weight) * body + weight * trim)
    return np.clip(np.where(inside[..., None], object_, 245.0), 0, 255).astype(np.uint8)
