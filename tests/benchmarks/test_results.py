"""The committed results: rows with a limit or a peer are comparable or have a reason, and the table has the former."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import names
from benchmarks.provenance import RESULTS
from benchmarks.rows import ROOT, Row
from benchmarks.tables import KEY, key_results, results, write

NAMES = set(names())


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_rows_are_comparable_or_have_a_reason(file: Path) -> None:
    assert file.stem in NAMES
    for row in json.loads(file.read_text())["rows"]:
        if row["limit"] is None and row["peer_value"] is None:
            continue
        assert row["comparable"] != bool(row.get("reason")), row["target"]


def test_the_table_has_the_comparable_rows_alone(tmp_path: Path) -> None:
    rows = [
        Row(target="shown", value=1.0, limit=2.0, better="higher", peer="other", peer_value=3.0, comparable=True),
        Row(target="another setting", value=1.0, limit=0.5, better="higher", reason="another setting"),
        Row(target="without a limit", value=1.0, limit=None, better="higher", comparable=True, synthetic=True),
        Row(target="for information", value=1.0, limit=None, better="higher"),
    ]
    assert all(row.is_marked for row in rows)
    (tmp_path / "some.json").write_text(json.dumps({"rows": [row.as_json() for row in rows]}))
    assert results(tmp_path).splitlines()[2:] == [
        "| `some` | shown (other: 3) | 1 | 2 | **no** |",
        "| `some` | without a limit, synthetic data | 1 |  |  |",
    ]


def test_an_unmarked_row_shows() -> None:
    assert not Row(target="x", value=1.0, limit=1.0, better="lower").is_marked
    assert not Row(target="x", value=1.0, limit=1.0, better="lower", comparable=True, reason="why not").is_marked


def test_the_documents_have_the_tables() -> None:
    cure = "run python -m benchmarks --tables"
    assert f"{results()}\n" in (ROOT / "docs" / "benchmarks.md").read_text(), cure
    assert f"{key_results()}\n\n" in (ROOT / "README.md").read_text(), cure


def test_writing_replaces_the_tables_alone(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, table in (("docs/benchmarks.md", results()), ("README.md", key_results())):
        old = f"# Title\n\n{table.splitlines()[0]}\n|---|\n| old |\n\n## Next\n"
        (tmp_path / name).write_text(old)
    assert write(tmp_path) == [tmp_path / "docs" / "benchmarks.md", tmp_path / "README.md"]
    assert (tmp_path / "README.md").read_text() == f"# Title\n\n{key_results()}\n\n## Next\n"
    assert len(key_results().splitlines()) == 2 + len(KEY) == 12
