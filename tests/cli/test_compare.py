"""`pasand compare` and `fit --like` where there are few test queries or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import Output, pasand

REPEATS = "31 of 40 test events are repeats of items that their user already had: they are no test queries"


@pytest.fixture(scope="module")
def one_user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of one user with 200 positive events, whose last 40 hold 9 new items."""
    items = [i % 50 for i in range(191)] + list(range(100, 109))
    file = tmp_path_factory.mktemp("one") / "one.csv"
    rows = "".join(f"7,{item},{1_700_000_000 + 600 * i}\n" for i, item in enumerate(items))
    file.write_text("user_id,item_id,timestamp\n" + rows)
    return file


def test_without_a_test_query_the_cause_is_printed_and_nothing_is_fitted(
    one_user: Path, tmp_path: Path, capsys: Output
) -> None:
    report = tmp_path / "r.json"
    assert pasand("compare", one_user, "--models", "item_knn", "--json", report) == 0
    output = capsys.readouterr().out
    assert REPEATS in output
    assert "There is no test query, so no model is best: of 40 test events, 31 are repeats" in output
    assert "choose --protocol leave-last-out" in output
    assert "nan" not in output
    assert "fit it:" not in output
    for command in (("fit", one_user, "--like", report), ("compare", one_user, "--models", "item_knn")):
        assert pasand(*command, "--out", tmp_path / "bundle") == 2
        assert "no model is best" in capsys.readouterr().err
        assert not (tmp_path / "bundle").exists()
    assert pasand("compare", one_user, "--models", "item_knn", "--protocol", "leave-last-out") == 0


def test_without_a_test_query_fit_writes_no_quality(one_user: Path, tmp_path: Path, capsys: Output) -> None:
    assert pasand("fit", one_user, "--model", "item_knn", "--out", tmp_path / "bundle") == 0
    output = capsys.readouterr().out
    assert "quality not estimated: one.csv: There is no test query" in output
    assert "--protocol" not in output
    manifest = (tmp_path / "bundle" / "manifest.json").read_text()
    assert "NaN" not in manifest
    assert "quality" not in json.loads(manifest)
