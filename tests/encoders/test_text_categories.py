"""Languages and scripts of titles as features of items, through loading, bundles, servers and refreshes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pasand
from pasand import bundle as bundles
from pasand import default_recipe, recipe
from pasand.data.dataset import Dataset
from pasand.data.encodings import pack, unpack
from pasand.data.features import Feature
from pasand.encoders import columns, text_categories
from pasand.encoders.columns import Requested
from pasand.errors import InputError
from pasand.serving.refresh.training_data import apply_to_catalogue
from pasand.serving.states.contract import Change

TITLES = {"i0": "காதல் கதை", "i1": "ప్రేమ కథ", "i2": "Sholay", "i3": "രണ്ടാമൂഴം", "i4": ""}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five films with titles in four scripts; the column of languages has those of Sholay and i3."""
    folder = tmp_path_factory.mktemp("films")
    spoken = {"i0": "", "i1": "", "i2": "Hindi", "i3": "Tamil", "i4": ""}
    rows = [f"{item},{title},{spoken[item]}" for item, title in TITLES.items()]
    (folder / "items.csv").write_text("id,title,language\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "bare.csv").write_text("id,title\n" + "\n".join(f"{i},{t}" for i, t in TITLES.items()) + "\n", "utf-8")
    events = [f"u{u},i{(u + e) % 5},{1_700_000_000 + 10 * u + e}" for u in range(10) for e in range(4)]
    (folder / "events.csv").write_text("user,item,time\n" + "\n".join(events) + "\n")
    return folder


def values(data: Dataset, name: str) -> dict[str, str]:
    feature = data.item_features[name]
    return {item: feature.show(row) for row, item in enumerate(data.items.series.to_list())}


def test_the_column_counts_first_and_titles_fill_the_rest(shop: Path) -> None:
    kinds = {"title": "text", "language": "categorical"}
    data = pasand.load(shop / "events.csv", items=shop / "items.csv", kinds=kinds, encode="title=language,title=script")
    assert values(data, "language") == {"i0": "Tamil", "i1": "te", "i2": "Hindi", "i3": "Tamil", "i4": ""}
    assert values(data, "script") == {"i0": "Tamil", "i1": "Telugu", "i2": "Latin", "i3": "Malayalam", "i4": ""}
    assert "items: language of 2 of 5 is that of the script of their title, 2 had one" in data.notes
    assert "items: script of 4 of 5 is that of the script of their title" in data.notes


def test_without_a_column_the_title_gives_the_language(shop: Path, tmp_path: Path) -> None:
    """New items of a bundle and of a refresh have it too, unless the change names another."""
    data = pasand.load(shop / "events.csv", items=shop / "bare.csv", kinds={"title": "text"}, encode="title=language")
    assert values(data, "language") == {"i0": "ta", "i1": "te", "i2": "", "i3": "ml", "i4": ""}
    arrays, description = pack(data.encodings)
    assert unpack(arrays, description)[0].feature == "language"
    assembly = recipe.build(default_recipe.of_model("popularity", {})).fit(data, seed=0)
    bundles.write(tmp_path / "b", assembly, data, seed=0)
    title = Feature(kind="text", values=np.array(["తెలుగు", "Deewaar"], np.dtypes.StringDType()))
    added = bundles.read(tmp_path / "b").add_items(["new", "old"], {"title": title}).data
    assert {item: values(added, "language")[item] for item in ("new", "old")} == {"new": "te", "old": ""}
    changes = [
        Change(1, "n1", {"title": "ପ୍ରେମ"}, False),
        Change(2, "n2", {"title": "காதல்", "language": "te"}, False),
        Change(3, "i3", {"title": "காதல்"}, False),
    ]
    grown = values(apply_to_catalogue(data, changes), "language")
    assert [grown[item] for item in ("n1", "n2", "i3")] == ["or", "te", "ml"]


def test_bags_are_filled_as_bags() -> None:
    titles = np.array(["காதல்", "Sholay", "తెలుగు"], np.dtypes.StringDType())
    features = {
        "title": Feature(kind="text", values=titles),
        "language": Feature(
            kind="bag", values=np.array([[-1, -1], [0, 1], [-1, -1]], np.int32), names=("Hindi", "Tamil")
        ),
    }
    found, _ = text_categories.added(features, "title", "language", "items")
    assert [found["language"].show(row) for row in range(3)] == ["Tamil", "Hindi, Tamil", "te"]


def test_what_cannot_be_is_refused(shop: Path, tmp_path: Path) -> None:
    kinds = {"title": "text", "language": "text"}
    data = pasand.load(shop / "events.csv", items=shop / "items.csv", kinds=kinds)
    with pytest.raises(InputError, match="leave title=language out of --encode"):
        columns.encode(data, [Requested("title", "language")], tmp_path)
    with pytest.raises(InputError, match="no such column of texts"):
        columns.encode(data, [Requested("plot", "script")], tmp_path)
