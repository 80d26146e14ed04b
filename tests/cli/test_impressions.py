"""The option --impressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.models.classical.item_knn import ItemKNN
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
    options = ("--impressions", shown, "--column", "impressions.clicked=hit")
    assert pasand("data", "check", events, *options, "--json", "-") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["impressions"]["impressions"] == 80
    assert report["impressions"]["clicked"] == pytest.approx(27 / 80)
    assert report["impressions"]["clicks_by_position"] == {"1": pytest.approx(14 / 40), "2": pytest.approx(13 / 40)}
    assert report["items"] == 12, "one item occurs in the impressions only"
    assert pasand("data", "check", events, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["impressions"] is None


def test_compare_and_fit_read_impressions(files: tuple[Path, Path], tmp_path: Path, capsys: Output) -> None:
    events, shown = files
    options = ("--impressions", shown, "--column", "impressions.clicked=hit")
    assert pasand("compare", events, "--models", "item_knn", *options) == 0
    assert "impressions: 80, 33.8% clicked" in capsys.readouterr().out
    assert pasand("fit", events, "--model", "item_knn", "--out", tmp_path / "bundle", *options) == 0
    assert pasand("recommend", tmp_path / "bundle", "--user", "u1", "--json", "-") == 0


@pytest.mark.parametrize("protocol", ["temporal", "leave-last-out"])
def test_tune_splits_impressions_with_the_events(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    events, shown = files
    learnt: list[Dataset] = []
    fit = ItemKNN.fit

    def recorded(self: ItemKNN, data: Dataset, *, rng: np.random.Generator) -> ItemKNN:
        learnt.append(data)
        return fit(self, data, rng=rng)

    monkeypatch.setattr(ItemKNN, "fit", recorded)
    options = ("--impressions", shown, "--column", "impressions.clicked=hit", "--protocol", protocol)
    assert pasand("tune", events, "--model", "item_knn", "--grid", "neighbours=2,3", *options) == 0
    first, second, outer = learnt
    for data in learnt:
        assert data.impressions is not None
        last = np.zeros(data.n_users, np.int64)
        np.maximum.at(last, data.user, data.time)
        # users u0 to u6 take turns, one event per second, so the held-out part of each begins 7 s after the last event
        assert (data.impressions.time < last[data.impressions.user] + 7).all()
    assert first.fingerprint == second.fingerprint
    assert first.impressions is not None
    assert outer.impressions is not None
    assert 0 < len(first.impressions) < len(outer.impressions) < 80


def test_tune_lets_rankers_learn_from_impressions(files: tuple[Path, Path], capsys: Output) -> None:
    pytest.importorskip("torch")
    events, shown = files
    impressions = ("--impressions", shown, "--column", "impressions.clicked=hit")
    command = ("tune", events, "--model", "fm", "--grid", "epochs=1,2", "--grid", "patience=0", "--json", "-")

    def tuned(*options: object) -> dict[str, Any]:
        assert pasand(*command, *options) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    with_them, without = tuned(*impressions), tuned()
    assert with_them["data"]["fingerprint"] != without["data"]["fingerprint"]
    losses = [[trial["curves"]["train loss"] for trial in found["trials"]] for found in (with_them, without)]
    assert [len(curve) for curve in losses[0]] == [1, 2]
    assert losses[0] != losses[1], "labels are those of the impressions"
    assert tuned(*impressions[:2], "--impressions", "none")["trials"][0]["curves"] == without["trials"][0]["curves"]


def test_column_names_need_a_table(files: tuple[Path, Path], capsys: Output) -> None:
    assert pasand("compare", files[0], "--column", "impressions.clicked=hit") != 0
    assert "--impressions FILE" in " ".join(capsys.readouterr().err.split())
    assert pasand("compare", files[0], "--impressions", files[1]) != 0
    assert "impressions.clicked=NAME" in " ".join(capsys.readouterr().err.split())
