"""Tuning of recipes: options of tables are searched, and unchanged components are reused with the same results."""

from __future__ import annotations

from pathlib import Path

import pytest

from pasand import recipe
from pasand.errors import InputError
from pasand.evaluation.compare import evaluate_entry
from pasand.evaluation.protocols import protocol
from pasand.evaluation.search_space import Choices, TunableRecipe
from pasand.evaluation.tune import tune
from pasand.models.classical.content import Content
from pasand.models.classical.ials import IALS
from tests.cli.test_commands import pasand
from tests.evaluation.logs import counting
from tests.logs import tastes

WEIGHTED = recipe.read("weighted").text
HYBRIDS = ("weighted", "fusion", "switching", "cascade", "meta")


def test_only_changed_components_are_fitted_again() -> None:
    grid: dict[str, Choices] = {"blend.weights": [(1.0, 3.0), (3.0, 1.0)], "factors.dimensions": [4, 8]}
    fitted: list[str] = []

    with counting(Content, fitted), counting(IALS, fitted):
        found = tune(tastes(), TunableRecipe("weighted", WEIGHTED), grid, protocol("temporal"), metric="ndcg@10")
    assert (fitted.count("Content"), fitted.count("IALS")) == (1 + 1, 2 + 1)  # the search, then the test
    assert [trial.hyperparameters["factors.dimensions"] for trial in found.trials] == [4, 8, 4, 8]
    for trial in found.trials:
        alone = evaluate_entry(
            TunableRecipe("alone", WEIGHTED).entry(trial.hyperparameters), [found.inner], ["ndcg@10"], 0
        )
        assert alone.evaluation.overall["ndcg@10"].mean == trial.validation["ndcg@10"].mean
    assert found.best.validation["ndcg@10"].mean == max(trial.validation["ndcg@10"].mean for trial in found.trials)


def test_a_setting_takes_the_type_of_the_option() -> None:
    searched = TunableRecipe("weighted", WEIGHTED)
    assert searched.parse_setting("blend.weights=1,3/2,2") == ("blend.weights", [(1.0, 3.0), (2.0, 2.0)])
    assert searched.parse_setting("factors.dimensions=4,8") == ("factors.dimensions", [4, 8])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("blend.heights=1", "heights"), ("mix.weights=1", "no such table"), ("weights=1", "no such table")],
)
def test_unknown_options_are_named(setting: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        TunableRecipe("weighted", WEIGHTED).parse_setting(setting)


def test_rejected_values_are_named_before_fitting() -> None:
    with pytest.raises(InputError, match="above 0"):
        tune(
            tastes(),
            TunableRecipe("w", WEIGHTED),
            {"blend.weights": [(0.0, 1.0)]},
            protocol("temporal"),
            metric="ndcg@10",
        )


@pytest.mark.parametrize("name", HYBRIDS)
def test_a_changed_recipe_is_the_recipe_with_that_change(name: str) -> None:
    text = recipe.read(name).text
    same = recipe.build(recipe.with_options(text, {}))
    assert same.digests == recipe.build(text).digests
    other = recipe.build(recipe.with_options(text, {"factors.dimensions": 7}))
    assert other.components["factors"].dimensions == 7
    changed = {part for part in other.digests if other.digests[part] != same.digests[part]}
    assert {"factors", "recommender"} <= changed
    assert not {"content", "popular", "seen"} & changed


@pytest.mark.parametrize("name", [name for name in HYBRIDS if name != "meta"])
def test_hybrids_recommend(name: str) -> None:
    data = tastes()
    recommender = recipe.read(name).fit(data, seed=0).recommender
    queries = data.queries(data.users.rows(["u000", "u001"]), k=5)
    found = recommender(queries)
    assert found.items.shape == (2, 5)
    assert (found.items >= 0).all()
    assert (found.items[:, 0] % 3).tolist() == [0, 1]  # of their own taste, of which two items are left


def test_weights_and_min_history_are_tuned_in_one_run() -> None:
    tables = recipe.tables(recipe.read("switching").text)
    tables["blend"] = {"class": "pasand.stages.blending:Blend", "models": ["@content", "@factors"]}
    tables["switch"]["warm"] = "@blend"
    order = [*dict.fromkeys(["blend" if name == "switch" else name for name in tables if name != "blend"])]
    order.insert(order.index("blend") + 1, "switch")
    text = recipe.dump({name: tables[name] for name in order})
    grid: dict[str, Choices] = {"blend.weights": [(1.0, 3.0), (3.0, 1.0)], "switch.min_history": [2, 6]}
    fitted: list[str] = []
    with counting(Content, fitted), counting(IALS, fitted):
        found = tune(tastes(), TunableRecipe("both", text), grid, protocol("temporal"), metric="ndcg@10")
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
    expected, out = command.split()[1:], tmp_path / "tuned.toml"
    expected[expected.index("LOG")] = "bollywood:n_users=60"
    assert pasand(*expected, "--write", out) == 0
    option = expected[expected.index("--grid") + 1].partition("=")[0]
    table, _, name = option.partition(".")
    assert name in recipe.tables(out.read_text())[table]


def test_recipes_document_their_tuning() -> None:
    assert {command.split()[4] for command in COMMANDS} >= {"weighted", "switching", "cascade"}
