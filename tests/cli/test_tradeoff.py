"""pasand tradeoff from the command line: tables, JSON, the page, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pasand.cli.tradeoff import numbers
from pasand.errors import InputError
from tests.audit.test_tradeoff import MMR, PLAIN, SOUTH
from tests.cli.test_commands import Output, pasand

WORLD = "bollywood:n_users=100,days=40,studios=8"


def test_a_tradeoff_is_printed_and_written(tmp_path: Path, capsys: Output) -> None:
    policy, bundle = tmp_path / "recipe.toml", tmp_path / "bundle"
    policy.write_text(PLAIN + SOUTH + MMR)
    assert pasand("fit", WORLD, "--recipe", policy, "--until", "0.8", "--out", bundle) == 0
    capsys.readouterr()
    out, report = tmp_path / "tradeoff.json", tmp_path / "tradeoff.html"
    arguments = ("tradeoff", bundle, WORLD, "--user-groups", "gender", "--item-groups", "language")
    chosen = ("--policy", "south", "--strengths", "0.5,0.2")
    assert pasand(*arguments, *chosen, "--json", out, "--report", report) == 0
    printed = capsys.readouterr().out
    assert "south: fairness by max_share" in printed
    assert "What is free" in printed
    (curve,) = json.loads(out.read_text())["curves"]
    assert [point["value"] for point in curve["points"]] == [0.5, 0.2]
    assert "<svg" in report.read_text()
    assert pasand(*arguments, *chosen, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["k"] == 10
    assert pasand("tradeoff", bundle, WORLD, "--policy", "north") == 2
    assert "use one of: south, mmr" in capsys.readouterr().err
    assert pasand("tradeoff", bundle, WORLD, "--policy", "mmr", "--strengths", "strong") == 2
    assert "'strong' is wrong: not a number. Cure: write --strengths 0.1,0.2,0.4" in capsys.readouterr().err


def test_numbers_are_read() -> None:
    assert numbers(None) == []
    with pytest.raises(InputError, match="'x' is wrong: not a number"):
        numbers("1,x")
