"""Tuning a recipe: options of tables, components that do not change fitted once, the same figures as without reuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from pasand import recipe
from pasand.errors import InputError
from pasand.evaluation.compare import run
from pasand.evaluation.protocols import protocol
from pasand.evaluation.tune import Choices, OfRecipe, tune
from pasand.models.classical.content import Content
from pasand.models.classical.ials import IALS
from tests.cli.test_commands import pasand
from tests.evaluation.logs import counting
from tests.logs import tastes

WEIGHTED = recipe.read("weighted").text
HYBRIDS = ("weighted", "fusion", "switching", "cascade", "meta")


def test_only_what_changes_is_fitted_again() -> None:
    grid: dict[str, Choices] = {"blend.weights": [(1.0, 3.0), (3.0, 1.0)], "factors.dimensions": [4, 8]}
    fitted: list[str] = []

    with counting(Content, fitted), counting(IALS, fitted):
        found = tune(tastes(), OfRecipe("weighted", WEIGHTED), grid, protocol("temporal"), metric="ndcg@10")
    assert (fitted.count("Content"), fitted.count("IALS")) == (1 + 1, 2 + 1)  # the search, then the test
    assert [trial.hyperparameters["factors.dimensions"] for trial in found.trials] == [4, 8, 4, 8]
    for trial in found.trials:
        alone = run(OfRecipe("alone", WEIGHTED).entry(trial.hyperparameters), [found.inner], ["ndcg@10"], 0)
        assert alone.evaluation.overall["ndcg@10"].mean == trial.validation["ndcg@10"].mean
    assert found.best.validation["ndcg@10"].mean == max(trial.validation["ndcg@10"].mean for trial in found.trials)


def test_a_setting_takes_the_type_of_the_option() -> None:
    searched = OfRecipe("weighted", WEIGHTED)
    assert searched.parsed("blend.weights=1,3/2,2") == ("blend.weights", [(1.0, 3.0), (2.0, 2.0)])
    assert searched.parsed("factors.dimensions=4,8") == ("factors.dimensions", [4, 8])


@pytest.mark.parametrize(
    ("setting", "told"),
    [("blend.heights=1", "heights"), ("mix.weights=1", "no such table"), ("weights=1", "no such table")],
)
def test_what_is_not_there_is_named(setting: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        OfRecipe("weighted", WEIGHTED).parsed(setting)


def test_a_value_that_is_refused_is_named_before_anything_is_fitted() -> None:
    with pytest.raises(InputError, match="above 0"):
        tune(tastes(), OfRecipe("w", WEIGHTED), {"blend.weights": [(0.0, 1.0)]}, protocol("temporal"), metric="ndcg@10")


@pytest.mark.parametrize("name", HYBRIDS)
def test_a_changed_recipe_is_the_recipe_with_that_change(name: str) -> None:
    text = recipe.read(name).text
    same = recipe.build(recipe.changed(text, {}))
    assert same.digests == recipe.build(text).digests
    other = recipe.build(recipe.changed(text, {"factors.dimensions": 7}))
    assert other.components["factors"].dimensions == 7
    changed = {part for part in other.digests if other.digests[part] != same.digests[part]}
    assert {"factors", "recommender"} <= changed
    assert not {"content", "popular", "seen"} & changed


@pytest.mark.parametrize("name", [name for name in HYBRIDS if name != "meta"])
def test_hybrids_answer(name: str) -> None:
    data = tastes()
    recommender = recipe.read(name).fit(data, seed=0).recommender
    queries = data.queries(data.users.rows(["u000", "u001"]), k=5)
    found = recommender(queries)
    assert found.items.shape == (2, 5)
    assert (found.items >= 0).all()
    assert (found.items[:, 0] % 3).tolist() == [0, 1]  # of their own taste, of which two items are left


def test_weights_and_the_point_of_switching_are_tuned_in_one_run() -> None:
    tables = recipe.tables(recipe.read("switching").text)
    tables["blend"] = {"class": "pasand.stages.blending:Blend", "models": ["@content", "@factors"]}
    tables["switch"]["known"] = "@blend"
    order = [*dict.fromkeys(["blend" if name == "switch" else name for name in tables if name != "blend"])]
    order.insert(order.index("blend") + 1, "switch")
    text = recipe.written({name: tables[name] for name in order})
    grid: dict[str, Choices] = {"blend.weights": [(1.0, 3.0), (3.0, 1.0)], "switch.least": [2, 6]}
    fitted: list[str] = []
    with counting(Content, fitted), counting(IALS, fitted):
        found = tune(tastes(), OfRecipe("both", text), grid, protocol("temporal"), metric="ndcg@10")
    assert sorted(fitted) == ["Content", "Content", "IALS", "IALS"]
    tried = [tuple(trial.hyperparameters.values()) for trial in found.trials]
    assert tried == [((1.0, 3.0), 2), ((1.0, 3.0), 6), ((3.0, 1.0), 2), ((3.0, 1.0), 6)]


COMMANDS = [
    line.removeprefix("# ")
    for name in recipe.packaged()
    for line in recipe.read(name).text.splitlines()
    if line.startswith("# pasand ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_the_comments_of_recipes_work(command: str, tmp_path: Path) -> None:
    told, out = command.split()[1:], tmp_path / "tuned.toml"
    told[told.index("LOG")] = "bollywood:n_users=60"
    assert pasand(*told, "--write", out) == 0
    option = told[told.index("--grid") + 1].partition("=")[0]
    table, _, name = option.partition(".")
    assert name in recipe.tables(out.read_text())[table]


def test_recipes_tell_how_they_are_tuned() -> None:
    assert {command.split()[4] for command in COMMANDS} >= {"weighted", "switching", "cascade"}
