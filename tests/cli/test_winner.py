"""What won is what is fitted: `compare --out`, `fit --like` and the printed commands; and the quality to expect."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pasand import bundle as bundles
from pasand.default_recipe import of_configured
from pasand.errors import InputError
from pasand.evaluation import winner
from pasand.models.classical.ease import EASE
from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.popularity import Popularity
from pasand.recipe import build
from tests.cli.test_commands import Output, pasand
from tests.cli.test_commands import log as log

KNN, CHANGED = "item_knn", ("--models", "item_knn", "--set", "item_knn.neighbours=7")


@pytest.fixture(scope="module")
def compared(log: Path) -> Path:
    """Return a folder with the results and the bundle of a comparison."""
    folder = log.parent / "compared"
    folder.mkdir()
    assert pasand("compare", log, *CHANGED, "--json", folder / "r.json", "--out", folder / "bundle") == 0
    return folder


def printed_command(output: str, bundle: Path) -> list[str]:
    """Return the words after `fit it: pasand`, with this folder for the bundle."""
    line = next(line for line in output.splitlines() if line.startswith("fit it: pasand "))
    words = shlex.split(line.removeprefix("fit it: pasand "))
    words[words.index("bundle")] = str(bundle)
    return words


def test_compare_saves_what_won_with_its_settings_and_its_quality(compared: Path) -> None:
    results = json.loads((compared / "r.json").read_text())
    best = results["models"][0]
    assert best["name"] == KNN
    saved = bundles.read(compared / "bundle")
    assert saved.assembly.text == best["recipe"]
    assert saved.assembly.components["model"].neighbours == 7
    kept = saved.manifest["quality"]
    assert (kept["name"], kept["verdict"], kept["compared"]) == (KNN, "better", len(results["models"]))
    assert kept["low"] < kept["mean"] == best["metrics"]["ndcg@10"]["mean"] < kept["high"]
    assert results["verdict"].startswith("item_knn is best (ndcg@10 ")


def test_fit_like_a_report_fits_the_same_bundle(log: Path, compared: Path, tmp_path: Path, capsys: Output) -> None:
    assert pasand("fit", log, "--like", compared / "r.json", "--out", tmp_path / "again") == 0
    output = capsys.readouterr().out
    assert "item_knn: expect ndcg@10 " in output
    assert "which flatters it a little" in output
    assert bundles.read(tmp_path / "again").digest == bundles.read(compared / "bundle").digest
    less = tmp_path / "less.csv"
    less.write_text("".join(log.read_text().splitlines(keepends=True)[:-9]))
    assert pasand("fit", less, "--like", compared / "r.json", "--out", tmp_path / "less") == 0
    assert "warning: the report is about other data" in capsys.readouterr().out


def test_fit_estimates_the_quality_on_later_events(log: Path, compared: Path, tmp_path: Path, capsys: Output) -> None:
    options = ("--model", "item_knn", "--set", "neighbours=7", "--out", tmp_path / "own")
    assert pasand("fit", log, *options) == 0
    estimated = bundles.read(tmp_path / "own").manifest["quality"]
    of_comparison = bundles.read(compared / "bundle").manifest["quality"]
    assert estimated["mean"] == of_comparison["mean"]
    assert estimated["compared"] == 1
    assert "flatters" not in capsys.readouterr().out
    assert pasand("fit", log, *options, "--no-quality") == 0
    assert "--quality" in capsys.readouterr().out
    assert "quality" not in bundles.read(tmp_path / "own").manifest


def test_the_printed_command_of_tune_fits_what_won(log: Path, tmp_path: Path, capsys: Output) -> None:
    assert pasand("tune", log, "--model", "ease", "--grid", "l2=10,1000", "--seed", 3) == 0
    output = capsys.readouterr().out
    assert "best of 2: l2=" in output
    words = printed_command(output, tmp_path / "bundle")
    assert pasand(*words, "--no-quality") == 0
    l2 = float(next(word for word in words if word.startswith("l2=")).removeprefix("l2="))
    saved = bundles.read(tmp_path / "bundle")
    assert saved.assembly.components["model"].l2 == l2
    assert saved.manifest["seed"] == 3


def test_the_printed_command_of_compare_fits_what_won(log: Path, tmp_path: Path, capsys: Output) -> None:
    assert pasand("compare", log, *CHANGED, "--seed", 3) == 0
    words = printed_command(capsys.readouterr().out, tmp_path / "bundle")
    assert pasand(*words, "--no-quality") == 0
    saved = bundles.read(tmp_path / "bundle")
    assert saved.assembly.components["model"].neighbours == 7
    assert saved.manifest["seed"] == 3
    recipe = tmp_path / "own recipe.toml"
    recipe.write_text(of_configured("model", ItemKNN(neighbours=9)))
    assert pasand("compare", log, "--models", recipe) == 0
    words = printed_command(capsys.readouterr().out, tmp_path / "again")
    assert pasand(*words, "--no-quality") == 0
    assert bundles.read(tmp_path / "again").assembly.components["model"].neighbours == 9


def test_what_no_option_of_fit_makes_is_fitted_by_the_comparison(log: Path, tmp_path: Path, capsys: Output) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(of_configured("model", ItemKNN(neighbours=9)))
    changed = ("compare", log, "--models", recipe, "--set", "own.model.neighbours=7")
    assert pasand(*changed) == 0
    output = capsys.readouterr().out
    assert "fit it: " not in output
    assert "to fit it, add to this command: --out bundle" in output
    assert pasand(*changed, "--out", tmp_path / "bundle") == 0
    assert bundles.read(tmp_path / "bundle").assembly.components["model"].neighbours == 7


def result(name: str, mean: float, verdict: str | None) -> dict[str, object]:
    return {
        "name": name,
        "role": "contender" if verdict else "baseline",
        "metrics": {"ndcg@10": {"mean": mean, "low": mean / 2, "high": 2 * mean}},
        "against_popularity": {"verdict": verdict} if verdict else None,
        "recipe": f"# {name}",
    }


def report(verdict: str) -> dict[str, object]:
    contender, baseline = result("ease", 0.2, verdict), result("popularity_7_days", 0.3, None)
    return {
        "complete": True,
        "main_metric": "ndcg@10",
        "best_baseline": "popularity_7_days",
        "protocol": "temporal",
        "data": {"name": "log", "fingerprint": "f", "test_users": {"overall": 10}},
        "models": [contender, baseline],
    }


@pytest.mark.parametrize(
    ("verdict", "name"), [("better", "ease"), ("not shown", "ease"), ("worse", "popularity_7_days")]
)
def test_popularity_wins_where_no_model_is_as_good(verdict: str, name: str) -> None:
    assert winner.winner(report(verdict)).name == name


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"complete": False}, "stopped before its end"),
        ({"models": []}, "no comparison as JSON"),
        ({"main_metric": "map@5"}, "no comparison as JSON"),
        ({"models": [result("ease", 1, "better") | {"recipe": ""}, result("popularity_7_days", 1, None)]}, "no recipe"),
    ],
)
def test_a_report_that_names_no_recipe_is_refused(change: dict[str, object], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        winner.winner(report("better") | change)


def test_a_page_is_no_report_to_fit(tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("<!doctype html>")
    with pytest.raises(InputError, match=r"a report to look at.*--json report\.json"):
        winner.read(tmp_path / "r.html")


def test_the_recipe_of_a_configured_model_builds_it_again() -> None:
    for model in (EASE(l2=3.0), Popularity(window_days=7), EASE()):
        assert build(of_configured("model", model)).components["model"] == model
