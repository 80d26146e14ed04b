"""pasand simulate from the command line: tables, JSON, the page, resuming, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pasand.closed_loop.simulate import LABEL
from pasand.progress import Listener, listening
from tests.cli.test_commands import Output, pasand
from tests.closed_loop.test_simulate import POPULAR, RANDOM

SMALL = ("--users", "40", "--items", "40", "--studios", "10", "--rounds", "3", "--warm-days", "10", "--seeds", "2")


@pytest.fixture
def recipes(tmp_path: Path) -> list[str]:
    for one in (POPULAR, RANDOM):
        (tmp_path / f"{one.name}.toml").write_text(one.text)
    return [word for one in (POPULAR, RANDOM) for word in ("--recipe", str(tmp_path / f"{one.name}.toml"))]


def test_loops_are_printed_and_written(tmp_path: Path, recipes: list[str], capsys: Output) -> None:
    out, page = tmp_path / "loops.json", tmp_path / "loops.html"
    assert pasand("simulate", *recipes, *SMALL, "--json", out, "--out", page) == 0
    printed = capsys.readouterr()
    assert "What the loop of popular does" in printed.out
    assert "What random changes, compared with popular" in printed.out
    assert "memory needed about" in printed.err
    found = json.loads(out.read_text())
    assert found["complete"] is True
    assert found["recipes"] == ["popular", "random"]
    assert len(found["rounds"]["random"]["Gini of exposure"]) == 3
    assert "<svg" in page.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"loops.json", "loops.html", "popular.toml", "random.toml"}
    assert pasand("simulate", *recipes, *SMALL, "--json", "-") == 0
    again = json.loads(capsys.readouterr().out)
    assert again == found


def test_ctrl_c_keeps_what_is_done_and_the_same_command_resumes(
    tmp_path: Path, recipes: list[str], capsys: Output
) -> None:
    def interrupting(at: int) -> Listener:
        def interrupt(label: str, done: int, _: int | None) -> None:
            if label == LABEL and done == at:
                raise KeyboardInterrupt

        return interrupt

    out = tmp_path / "loops.json"
    arguments = ("simulate", *recipes, *SMALL, "--json", out)
    for at, written in ((4, False), (10, True)):
        with listening(interrupting(at)):
            assert pasand(*arguments) == 130
        assert "stopped" in capsys.readouterr().err
        assert out.exists() == written
    assert json.loads(out.read_text())["complete"] is False
    assert json.loads(out.read_text())["seeds"] == [0]
    assert pasand(*arguments) == 0
    assert "resuming from the finished runs in" in capsys.readouterr().err.replace("\n", " ")
    assert json.loads(out.read_text())["complete"] is True
    assert not (tmp_path / "loops.json.training").exists()


def test_the_marketplace_is_simulated(recipes: list[str], capsys: Output) -> None:
    arguments = ("--world", "market", "--encode", "description=tfidf")
    assert pasand("simulate", *recipes[:2], *SMALL, "--seeds", "1", *arguments) == 0
    printed = capsys.readouterr().out
    assert "Films are products here, studios sellers, and viewers buyers." in printed
    assert "What the loop of popular does" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--users", "1"], "error --users: 1 is wrong: n_users must be at least 2"),
        (
            ["--world", "mars"],
            "error --world: 'mars' is wrong: there is no such world. Cure: choose bollywood or market",
        ),
        (["--world", "market", "--users", "1"], "error --users: 1 is wrong: n_users must be at least 2"),
        (["--world", "market", "--studios", "0"], "error --studios: 0 is wrong: n_studios must be at least 2"),
        (["--rounds", "0"], "error --rounds: 0 is wrong: rounds must be at least 1"),
        (["--round-days", "0"], "error --round-days: 0 is wrong"),
        (["--recipe", "nope"], "'nope' is wrong: no such file or recipe. Cure: give a TOML file or one of: augmented,"),
        (["--out", "missing/page.html"], "missing/page.html: its folder does not exist"),
        (["--users", "2000000000"], "too large for this machine"),
    ],
)
def test_wrong_input_is_refused_by_name_before_the_work(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pasand("simulate", *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
