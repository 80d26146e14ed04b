"""Exploration over real HTTP: exact propensities up to the evaluation, retries, and the documented round trip."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from pasand import bundle, recipe
from pasand.cli.main import run
from pasand.serving.logs.attribution import attribute
from pasand.serving.logs.segments import log_files
from pasand.serving.states import open_state
from pasand.sources import load
from pasand.sources.decision_tables import decisions
from tests.serving.conftest import serving
from tests.serving.recipes import CONTENT

DOCUMENT = Path(__file__).parents[2] / "docs" / "off_policy.md"
POLICY = """
[[policy]]
name = "Tamil"
where = { language = "Tamil" }
min_count = 2
max_count = 3

[[policy]]
kind = "explore"
slots = [2, 4]
method = "thompson"
features = ["language"]
pool = 30
uniform = 0.5
"""


def call(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(arguments)
    assert stopped.value.code == 0


def test_propensities_are_exact_from_the_response_to_the_evaluation(tmp_path: Path) -> None:
    data = load("bollywood:n_users=150,days=30", impressions="none")
    text = CONTENT.format(days=30) + POLICY
    bundle.write(tmp_path / "bundle", recipe.build(text).fit(data, seed=0), data, seed=0)
    users = data.users.ids(range(30))
    with serving(tmp_path / "bundle", tmp_path / "service") as served:
        asked = [{"user_id": user, "k": 6, "request_id": f"r{n}"} for n, user in enumerate(users)]
        lists = [served.request("POST", "/v1/recommend", json=one) for one in asked]
        again = served.request("POST", "/v1/recommend", json={"requests": asked})["responses"]
        assert again == lists
        other = [served.request("POST", "/v1/recommend", json=one | {"request_id": "x"})["items"] for one in asked]
        assert sum(a["items"] != b for a, b in zip(lists, other, strict=True)) > 20
        plain = served.request("POST", "/v1/recommend", json={"user_id": users[0], "k": 6})
        assert plain["request_id"] not in ("", "x")
    expected = {}
    for response in lists:
        items = response["items"]
        drawn = [item for item in items if item["propensity"] < 1]
        assert {item["rank"] for item in drawn} <= {2, 4}
        assert all(item["slot_propensity"] == 1 for item in items if item["rank"] not in (2, 4))
        assert response["list_propensity"] == math.prod(item["propensity"] for item in items)
        assert not response["notes"]
        rows = data.items.rows([item["item_id"] for item in items])
        assert 2 <= sum(data.item_features["language"].show(int(row)) == "Tamil" for row in rows) <= 3
        for item in items:
            expected[response["request_id"], item["item_id"]] = item["propensity"], item["slot_propensity"]
    assert min(p for p, _ in expected.values()) < 0.5
    shown = tmp_path / "shown.parquet"
    attribute(tmp_path / "service" / "state" / "impressions", [], shown)
    table = pl.read_parquet(shown).filter(pl.col("request_id").str.starts_with("r"))
    assert table["propensity"].dtype == table["slot_propensity"].dtype == pl.Float64
    table.write_parquet(shown)
    log = decisions(str(shown))
    assert len(log) == len(expected)
    assert any(note.startswith(f"{len(log)} rows dropped: the item is in the list twice") for note in log.notes)
    assert log.slot_propensity is not None
    found = zip(log.propensity.tolist(), log.slot_propensity.tolist(), strict=True)
    keys = zip((f"r{users.index(log.users[u])}" for u in log.user) if log.users else (), log.item.tolist(), strict=True)
    assert {(request, log.items[item]): values for (request, item), values in zip(keys, found, strict=True)} == expected


def test_the_documented_round_trip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = DOCUMENT.read_text().partition("## The round trip")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["toml", "console", "python", "python", "console"]
    monkeypatch.chdir(tmp_path)
    Path("exploring.toml").write_text(blocks[0][1])
    Path("softmax.toml").write_text(blocks[0][1].replace('"uniform"', '"softmax"'))
    commands = [shlex.split(line)[2:] for kind, block in blocks if kind == "console" for line in block.splitlines()]
    fit, serve, fit_other, ope, serve_other = commands
    call(fit)
    with serving(Path(serve[1]), tmp_path) as served:
        exec(blocks[2][1].replace("http://127.0.0.1:8000", served.url), {})
    exec(blocks[3][1], {})
    call(fit_other)
    capsys.readouterr()
    call(ope)
    assert "softmax - exploring" in capsys.readouterr().out
    other, own = json.loads(Path("values.json").read_text())["values"]
    assert own["status"] == "ok"
    assert other["status"] in ("ok", "wide")  # the counts that softmax draws by depend on how fast events arrive
    # an event may have been counted a little later than its second
    assert own["diagnosis"]["mean_weight"] == pytest.approx(1, abs=0.1)
    assert own["usual"]["mean"] == pytest.approx(own["logged"]["mean"], rel=0.1)
    lists = pl.concat([pl.read_parquet(path) for path in log_files(Path("state/impressions"))])
    assert lists["request_id"].n_unique() == 450
    with serving(Path(serve_other[1]), tmp_path) as served:
        response = served.request("POST", "/v1/recommend", json={"user_id": "user 00001", "k": 5})
        assert 0 < response["list_propensity"] < 1
    state = open_state("state/state.sqlite")
    assert state.last() > 100
    state.close()
