"""`pasand fit` on logs that cannot be split: the cause is printed, without options that fit does not have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import Output, pasand

HEAD = "user_id,item_id,timestamp\n"


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (
            [f"{user},{user + item},2024-01-05" for user in range(6) for item in range(4)],
            "24 events with the same time",
        ),
        (["1,2,2024-01-05"], "a single event"),
    ],
)
def test_only_the_cause_is_printed_where_the_quality_cannot_be_estimated(
    rows: list[str], cause: str, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "log.csv").write_text(HEAD + "\n".join(rows))
    assert pasand("fit", tmp_path / "log.csv", "--out", tmp_path / "bundle") == 0
    output = capsys.readouterr().out
    assert f"quality not estimated: log.csv: {cause} cannot be split in time.\n" in output
    assert "--protocol" not in output
    assert "quality" not in json.loads((tmp_path / "bundle" / "manifest.json").read_text())
