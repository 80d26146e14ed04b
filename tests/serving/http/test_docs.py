"""docs/serving.md: every curl command and the Python code of the page, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.sources import load
from tests.cli.test_commands import pasand
from tests.serving.conftest import Served, serving

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
KEY = "writing-0123456789abcdef"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


LINES = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the two bundles of the page, the working directory of the tests."""
    folder, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    data = load("bollywood", impressions="none")
    bundle.write(folder / "bundle", recipe.read("linear").fit(data, seed=0), data, seed=0)
    other = recipe.build(default_recipe.of_model("popularity", {}))
    bundle.write(folder / "bundle2", other.fit(data, seed=0), data, seed=0)
    (folder / "keys").touch(0o600)
    (folder / "keys").write_text(f"write {KEY}\n")
    os.chdir(folder)
    yield folder
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
    """Return the output of a shell command; a curl in it that gets a status of 400 or more fails."""
    assert ADDRESS in line
    line = line.replace(ADDRESS, served.url).replace("bundle-state", str(served.folder / "state"))
    script = f'set -o pipefail; curl() {{ command curl --fail-with-body "$@"; }}\n{line}'
    process = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "KEY": KEY})
    assert process.returncode == 0, f"{line}\n{process.stdout}{process.stderr}"
    return process.stdout


def test_every_curl_command_is_in_a_shell_block() -> None:
    assert len(LINES) > 30
    assert sum("curl -s" in line for line in PAGE.splitlines()) == len(LINES)
    assert all("curl -s" in line for line in LINES)


@pytest.mark.parametrize("line", LINES)
def test_curl_commands_succeed(line: str, plain: Served, request: pytest.FixtureRequest) -> None:
    follows = {"rollback": "admin/reload", "items/the-sequel": "-X PUT"}  # lines that another process may have tested
    for end, before in follows.items():
        if end in line and before not in line:
            run(next(one for one in LINES if before in one), plain)
    output = run(line, request.getfixturevalue("guarded") if "$KEY" in line else plain)
    if "/metrics" in line:
        assert "pasand_request_seconds_count" in output
        names = re.findall(r"`(pasand_\w+)", PAGE)
        assert {name for name in names if f"# TYPE {name.removesuffix('_total')}" not in output} == set()
        return
    response = json.loads(output)
    assert response
    for each in (response, *response.get("responses", [])):
        if "request_id" in each:
            assert each["items"]


def test_filters_allow_and_deny_narrow_the_list(plain: Served) -> None:
    where = "http://127.0.0.1:8000/v1/recommend --json"
    filtered, allowed, denied = (json.loads(run(line, plain)) for line in LINES if where in line and _narrows(line))
    features = [plain.request("GET", f"/v1/items/{each['item_id']}")["features"] for each in filtered["items"]]
    assert {each["language"] for each in features} == {"Tamil", "Telugu"}
    assert min(each["year"] for each in features) >= 2000
    assert {each["item_id"] for each in allowed["items"]} <= {"PK", "Sholay", "Dangal"}
    assert "3 Idiots" not in {each["item_id"] for each in denied["items"]}


def _narrows(line: str) -> bool:
    return any(word in line for word in ('"filters"', '"allow"', '"deny"'))


def test_python(plain: Served, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = blocks("python")
    assert ADDRESS in code
    exec(compile(code.replace(ADDRESS, plain.url), "docs/serving.md", "exec"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2", "3", "4", "5"]


def test_impressions_become_a_table(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Path("bundle"), tmp_path) as served:
        response = served.request("POST", "/v1/recommend", json={"user_id": "newcomer", "k": 3})
        event = {
            "user_id": "newcomer",
            "item_id": response["items"][1]["item_id"],
            "request_id": response["request_id"],
        }
        served.request("POST", "/v1/events", json=event)
    monkeypatch.chdir(tmp_path)
    Path("bundle-state").symlink_to("state")
    _, code = blocks("python")
    exec(compile(code, "docs/serving.md", "exec"), {})
    table = pl.read_parquet("shown.parquet")
    assert table.select("user", "position", "clicked").rows() == [
        ("newcomer", 1, False),
        ("newcomer", 2, True),
        ("newcomer", 3, False),
    ]
    assert pasand("data", "check", "bollywood", "--impressions", "shown.parquet", "--json", "report.json") == 0
    assert json.loads(Path("report.json").read_text())["impressions"]["clicked"] == pytest.approx(1 / 3)


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
    options = set().union(*known.values())
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= options
