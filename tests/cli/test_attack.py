"""`pasand attack`, and what `pasand data check` and `--robust` make of the log that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.attacks.market import market, rare_item
from tests.cli.test_commands import Output, pasand


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = market()
    table = pl.DataFrame({"user": data.users.ids(data.user), "item": data.items.ids(data.item)})
    file = tmp_path_factory.mktemp("attack") / "log.csv"
    table.with_columns(pl.Series("rating", data.value), pl.Series("timestamp", data.time)).write_csv(file)
    return file


@pytest.fixture(scope="module")
def attacked(log_file: Path) -> tuple[Path, str, dict[str, Any]]:
    """Return the attacked log, its target, and the JSON of the command."""
    out, written = log_file.with_name("attacked.csv"), log_file.with_name("shift.json")
    target = market().items.ids([rare_item(market())])[0]
    words = f"--model popularity --target {target} --share 0.05 --filler 0.1 --robust --out {out} --json {written}"
    assert pasand("attack", log_file, *words.split()) == 0
    return out, target, json.loads(written.read_text())


def test_the_attacked_log_is_the_log_and_the_profiles(log_file: Path, attacked: tuple[Path, str, object]) -> None:
    before, after = pl.read_csv(log_file), pl.read_csv(attacked[0])
    kept = after.filter(~pl.col("user").str.starts_with("attacker-"))
    assert kept.equals(before)
    assert after.filter(pl.col("user").str.starts_with("attacker-"))["user"].n_unique() == 15


def test_the_gain_is_reported(attacked: tuple[Path, str, dict[str, Any]]) -> None:
    (model,) = attacked[2]["models"]
    assert model["model"] == "popularity"
    assert model["targets"][0]["target"] == attacked[1]
    assert model["rank"]["mean"] > 20
    assert model["cut"]["mean"] > 0.8


def test_the_attack_is_found(attacked: tuple[Path, str, object], capsys: Output) -> None:
    file = attacked[0].with_name("report.json")
    assert pasand("data", "check", attacked[0], "--json", file) == 0
    printed = capsys.readouterr().out
    assert "items that seem to be pushed by fake profiles 1" in printed
    assert f"{attacked[1]}: " in printed
    assert "attacker-0000" in printed
    (item,) = json.loads(file.read_text())["attacks"]["items"]
    assert item["item"] == attacked[1]
    assert np.mean([profile.startswith("attacker-") for profile in item["profiles"]]) > 0.9


def test_the_manifest_names_what_counts_less(
    attacked: tuple[Path, str, object], tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "bundle"
    assert pasand("fit", attacked[0], "--model", "popularity", "--robust", "--out", out) == 0
    assert "none is deleted" in " ".join(capsys.readouterr().err.split())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["robust"]["down_weighted_events"] > 0
    assert manifest["robust"]["items"][0]["item"] == attacked[1]
    assert manifest["robust"]["models_without_weights"] == []
    assert manifest["data"]["events"] == len(pl.read_csv(attacked[0]))


def test_a_comparison_states_its_training_weights(
    attacked: tuple[Path, str, object], tmp_path: Path, capsys: Output
) -> None:
    file = tmp_path / "comparison.json"
    words = "--models user_knn --robust --protocol leave-last-out --json"
    assert pasand("compare", attacked[0], *words.split(), file) == 0
    printed = capsys.readouterr()
    assert "count every event fully: UserKNN" in " ".join(printed.err.split())
    assert "none is deleted" in json.loads(file.read_text())["rules"]["training weights"]


@pytest.mark.parametrize(
    ("words", "cause", "cure"),
    [
        ("--kind nuke", "no such kind of attack", "write one of random"),
        ("--share 0", "above 0", "write --share 0.05"),
        ("--filler nan", "above 0", "write --filler 0.05"),
        ("--target nothing", "no such item", "name an id, such as i0"),
        ("--targets 200", "only ", "--target ID"),
        ("--target i0001 --target i0002 --out x.csv", "one target", "give --target once"),
    ],
)
def test_bad_input_is_refused_with_a_cure(log_file: Path, words: str, cause: str, cure: str, capsys: Output) -> None:
    assert pasand("attack", log_file, "--model", "popularity", *words.split()) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert cause in printed
    assert cure in printed
