"""Pictures of products: equal for equal arguments, readable as files, and they show craft, colour and quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pasand.errors import InputError
from pasand.simulation import pictures
from pasand.simulation.crafts import COLOURS, CRAFTS
from pasand.sources import load

LOCATION = "market:n_users=5,n_items=12,n_sellers=4,days=10,pictures="


def scratched(quality: float) -> float:
    """Return the share of neighbouring pixels that differ much in brightness, over all crafts."""
    drawn = [pictures.draw(craft, 0, 3, quality=quality, seed=craft).mean(axis=2) for craft in range(len(CRAFTS))]
    return float(np.mean([(abs(np.diff(one, axis=0)) > 20).mean() for one in drawn]))


def test_equal_arguments_give_equal_pictures() -> None:
    one = pictures.draw(2, 1, 3, quality=0.5, seed=8)
    assert one.shape == (pictures.SIDE, pictures.SIDE, 3)
    assert one.dtype == np.uint8
    assert (one == pictures.draw(2, 1, 3, quality=0.5, seed=8)).all()
    assert (one != pictures.draw(2, 1, 3, quality=0.5, seed=9)).any()


def test_craft_colour_and_quality_show() -> None:
    middle = slice(pictures.SIDE // 3, -pictures.SIDE // 3)
    means = [pictures.draw(c, 1, 4, quality=1, seed=0)[middle, middle].mean(axis=(0, 1)) for c in range(len(CRAFTS))]
    assert len({tuple(mean.round()) for mean in means}) == len(CRAFTS)
    red, blue = (
        pictures.draw(0, 1, COLOURS.index(colour), quality=1, seed=0)[middle, middle].mean(axis=(0, 1))
        for colour in ("red", "blue")
    )
    assert red[0] > blue[0]
    assert red[2] < blue[2]
    assert scratched(-2) > scratched(0) > scratched(2)


def test_files_are_drawn_only_when_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "pictures"
    without = load(LOCATION.removesuffix(",pictures="), impressions="none")
    assert "image" not in without.item_features
    data = load(f"{LOCATION}{folder}", impressions="none")
    named = [str(path) for path in data.item_features["image"].values.tolist()]
    assert sorted(named) == sorted(str(path) for path in folder.iterdir())
    with Image.open(named[0]) as image:
        assert (image.format, image.size) == ("PNG", (pictures.SIDE, pictures.SIDE))
    assert (without.item == data.item).all()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"pictures: .*file"):
        load(f"{LOCATION}{tmp_path / 'file'}")
