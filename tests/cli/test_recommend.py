"""Bundles asked from the command line: newcomers, what they tell of themselves, and new items."""

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
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from tests.cli.test_commands import Output, pasand
from tests.logs import tastes

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

[ladder]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_tower", "@from_popular"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@ladder"
"""


def data() -> Dataset:
    """Return a log of three tastes, where users tell a language, interests, an age, and a portrait."""
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


def answer(capsys: Output, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert pasand("recommend", *arguments, "--json", "-") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def of_group(told: dict[str, Any], group: int) -> int:
    """Count the first five that are of a group; the items of group g are those whose number leaves g over 3."""
    return sum(int(line["item_id"][1:]) % 3 == group for line in told["items"][:5])


def test_a_newcomer_is_answered_from_the_history(deep: Path, capsys: Output) -> None:
    for group in range(3):
        history = ",".join(f"i{group + 3 * n:03}" for n in range(4))
        told = answer(capsys, deep, "--history", history)
        assert told["known"] is False
        assert of_group(told, group) == 5


@pytest.mark.parametrize(
    "option", ["language={}", "likes={}", "age={}", "portrait={}"], ids=["category", "bag", "number", "vector"]
)
def test_a_newcomer_is_answered_from_what_is_told(deep: Path, capsys: Output, option: str) -> None:
    words = {
        "language={}": LANGUAGES,
        "likes={}": ("ab|bc", "bc|ca", "ca|ab"),
        "age={}": ("20", "21", "22"),
        "portrait={}": ("1 0 0", "0 1 0", "0 0 1"),
    }
    right = sum(of_group(answer(capsys, deep, "--feature", option.format(w)), g) for g, w in enumerate(words[option]))
    assert right >= 10


def test_parts_of_a_bag_may_come_one_by_one(deep: Path, capsys: Output) -> None:
    together = answer(capsys, deep, "--feature", "likes=ab|bc")
    assert together == answer(capsys, deep, "--feature", "likes=ab", "--feature", "likes=bc")
    assert together != answer(capsys, deep, "--feature", "likes=ca")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (["city=Pune"], "no such feature of users. Cure: choose from: language, likes, age, portrait"),
        (["language=Klingon"], "no such language in the bundle. Cure: choose from: Bengali, Hindi, Tamil"),
        (["age=old"], "age is of kind number, which cannot be read from that"),
        (["language=Hindi", "language=Tamil"], "language was given before"),
        (["portrait=1 0"], "its vectors have 2 numbers, and had 3"),
        (["language"], "not of the form NAME=VALUE"),
    ],
)
def test_what_cannot_be_told_is_refused(deep: Path, capsys: Output, told: list[str], message: str) -> None:
    assert pasand("recommend", deep, *(part for text in told for part in ("--feature", text))) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_more_than_the_catalogue_is_all_of_it(deep: Path, capsys: Output) -> None:
    told = answer(capsys, deep, "-k", "1000", "--history", "i000,i001")
    assert sorted(line["item_id"] for line in told["items"]) == [f"i{n:03}" for n in range(2, 30)]
    assert pasand("recommend", deep, "-k", "1000") == 0
    assert "only 30 items" in capsys.readouterr().out


def test_a_history_longer_than_the_models_is_read_to_its_end(deep: Path, capsys: Output) -> None:
    long = ",".join(["i000"] * 300 + [f"i{1 + 3 * n:03}" for n in range(8)] * 10)
    assert of_group(answer(capsys, deep, "--history", long), 1) >= 2


def test_models_that_cannot_say_why_do_not_pretend_to(deep: Path, capsys: Output) -> None:
    told = answer(capsys, deep, "--why", "--history", "i000")
    assert not any("reason" in line for line in told["items"])
    assert pasand("recommend", deep, "--why", "--history", "i000") == 0
    assert "no model of this bundle can say why" in capsys.readouterr().out


ITEMS = "item,group,title,director\nnew a,a,Film new,somebody\nnew ?,z,,somebody\nnew b,b,Another,somebody\n"


def test_new_items_are_tried_from_a_table(deep: Path, tmp_path: Path, capsys: Output) -> None:
    table = tmp_path / "items.csv"
    table.write_text(ITEMS)
    told = answer(capsys, deep, "--add", table, "-k", "100", "--history", "i000,i003")
    assert len(told["items"]) >= 28
    assert answer(capsys, deep, "--add", table, "--history", "new a,new ?,i000")["history"] == 3
    assert "new a" not in [line["item_id"] for line in answer(capsys, deep, "-k", "100")["items"]]


def test_what_is_not_known_of_new_items_is_said_once(
    deep: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Output
) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    answer(capsys, deep, "--add", tmp_path / "items.csv")
    assert [record.getMessage() for record in caplog.records] == [
        "left out, since the data have no such item features: director",
        "not known of the new items, since the data have no such group: z",
        "no model has a vector for 1 of 3 new items, so they will not be recommended",
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("item,group\ni003,a\nnew,b\n", "'i003'"),
        ("item,group\n", "header but no rows"),
        ("", "empty"),
    ],
)
def test_a_table_that_holds_no_new_items_is_refused(
    deep: Path, tmp_path: Path, capsys: Output, table: str, message: str
) -> None:
    (tmp_path / "items.csv").write_text(table)
    assert pasand("recommend", deep, "--add", tmp_path / "items.csv") == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_items_are_added_to_a_bundle_for_good(deep: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    assert pasand("add", deep, tmp_path / "items.csv", "--out", tmp_path / "more") == 0
    assert "3 items added, 33 in all" in " ".join(capsys.readouterr().out.split())
    now = answer(capsys, deep, "--add", tmp_path / "items.csv", "-k", "100", "--history", "i000")
    assert answer(capsys, tmp_path / "more", "-k", "100", "--history", "i000") == now
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
def test_a_deep_bundle_is_asked_and_extended_without_torch(deep: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "items.csv").write_text(ITEMS)
    arguments: list[str | Path] = [command, deep, "--add", tmp_path / "items.csv", "--history", "i000", "--why"]
    if command == "add":
        arguments = [command, deep, tmp_path / "items.csv", "--out", tmp_path / "more"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
