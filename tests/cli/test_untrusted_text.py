"""Ids, titles and file names are printed literally by every command: no markup, no escape sequences, no crash."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from unittest.mock import patch

import pytest
from rich.text import Text

from pasand.cli import console, main
from tests.logs import tastes

Output = pytest.CaptureFixture[str]
STRANGE = ["[/]", "[bold]b", "[red]c", ":smile:", "\u202ee", "f,g", 'h "i"', "[/nonsense]"]
"""Ids that a terminal or a markup parser would act on; those with control characters are dropped from logs."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def pasand(*arguments: object) -> int:
    with patch.dict(os.environ), pytest.raises(SystemExit) as stopped:  # `serve` sets numbers of threads there
        main.run([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of strange ids and titles in a folder and a file with strange names, and a bundle of it."""
    data = tastes()
    folder = tmp_path_factory.mktemp("strange") / "a["
    folder.mkdir()
    users = [STRANGE[i] if i < len(STRANGE) else f"u{i}" for i in range(data.n_users)]
    items = [STRANGE[i] if i < len(STRANGE) else f"i{i}" for i in range(data.n_items)]
    with (folder / "]\x1b[2J log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating", "timestamp"])
        assert data.value is not None
        for u, i, value, time in zip(data.user, data.item, data.value.tolist(), data.time.tolist(), strict=True):
            writer.writerow([users[u], items[i], value, time])
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "title", "group"])
        writer.writerows(
            [item, f"[/]\x1b]0;title\x07 {n}", "[red]" if n % 2 else "\x1b[1m"] for n, item in enumerate(items)
        )
    assert pasand("fit", log_of(folder), "--recipe", "classic", "--out", folder / "]bundle") == 0
    return folder


def log_of(folder: Path) -> Path:
    return next(folder.glob("*log.csv"))


COMMANDS = [
    ["compare", "LOG", "--models", "item_knn,content"],
    ["tune", "LOG", "--model", "item_knn", "--grid", "neighbours=2,3"],
    ["tune", "LOG", "--recipe", "[/]own.toml", "--grid", "popular.window_days=3,9"],
    ["data", "check", "LOG"],
    ["fit", "LOG", "--model", "item_knn", "--out", "[/]other"],
    ["recommend", "BUNDLE", "--user", "[/]", "--why"],
    ["recommend", "BUNDLE", "--user", "\x1b[2J new", "--history", "[/]", "--history", '"f,g",:smile:', "--why"],
    ["recommend", "BUNDLE", "--history", "\x1b[2Jz"],
    ["recommend", "[/]\x1b[2J"],
    ["explain", "BUNDLE", "--user", "[/]", "--item", "[red]c"],
    ["explain", "BUNDLE", "--user", "[bold]b", "--item", "[/nonsense]", "--history", "\u202ee"],
    ["explain", "BUNDLE", "--user", "[/]", "--item", "[/]\x1b"],
    ["add", "BUNDLE", "NEW", "--out", "[/]\x1b[2J extended"],
    ["compare", "[/]\x1b[2J.csv"],
    ["refresh", "BUNDLE", "--folder", "[/]\x1b[2J", "--once"],
    ["serve", "[/]\x1b[2J"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:2]))
def test_untrusted_text_is_printed_literally(
    folder: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[").mkdir()
    (tmp_path / "[" / "]own.toml").write_text(
        '[popular]\nclass = "pasand.models.classical.popularity:Popularity"\n'
        '[retriever]\nclass = "pasand.stages.retrieval:FromModel"\nmodel = "@popular"\n'
        '[recommender]\nclass = "pasand.recommender:Recommender"\nretriever = "@retriever"\n'
    )
    (tmp_path / "new.csv").write_text("item,title,group\n[/]\x1b[2Jnew,[/]\x1b,[red]\n")
    places = {"LOG": str(log_of(folder)), "BUNDLE": str(folder / "]bundle"), "NEW": str(tmp_path / "new.csv")}
    capsys.readouterr()
    code = pasand(*[places.get(word, word) for word in arguments])
    printed = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in printed.err
    assert not CONTROL.search(printed.out + printed.err), repr(printed.out + printed.err)
    assert "[/" in printed.out + printed.err or "\\x1b" in printed.out + printed.err


def test_json_on_standard_output_holds_the_ids_and_no_control_characters(folder: Path, capsys: Output) -> None:
    capsys.readouterr()
    assert pasand("recommend", folder / "]bundle", "-k", "30", "--json", "-") == 0
    printed = capsys.readouterr().out
    assert not CONTROL.search(printed)
    assert set(STRANGE) <= {line["item_id"] for line in json.loads(printed)["items"]}


def test_names_that_are_not_text_are_printed() -> None:
    strange = "log\udcff\r.csv"
    with console.output.capture() as captured:
        console.output.print(strange, Text(strange, style="bold"))
    captured.get().encode()
    assert "\\udcff" in captured.get()
