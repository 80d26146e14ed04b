"""docs/market.md: every command and the Python code of the page, in a small market."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pasand import recipe
from tests.cli.test_commands import Output, pasand
from tests.encoders.graphs import mean_colour

PAGE = (Path(__file__).parents[2] / "docs" / "market.md").read_text(encoding="utf-8")
SMALL = "market:n_users=60,n_items=60,n_sellers=15,days=42"
LOOP = "--users 30 --items 40 --studios 10 --rounds 2 --warm-days 21 --seeds 1"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


LINES = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files of the page and a tiny model of images, the working directory of the tests."""
    folder, before = tmp_path_factory.mktemp("market"), Path.cwd()
    os.chdir(folder)
    mean_colour(Path("tiny.onnx"))
    Path("new.csv").write_text(blocks("csv")[0])
    tables = recipe.tables(recipe.read("market").text)
    for name in ("tower", "ranking"):
        tables[name] |= {"epochs": 1, "patience": 0}
    Path("quick.toml").write_text(recipe.dump(tables))
    yield folder
    os.chdir(before)


def run(line: str) -> int:
    """Run a command of the page with a small market, one epoch and a tiny model of images."""
    line = re.sub(r"\bmarket:pictures=", f"{SMALL},pictures=", line).replace("image=image", "image=image:tiny.onnx")
    line = re.sub(r" check market$", f" check {SMALL}", line).replace("--recipe market", "--recipe quick.toml")
    name, *arguments = shlex.split(line + (f" {LOOP}" if "simulate" in line else ""))
    assert name == "pasand"
    return pasand(*arguments)


def test_commands_succeed_in_the_order_of_the_page(capsys: Output) -> None:
    assert len(LINES) == 7
    for line in LINES:
        if "fetch" in line:  # its package is not among those of the tests, which read a tiny model
            continue
        if "simulate" in line:
            continue
        assert run(line) == 0, f"{line}\n{capsys.readouterr().err}"
    printed = capsys.readouterr().out
    assert "lamp of today" in printed
    assert len(list(Path("pictures").iterdir())) == 60


def test_the_reference_is_the_recipe_without_content(capsys: Output) -> None:
    exec(compile(blocks("python")[0], "docs/market.md", "exec"), {})
    none = recipe.tables(Path("none.toml").read_text())
    assert none["tower"]["item_features"] == none["ranking"]["item_features"] == []
    assert set(recipe.tables(recipe.read("market").text)) - set(none) == {"similar"}
    for name in ("tower", "ranking"):
        none[name] |= {"epochs": 1, "patience": 0}
    Path("none.toml").write_text(recipe.dump(none))
    (line,) = (line for line in LINES if "simulate" in line)
    assert run(line) == 0, capsys.readouterr().err
    assert "What quick changes, compared with none" in capsys.readouterr().out
    assert Path("market.html").exists()


def test_the_true_value_is_printed(capsys: Output) -> None:
    code = blocks("python")[1]
    exec(compile(code, "docs/market.md", "exec"), {})
    assert 0.5 < float(capsys.readouterr().out) < 3
