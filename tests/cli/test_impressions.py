"""The option --impressions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import Output, pasand

EVENTS = "user,item,time,rating\n" + "".join(f"u{n % 7},i{n % 11},{100 + n},{3 + n % 3}\n" for n in range(80))
SHOWN = "user,item,time,position,hit\n" + "".join(
    f"u{n % 7},i{n % 12},{100 + n},{1 + n % 2},{int(n % 3 == 0)}\n" for n in range(80)
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    events, shown = tmp_path / "events.csv", tmp_path / "shown.csv"
    events.write_text(EVENTS)
    shown.write_text(SHOWN)
    return events, shown


def test_data_check_reports_impressions(files: tuple[Path, Path], capsys: Output) -> None:
    events, shown = files
    told = ("--impressions", shown, "--column", "impressions.taken=hit")
    assert pasand("data", "check", events, *told, "--json", "-") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["shown"]["impressions"] == 80
    assert report["shown"]["taken"] == pytest.approx(27 / 80)
    assert report["shown"]["taken_by_position"] == {"1": pytest.approx(14 / 40), "2": pytest.approx(13 / 40)}
    assert report["items"] == 12, "one item was only shown"
    assert pasand("data", "check", events, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["shown"] is None


def test_compare_and_fit_take_impressions(files: tuple[Path, Path], tmp_path: Path, capsys: Output) -> None:
    events, shown = files
    told = ("--impressions", shown, "--column", "impressions.taken=hit")
    assert pasand("compare", events, "--models", "item_knn", *told) == 0
    assert "impressions: 80, 33.8% taken" in capsys.readouterr().out
    assert pasand("fit", events, "--model", "item_knn", "--out", tmp_path / "bundle", *told) == 0
    assert pasand("recommend", tmp_path / "bundle", "--user", "u1", "--json", "-") == 0


def test_names_of_columns_need_a_table(files: tuple[Path, Path], capsys: Output) -> None:
    assert pasand("compare", files[0], "--column", "impressions.taken=hit") != 0
    assert "--impressions FILE" in " ".join(capsys.readouterr().err.split())
    assert pasand("compare", files[0], "--impressions", files[1]) != 0
    assert "impressions.taken=NAME" in " ".join(capsys.readouterr().err.split())
