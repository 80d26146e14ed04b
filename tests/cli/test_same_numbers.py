"""The same events give bit for bit the same results of `pasand compare` in every format."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pasand.cli import main
from tests.logs import tastes
from tests.sources.test_sql import server as server

Output = pytest.CaptureFixture[str]
CREATE = "create table events (user_id text, item_id text, rating real, timestamp bigint)"


def events() -> pl.DataFrame:
    data = tastes()
    assert data.value is not None
    columns = {"user_id": data.users.ids(data.user), "item_id": data.items.ids(data.item)}
    return pl.DataFrame({**columns, "rating": data.value, "timestamp": data.time})


def results(capsys: Output, source: object, *arguments: str) -> Any:
    """Return the results of `pasand compare` on a source, without its name, times and memory."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main.run(["compare", str(source), "--models", "item_knn,ials,biased_mf", "--json", "-", *arguments])
    assert stopped.value.code == 0
    found = json.loads(capsys.readouterr().out)
    found["data"].pop("name")
    for model in found["models"]:
        for measured in ("fit_seconds", "evaluate_seconds", "peak_memory_mb"):
            model.pop(measured)
    found["verdict"] = re.sub(r"[\d.]+ s against [\d.]+ s to fit", "", found["verdict"])
    return found


@pytest.fixture
def expected(tmp_path: Path, capsys: Output) -> Any:
    events().write_csv(tmp_path / "events.csv")
    found = results(capsys, tmp_path / "events.csv")
    assert {model["name"] for model in found["models"]} > {"item_knn", "ials", "biased_mf"}
    assert all(0 < model["metrics"]["ndcg@10"]["mean"] < 1 for model in found["models"])
    return found


def test_files_of_every_format_and_sqlite(tmp_path: Path, capsys: Output, expected: Any) -> None:
    frame = events()
    frame.write_parquet(tmp_path / "events.parquet")
    frame.write_ndjson(tmp_path / "events.jsonl")
    frame.select("timestamp", "rating", "item_id", "user_id").write_csv(tmp_path / "turned.tsv", separator="\t")
    with closing(sqlite3.connect(tmp_path / "events.db")) as base, base:
        base.execute(CREATE)
        base.executemany("insert into events values (?, ?, ?, ?)", frame.rows())
    for name in ("events.parquet", "events.jsonl", "turned.tsv", "events.db"):
        assert results(capsys, tmp_path / name) == expected, name
    assert results(capsys, f"sqlite:///{tmp_path / 'events.db'}", "--query", "select * from events") == expected


def test_postgresql(server: str, capsys: Output, expected: Any) -> None:
    import psycopg

    with psycopg.connect(server) as connection:
        connection.execute(CREATE)
        connection.cursor().executemany("insert into events values (%s, %s, %s, %s)", events().rows())
    assert results(capsys, server, "--query", "events") == expected
