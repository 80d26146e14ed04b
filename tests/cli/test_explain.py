"""pasand explain on small real bundles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pasand.cli import explain
from tests.cli.test_commands import Output, pasand

TWO_STAGES = """
[items]
class = "pasand.models.classical.item_knn:ItemKNN"

[factors]
class = "pasand.models.classical.ials:IALS"
dimensions = 8

[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_items]
class = "pasand.stages.retrieval:FromModel"
model = "@items"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_items", "@from_popular"]

[ranking]
class = "pasand.stages.ranking:Rank"
model = "@factors"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
stages = ["@ranking"]
n_candidates = 40
"""
USER = "user 00001"


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classic") / "bundle"
    assert pasand("fit", "bollywood:n_users=60", "--recipe", "classic", "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staged")
    (folder / "two.toml").write_text(TWO_STAGES)
    assert pasand("fit", "bollywood:n_users=60", "--recipe", folder / "two.toml", "--out", folder / "bundle") == 0
    return folder / "bundle"


def results_of(capsys: Output, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert pasand(*arguments, "--json", "-") == 0
    results: dict[str, Any] = json.loads(capsys.readouterr().out)
    return results


@pytest.mark.parametrize("kind", ["classic", "staged"])
def test_the_rank_is_that_of_the_recommended_list(kind: str, request: pytest.FixtureRequest, capsys: Output) -> None:
    folder = request.getfixturevalue(kind)
    shown = results_of(capsys, "recommend", folder, "--user", USER, "--why")["items"]
    for line in (shown[0], shown[6]):
        found = results_of(capsys, "explain", folder, "--user", USER, "--item", line["item_id"])
        assert found["rank"] == line["rank"]
        assert [above["item_id"] for above in found["above"]] == [item["item_id"] for item in shown[: line["rank"] - 1]]
        assert found["steps"][-1]["rank"] == line["rank"]
        assert found["steps"][-1]["score"] == line["score"]
        assert [cause["item_id"] for cause in found["reason"]][:3] == [cause["item_id"] for cause in line["reason"]]
        assert any(source["proposed"] for source in found["sources"])
        assert found["excluded_by"] == []


def test_sources_have_the_names_of_the_recipe(classic: Path, capsys: Output) -> None:
    item = results_of(capsys, "recommend", classic, "--user", USER)["items"][0]["item_id"]
    sources = results_of(capsys, "explain", classic, "--user", USER, "--item", item)["sources"]
    assert [(source["name"], source["kind"], source["used"]) for source in sources] == [
        ("from_items", "ItemKNN", True),
        ("from_factors", "IALS", True),
        ("from_recent", "Popularity", False),
        ("from_popular", "Popularity", False),
    ]


def test_the_rank_before_and_after_a_stage(staged: Path, capsys: Output) -> None:
    shown = results_of(capsys, "recommend", staged, "--user", USER, "-k", 40)["items"]
    found = results_of(capsys, "explain", staged, "--user", USER, "--item", shown[14]["item_id"])
    assert found["rank"] is None
    assert [step["name"] for step in found["steps"]] == ["fallback", "ranking"]
    assert found["steps"][0]["rank"] == found["sources"][0]["rank"]
    assert found["steps"][1]["rank"] == 15
    assert len(found["above"]) == 10
    capsys.readouterr()
    assert pasand("explain", staged, "--user", USER, "--item", shown[14]["item_id"]) == 0
    printed = capsys.readouterr().out
    assert "not recommended: its rank is 15, and only 10 items are recommended" in printed
    assert "ranking (Rank)" in printed
    assert "15 of 40" in printed


def test_seen_items_are_excluded_also_for_new_users(classic: Path, capsys: Output) -> None:
    found = results_of(capsys, "explain", classic, "--history", "Lagaan,Swades", "--item", "Lagaan")
    assert (found["known"], found["excluded_by"], found["rank"]) == (False, ["seen"], None)
    other = results_of(capsys, "explain", classic, "--history", "Lagaan,Swades", "--item", "Don", "-k", 90)
    assert other["excluded_by"] == []
    assert {cause["item_id"] for cause in other["reason"]} <= {"Lagaan", "Swades"}
    assert pasand("explain", classic, "--history", "Lagaan,Swades", "--item", "Lagaan") == 0
    assert "excluded by seen" in capsys.readouterr().out


def test_an_anonymous_user_gets_popular_items(classic: Path, capsys: Output) -> None:
    found = results_of(capsys, "explain", classic, "--item", "Don", "-k", 90)
    assert found["reason"] == []
    assert {source["name"] for source in found["sources"] if source["proposed"]} <= {"from_recent", "from_popular"}
    assert pasand("explain", classic, "--item", "Don") == 0
    assert "no history item contributed to its score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", USER, "--item", "Kahani"], "--item: 'Kahani' is wrong: not an item of the bundle. Cure: did you"),
        (["--user", "user 0001", "--item", "Don"], "not a user of the bundle. Cure: did you mean user 00"),
        (["--user", USER, "--item", "zzzz9"], "Cure: give an id of the log"),
        (["--history", "Lagan", "--item", "Don"], "--history: 'Lagan' is wrong: not an item of the bundle"),
    ],
)
def test_errors_of_unknown_ids_name_near_matches(
    classic: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    assert pasand("explain", classic, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_unknown_user_may_have_a_history(classic: Path, capsys: Output) -> None:
    found = results_of(capsys, "explain", classic, "--user", "who", "--history", "Lagaan", "--item", "Don", "-k", 50)
    assert (found["user_id"], found["known"]) == ("who", False)


def test_near_matches_are_ids_with_their_titles(classic: Path) -> None:
    from pasand import bundle
    from pasand.errors import InputError

    data = bundle.read(classic).data
    with pytest.raises(InputError, match=r"did you mean Kahaani, "):
        explain.row_of(data.items, "Kahani", "--item", data)
