"""pasand audit from the command line: fit to the earlier part, audit on the later one, and the cure as typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from pasand.cli.fit import earlier
from pasand.errors import InputError
from tests.cli.test_commands import Output, pasand
from tests.logs import tastes

WORLD = "bollywood:n_users=150,days=40,studios=8"


def test_a_bundle_of_everything_is_refused_and_the_cure_works_as_typed(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pasand("fit", WORLD, "--model", "popularity", "--out", "whole") == 0
    capsys.readouterr()
    assert pasand("audit", "whole", WORLD) == 2
    error = capsys.readouterr().err
    commands = error.split("Cure: fit to the earlier part first: ")[1].rstrip(".\n").split(" && ")
    for command in commands:
        assert pasand(*shlex.split(command)[1:]) == 0
    printed = capsys.readouterr().out
    assert "tests show a difference" in printed
    assert "city_tier: tier 1" in printed


def test_an_audit_is_written_as_json_and_as_a_page(tmp_path: Path, capsys: Output) -> None:
    bundle, out, report = tmp_path / "bundle", tmp_path / "audit.json", tmp_path / "audit.html"
    assert pasand("fit", WORLD, "--model", "item_knn", "--until", "2025-02-01", "--out", bundle) == 0
    groups = (
        "--user-groups",
        "city_tier,gender,language",
        "--item-groups",
        "language,studio_age,price_band,popularity",
    )
    assert pasand("audit", bundle, WORLD, *groups, "--json", out, "--report", report) == 0
    found = json.loads(out.read_text())
    assert {finding["attribute"] for finding in found["sections"][1]["findings"]} == {
        "language", "studio_age", "price_band", "popularity",
    }  # fmt: skip
    assert "Law and standards" in report.read_text()
    capsys.readouterr()
    assert pasand("audit", bundle, WORLD, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["k"] == 10
    assert pasand("audit", bundle, WORLD, "--item-groups", "seller_age") == 2
    assert "use one of: year, minutes, language" in capsys.readouterr().err


def test_rounds_are_simulated_for_a_world_and_refused_for_another_log(tmp_path: Path, capsys: Output) -> None:
    bundle, log = tmp_path / "bundle", tmp_path / "log.csv"
    assert pasand("fit", WORLD, "--model", "popularity", "--until", "0.8", "--out", bundle) == 0
    assert pasand("audit", bundle, WORLD, "--rounds", "2", "--json", tmp_path / "audit.json") == 0
    sections = json.loads((tmp_path / "audit.json").read_text())["sections"]
    assert "drift" in [section["name"] for section in sections]
    data = tastes()
    rows = zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True)
    log.write_text("user,item,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))
    assert pasand("fit", log, "--model", "popularity", "--until", "0.8", "--out", bundle) == 0
    capsys.readouterr()
    assert pasand("audit", bundle, log, "--rounds", "2") == 2
    assert "--rounds" in (error := capsys.readouterr().err)
    assert "leave --rounds out" in error


def test_a_fit_until_a_share_is_the_train_part_of_the_protocol() -> None:
    data = tastes()
    assert len(earlier(data, "0.75")) == int(0.75 * len(data))
    time = str(np.datetime64(int(data.time[100]), "s"))
    kept = earlier(data, time)
    assert len(kept) == 100
    assert (kept.n_users, kept.n_items) == (data.n_users, data.n_items)


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("1.5", "between 0 and 1"),
        ("soon", "write --until 0.8 or --until 2025-03-31"),
        ("1970-01-01", "no event is before"),
    ],
)
def test_a_wrong_cut_is_refused(until: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        earlier(tastes(), until)
