"""The page about serving: every line of curl on it, and its Python, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pasand import bundle, recipe
from pasand.sources import load
from tests.cli.test_commands import pasand
from tests.serving.conftest import Served, serving

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
KEY = "writing-0123456789abcdef"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


LINES = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the bundle of the page and another one, in which the test stands."""
    place, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    data = load("bollywood", impressions="none")
    bundle.write(place / "bundle", recipe.read("linear").fit(data, seed=0), data, seed=0)
    other = recipe.build(recipe.of_model("popularity", {}))
    bundle.write(place / "bundle2", other.fit(data, seed=0), data, seed=0)
    (place / "keys").write_text(f"write {KEY}\n")
    os.chdir(place)
    yield place
    os.chdir(before)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Served]:
    with serving(Path("bundle"), folder / "plain") as served:
        yield served


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Served]:
    with serving(Path("bundle"), folder / "guarded", "--keys", "keys") as served:
        yield served


def run(line: str, served: Served) -> str:
    """Return what a line of shell prints; a curl of it that gets a status of 400 or more fails."""
    assert ADDRESS in line
    script = 'set -o pipefail; curl() { command curl --fail-with-body "$@"; }\n' + line.replace(ADDRESS, served.url)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "KEY": KEY})
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_curl_is_among_the_lines() -> None:
    assert len(LINES) > 30
    assert sum("curl -s" in line for line in PAGE.splitlines()) == len(LINES)
    assert all("curl -s" in line for line in LINES)


@pytest.mark.parametrize("line", LINES)
def test_lines_of_curl(line: str, plain: Served, request: pytest.FixtureRequest) -> None:
    told = run(line, request.getfixturevalue("guarded") if "$KEY" in line else plain)
    if "/metrics" in line:
        assert "pasand_request_seconds_count" in told
        names = re.findall(r"`(pasand_\w+)", PAGE)
        assert {name for name in names if f"# TYPE {name.removesuffix('_total')}" not in told} == set()
        return
    answer = json.loads(told)
    assert answer
    for one in (answer, *answer.get("answers", [])):
        if "request_id" in one:
            assert one["items"]


def test_lines_do_what_they_say(plain: Served) -> None:
    where = "http://127.0.0.1:8000/v1/recommend -d"
    filtered, allowed, denied = (json.loads(run(line, plain)) for line in LINES if where in line and _narrows(line))
    features = [plain.ask("GET", f"/v1/items/{one['item']}")["features"] for one in filtered["items"]]
    assert {one["language"] for one in features} == {"Tamil", "Telugu"}
    assert min(one["year"] for one in features) >= 2000
    assert {one["item"] for one in allowed["items"]} <= {"PK", "Sholay", "Dangal"}
    assert "3 Idiots" not in {one["item"] for one in denied["items"]}


def _narrows(line: str) -> bool:
    return any(word in line for word in ('"filters"', '"allow"', '"deny"'))


def test_python(plain: Served, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = blocks("python")
    assert ADDRESS in code
    exec(compile(code.replace(ADDRESS, plain.url), "docs/serving.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2", "3", "4", "5"]


def test_impressions_become_a_table(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Path("bundle"), tmp_path) as served:
        answer = served.ask("POST", "/v1/recommend", json={"user": "someone", "k": 3})
        event = {"user": "someone", "item": answer["items"][1]["item"], "request_id": answer["request_id"]}
        served.ask("POST", "/v1/events", json=event)
    monkeypatch.chdir(tmp_path)
    Path("pasand-state").symlink_to("state")
    _, code = blocks("python")
    exec(compile(code, "docs/serving.md", "exec"), {})
    table = pl.read_parquet("shown.parquet")
    assert table.select("user", "position", "clicked").rows() == [
        ("someone", 1, False),
        ("someone", 2, True),
        ("someone", 3, False),
    ]
    assert pasand("data", "check", "bollywood", "--impressions", "shown.parquet", "--json", "report.json") == 0
    assert json.loads(Path("report.json").read_text())["shown"]["clicked"] == pytest.approx(1 / 3)


def test_options_are_those_of_the_commands() -> None:
    from typer.main import get_command

    from pasand.cli.main import application

    commands = get_command(application()).commands  # type: ignore[attr-defined]
    known = {
        name: {option for parameter in commands[name].params for option in [*parameter.opts, *parameter.secondary_opts]}
        for name in ("serve", "refresh", "fit")
    }
    for name, rest in re.findall(r"pasand (serve|refresh|fit) ([^\n`]*)", PAGE):
        assert set(re.findall(r"--[a-z-]+", rest)) <= known[name], rest
    every = set().union(*known.values())
    told = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert told <= every
