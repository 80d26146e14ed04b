"""Columns of a catalogue as vectors: with tiny models, through fitting, bundles and items that are added later."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pasand
from pasand import bundle as bundles
from pasand import default_recipe, recipe
from pasand.data.dataset import Dataset
from pasand.data.encodings import pack, unpack
from pasand.data.features import Feature
from pasand.encoders import columns
from pasand.encoders.columns import Requested
from pasand.errors import InputError
from pasand.serving.engine.variant import Variant
from pasand.serving.refresh.training_data import apply_to_catalogue
from pasand.serving.states.contract import Change
from tests.encoders.graphs import mean_colour, mean_word

pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
Image = pytest.importorskip("PIL.Image")

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 60 users who each like one colour, 30 items of three colours with plots and posters, and two models."""
    folder = tmp_path_factory.mktemp("shop")
    mean_word(folder / "words")
    mean_colour(folder / "colour.onnx")
    names = [list(COLOURS)[at % 3] for at in range(30)]
    for name, colour in COLOURS.items():
        Image.new("RGB", (10, 10), colour).save(folder / f"{name}.png")
    items = {
        "id": [f"i{at:02}" for at in range(30)],
        "plot": [f"{name} {name}" for name in names],
        "poster": [f"{name}.png" for name in names],
    }
    items["plot"][29], items["poster"][28] = "", "none.png"
    pl.DataFrame(items).write_csv(folder / "items.csv")
    rows = [(f"u{u:02}", f"i{3 * e + u % 3:02}", 1_700_000_000 + 100 * u + e) for u in range(60) for e in range(8)]
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_csv(folder / "events.csv")
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        how = f"plot=text:{folder / 'words'},poster=image:{folder / 'colour.onnx'}"
        return pasand.load(folder / "events.csv", items=folder / "items.csv", encode=how)


def cosines(data: Dataset, name: str) -> dict[str, float]:
    """Return the cosine of the first red item to others, by their ids."""
    vectors = data.item_features[name].values
    return dict(zip(data.items.series.to_list(), (vectors @ vectors[0]).tolist(), strict=True))


def test_columns_become_vectors(data: Dataset) -> None:
    assert {name: one.kind for name, one in data.item_features.items()} == {
        "plot": "text",
        "plot_text": "vector",
        "poster_image": "vector",
    }
    for name in ("plot_text", "poster_image"):
        assert cosines(data, name)["i03"] == pytest.approx(1, abs=1e-5)
        assert cosines(data, name)["i01"] == pytest.approx(-0.5, abs=0.1)
    missing = {name: np.flatnonzero(data.item_features[name].is_missing()).tolist() for name in data.item_features}
    assert missing == {"plot": [29], "plot_text": [29], "poster_image": [28]}
    assert "items: plot_text (vector): 29 of 30 encoded, 2 numbers each" in data.notes


def test_a_missing_file_is_named(folder: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    data = pasand.load(folder / "events.csv", items=folder / "items.csv", kinds={"poster": "text"})
    with caplog.at_level(logging.WARNING):
        columns.encode(data, [Requested("poster", "image", str(folder / "colour.onnx"))], folder, tmp_path)
    assert "no vector of item 'i28', column 'poster', 'none.png': there is no such file" in caplog.text
    with pytest.raises(InputError, match=r"item 'i00', column 'poster': 'red.png' is wrong: no item has a vector"):
        columns.encode(data, [Requested("poster", "image", str(folder / "colour.onnx"))], tmp_path, tmp_path)


def test_new_items_are_encoded_by_the_same_code(folder: Path, data: Dataset, tmp_path: Path) -> None:
    """Added to a bundle that was saved and read, they are recommended to users of their colour at once."""
    assembly = recipe.build(default_recipe.of_model("content", {}))
    bundles.write(tmp_path / "b", assembly.fit(data, seed=0), data, seed=0)
    loaded = bundles.read(tmp_path / "b")
    assert [one.feature for one in loaded.data.encodings] == ["plot_text", "poster_image"]
    Image.new("RGB", (30, 20), (250, 0, 0)).save(folder / "new.png")
    texts = {"plot": ["red", ""], "poster": ["new.png", "../events.csv"]}
    features = {
        name: Feature(kind="text", values=np.array(values, np.dtypes.StringDType())) for name, values in texts.items()
    }
    extended = loaded.add_items(["new", "other"], features, files=folder)
    for name in ("plot_text", "poster_image"):
        assert cosines(extended.data, name)["new"] == pytest.approx(1, abs=0.01)
        assert extended.data.item_features[name].is_missing()[-1]
    users = loaded.data.users.rows(["u00", "u01"])
    lists = extended.assembly.recommender(extended.data.queries(users, k=3)).items
    new = extended.data.items.rows(["new"])[0]
    assert new in lists[0]
    assert new not in lists[1]


def test_a_server_and_its_refresh_encode_new_items(
    folder: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read in PASAND_MEDIA only; a refresh encodes added and changed items for the next fit."""
    monkeypatch.setenv("PASAND_MEDIA", str(folder))
    bundles.write(
        tmp_path / "b", recipe.build(default_recipe.of_model("popularity", {})).fit(data, seed=0), data, seed=0
    )
    variant = Variant.read("main", str(tmp_path / "b"))
    put = {"plot": "red red", "poster": "red.png"}
    assert variant.check_features(put) == []
    changes = [
        Change(1, "new", put, False),
        Change(2, "away", {"poster": str(tmp_path / "b" / "manifest.json")}, False),
        Change(3, "i01", {"plot": "red"}, False),
    ]
    variant.apply_changes(changes)
    grown = apply_to_catalogue(data, changes)
    for found in (variant.bundle.data, grown):
        assert "poster" not in found.item_features
        for name in ("plot_text", "poster_image"):
            row = found.items.rows(["new", "away"])
            assert cosines(found, name)["new"] == pytest.approx(1, abs=0.01)
            assert found.item_features[name].is_missing()[row].tolist() == [False, True]
    assert cosines(grown, "plot_text")["i01"] == pytest.approx(1, abs=0.01)
    assert cosines(variant.bundle.data, "plot_text")["i01"] == cosines(data, "plot_text")["i01"]


def test_another_model_gives_new_items_no_vector(
    folder: Path, data: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [replace(one, fingerprint="another") for one in data.encodings[1:]]
    features = {"poster": Feature(kind="text", values=np.array(["red.png"], np.dtypes.StringDType()))}
    assert columns.encode_new(changed, features, folder) == {}
    assert "its model is not the one that encoded the catalogue" in caplog.text
    monkeypatch.delenv("PASAND_MEDIA", raising=False)
    columns.encode_new(data.encodings, features)
    assert "set PASAND_MEDIA" in caplog.text


def test_words_of_the_catalogue_are_saved(folder: Path, tmp_path: Path) -> None:
    data = pasand.load(folder / "events.csv", items=folder / "items.csv", kinds={"plot": "text"})
    encoded = columns.encode(data, [Requested("plot", "tfidf")], folder, tmp_path)
    arrays, description = pack(encoded.encodings)
    features = {"plot": Feature(kind="text", values=np.array(["red"], np.dtypes.StringDType()))}
    new = columns.encode_new(unpack(arrays, description), features)["plot_tfidf"].values
    np.testing.assert_allclose(new[0], encoded.item_features["plot_tfidf"].values[0], atol=1e-5)
    with pytest.raises(ValueError, match="encoding 0 must name"):
        unpack({}, [{"column": 1}])


def test_vectors_that_the_user_has(folder: Path, tmp_path: Path) -> None:
    items = pl.read_csv(folder / "items.csv")
    vectors = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    frame = pl.DataFrame({"id": items["id"], "vector": vectors})
    frame.reverse().write_parquet(tmp_path / "lists.parquet")
    numbers = pl.DataFrame({"id": items["id"], **{f"d{at}": vectors[:, at] for at in range(4)}})
    numbers[5:].write_parquet(tmp_path / "numbers.parquet")
    items.with_columns(cover=pl.Series([" ".join(map(str, row)) for row in vectors.tolist()])).write_csv(
        tmp_path / "items.csv"
    )
    found = {
        how: pasand.load(folder / "events.csv", items=table / "items.csv", encode=f"cover=vector{how}").item_features
        for how, table in {
            f":{tmp_path / 'v.npy'}": folder,
            f":{tmp_path / 'lists.parquet'}": folder,
            f":{tmp_path / 'numbers.parquet'}": folder,
            "": tmp_path,
        }.items()
    }
    for how, features in found.items():
        start = 5 if "numbers" in how else 0
        np.testing.assert_allclose(features["cover"].values[start:], vectors[start:], rtol=1e-5)
        assert features["cover"].is_missing().sum() == start
    np.save(tmp_path / "short.npy", vectors[:5])
    with pytest.raises(InputError, match=r"short.npy: it has 5 rows, and the table of items has 30 lines"):
        pasand.load(folder / "events.csv", items=folder / "items.csv", encode=f"cover=vector:{tmp_path / 'short.npy'}")
    with pytest.raises(InputError, match=r"neither \.npy nor Parquet"):
        pasand.load(folder / "events.csv", items=folder / "items.csv", encode=f"cover=vector:{folder / 'events.csv'}")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("plot", "it names no column and kind"),
        ("plot=words", "there is no kind 'words'"),
        ("plot=tfidf,plot=tfidf", "the column is given twice"),
        ("summary=tfidf", "the table of items has no such column; it has: plot, poster"),
        ("plot=image:none.onnx", "it is not on this machine"),
        ("plot=text:none", "there is no such folder"),
        ("plot=vector", "no vector can be read"),
    ],
)
def test_wrong_requests_are_reported(folder: Path, text: str, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        pasand.load(folder / "events.csv", items=folder / "items.csv", encode=text)


def test_without_a_table_of_items(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes((folder / "events.csv").read_bytes())
    with pytest.raises(InputError, match="there is no table of items"):
        pasand.load(tmp_path / "events.csv", encode="plot=tfidf")
