"""Recommendations from the command line: new users, their histories and features, and new items."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand import bundle, recipe
from pasand.cli.recommend import history_items
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from tests.cli.test_commands import Output, pasand
from tests.logs import log, tastes

LANGUAGES = ("Bengali", "Hindi", "Tamil")

RECIPE = """
[tower]
class = "pasand.models.towers.two_tower:TwoTower"
epochs = 30
use_ids = false
patience = 0
batch_size = 64

[popular]
class = "pasand.models.classical.popularity:Popularity"
segment = "language"
shrinkage = 1

[from_tower]
class = "pasand.stages.retrieval:FromModel"
model = "@tower"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_tower", "@from_popular"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""


def data() -> Dataset:
    """Return a log of three tastes whose users have a language, interests, an age and a portrait."""
    log = tastes()
    taste = np.arange(log.n_users, dtype=np.int32) % 3
    return replace(
        log,
        user_features={
            "language": Feature(kind="categorical", values=taste, names=LANGUAGES),
            "likes": Feature(kind="bag", values=np.stack([taste, (taste + 1) % 3], 1), names=("ab", "bc", "ca")),
            "age": Feature(kind="number", values=20 + taste.astype(np.float32)),
            "portrait": Feature(kind="vector", values=np.eye(3, dtype=np.float32)[taste]),
        },
    )


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, log = tmp_path_factory.mktemp("deep") / "bundle", data()
    bundle.write(path, recipe.build(RECIPE).fit(log, seed=0), log, seed=0)
    return path


def recommended(capsys: Output, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert pasand("recommend", *arguments, "--json", "-") == 0
    response: dict[str, Any] = json.loads(capsys.readouterr().out)
    return response


def of_group(response: dict[str, Any], group: int) -> int:
    """Return how many of the first five items are of a group: the item's number modulo 3."""
    return sum(int(line["item_id"][1:]) % 3 == group for line in response["items"][:5])


def test_a_new_user_gets_recommendations_from_the_history(deep: Path, capsys: Output) -> None:
    for group in range(3):
        history = ",".join(f"i{group + 3 * n:03}" for n in range(4))
        response = recommended(capsys, deep, "--history", history)
        assert response["known"] is False
        assert of_group(response, group) == 5


@pytest.mark.parametrize(
    "option", ["language={}", "likes={}", "age={}", "portrait={}"], ids=["category", "bag", "number", "vector"]
)
def test_a_new_user_gets_recommendations_from_features(deep: Path, capsys: Output, option: str) -> None:
    words = {
        "language={}": LANGUAGES,
        "likes={}": ("ab|bc", "bc|ca", "ca|ab"),
        "age={}": ("20", "21", "22"),
        "portrait={}": ("1 0 0", "0 1 0", "0 0 1"),
    }
    right = sum(
        of_group(recommended(capsys, deep, "--feature", option.format(w)), g) for g, w in enumerate(words[option])
    )
    assert right >= 10


def test_values_of_a_bag_may_be_separate_options(deep: Path, capsys: Output) -> None:
    together = recommended(capsys, deep, "--feature", "likes=ab|bc")
    assert together == recommended(capsys, deep, "--feature", "likes=ab", "--feature", "likes=bc")
    assert together != recommended(capsys, deep, "--feature", "likes=ca")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["city=Pune"], "no such user feature. Cure: choose from: language, likes, age, portrait"),
        (["language=Klingon"], "no such language in the bundle. Cure: choose from: Bengali, Hindi, Tamil"),
        (["age=old"], "age is of kind number, which cannot be read from that"),
        (["language=Hindi", "language=Tamil"], "language was given before"),
        (["portrait=1 0"], "its vectors have 2 numbers, and had 3"),
        (["language"], "not of the form NAME=VALUE"),
    ],
)
def test_wrong_features_are_refused(deep: Path, capsys: Output, features: list[str], message: str) -> None:
    assert pasand("recommend", deep, *(part for text in features for part in ("--feature", text))) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_k_beyond_the_catalogue_gives_the_whole_catalogue(deep: Path, capsys: Output) -> None:
    response = recommended(capsys, deep, "-k", "1000", "--history", "i000,i001")
    assert sorted(line["item_id"] for line in response["items"]) == [f"i{n:03}" for n in range(2, 30)]
    assert pasand("recommend", deep, "-k", "1000") == 0
    assert "only 30 items" in capsys.readouterr().out


def test_a_history_longer_than_the_models_is_read_to_its_end(deep: Path, capsys: Output) -> None:
    long = ",".join(["i000"] * 300 + [f"i{1 + 3 * n:03}" for n in range(8)] * 10)
    assert of_group(recommended(capsys, deep, "--history", long), 1) >= 2


def test_models_without_explanations_give_no_reasons(deep: Path, capsys: Output) -> None:
    response = recommended(capsys, deep, "--why", "--history", "i000")
    assert not any("reason" in line for line in response["items"])
    assert pasand("recommend", deep, "--why", "--history", "i000") == 0
    assert "no model of this bundle can explain its recommendations" in capsys.readouterr().out


ITEMS = "item,group,title,director\nnew a,a,Film new,Nair\nnew ?,z,,Nair\nnew b,b,Another,Nair\n"


def test_new_items_of_a_table_are_recommended(deep: Path, tmp_path: Path, capsys: Output) -> None:
    table = tmp_path / "items.csv"
    table.write_text(ITEMS)
    response = recommended(capsys, deep, "--add", table, "-k", "100", "--history", "i000,i003")
    assert len(response["items"]) >= 28
    assert recommended(capsys, deep, "--add", table, "--history", "new a,new ?,i000")["history"] == 3
    assert "new a" not in [line["item_id"] for line in recommended(capsys, deep, "-k", "100")["items"]]


def test_warnings_about_new_items_are_logged_once(
    deep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Output
) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    recommended(capsys, deep, "--add", tmp_path / "items.csv")
    assert [record.getMessage() for record in caplog.records] == [
        "ignored: the dataset has no item features of these names: director",
        "ignored: the dataset has no such values of group: z",
        "no model can score 1 of 3 new items, so they will not be recommended",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("item,group\ni003,a\nnew,b\n", "'i003'"),
        ("item,group\n", "header but no rows"),
        ("", "empty"),
    ],
)
def test_a_table_without_new_items_is_refused(
    deep: Path, tmp_path: Path, capsys: Output, table: str, message: str
) -> None:
    (tmp_path / "items.csv").write_text(table)
    assert pasand("recommend", deep, "--add", tmp_path / "items.csv") == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_items_are_added_to_a_bundle_permanently(deep: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    assert pasand("add", deep, tmp_path / "items.csv", "--out", tmp_path / "more") == 0
    assert "3 items added, 33 in all" in " ".join(capsys.readouterr().out.split())
    with_table = recommended(capsys, deep, "--add", tmp_path / "items.csv", "-k", "100", "--history", "i000")
    assert recommended(capsys, tmp_path / "more", "-k", "100", "--history", "i000") == with_table
    assert bundle.read(tmp_path / "more").data.items.ids([30, 31, 32]) == ["new ?", "new a", "new b"]
    assert bundle.read(deep).data.n_items == 30
    (tmp_path / "again.csv").write_text("item,group\nfourth,c\n")
    assert pasand("add", tmp_path / "more", tmp_path / "again.csv") == 0
    assert bundle.read(tmp_path / "more").data.items.ids([31, 33]) == ["new a", "fourth"]


WITHOUT_TORCH = """
import sys
from pasand.cli import main
try:
    main.run(sys.argv[1:])
except SystemExit as stopped:
    assert not stopped.code
assert "torch" not in sys.modules, "torch was imported"
assert "onnxruntime" in sys.modules
"""


@pytest.mark.parametrize("command", ["recommend", "add"])
def test_a_deep_bundle_recommends_and_is_extended_without_torch(deep: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    arguments: list[str | Path] = [command, deep, "--add", tmp_path / "items.csv", "--history", "i000", "--why"]
    if command == "add":
        arguments = [command, deep, tmp_path / "items.csv", "--out", tmp_path / "more"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_history_items_may_hold_commas_quotes_and_spaces() -> None:
    ids = ["a", "b", "a,b", " a", 'say "x"', "c d"]
    named = log([("ann", item, time, 5.0) for time, item in enumerate(ids)])
    for texts, expected in (
        (["a,b"], ["a", "b"]),
        (['"a,b",a'], ["a,b", "a"]),
        (["a", '"a,b"', "b"], ["a", "a,b", "b"]),
        ([" a,b"], [" a", "b"]),
        (["b, c d"], ["b", "c d"]),
        (["b,  a"], ["b", "a"]),
        (['say "x",b'], ['say "x"', "b"]),
        (["unknown , a"], ["unknown", " a"]),
        ([], []),
    ):
        assert history_items(named, texts) == expected


def test_an_item_with_a_comma_is_given_as_history(tmp_path: Path, capsys: Output) -> None:
    events = [(f"u{n % 9}", item, n, 5.0) for n, item in enumerate(["Good, Bad", " x", "x", "y", "z"] * 9)]
    data = log(events)
    bundle.write(tmp_path / "b", recipe.read("classic").fit(data, seed=0), data, seed=0)
    response = recommended(capsys, tmp_path / "b", "--history", '"Good, Bad"', "--history", " x")
    assert response["history"] == 2
    assert {line["item_id"] for line in response["items"]} == {"x", "y", "z"}
    assert pasand("recommend", tmp_path / "b", "--history", "Good, Bad") == 2
    assert "one with a comma in double quotes" in " ".join(capsys.readouterr().err.split())
    assert pasand("explain", tmp_path / "b", "--item", "x", "--history", '"Good, Bad"') == 0
