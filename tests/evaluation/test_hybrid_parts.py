"""Hybrids compared with their parts: what the parts are, what they share, and which is better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand import recipe
from pasand.evaluation.compare import Entry, baselines, compare
from pasand.evaluation.contenders import contenders
from pasand.evaluation.hybrid_parts import compare_with_parts, parts, reachable
from pasand.evaluation.protocols import protocol
from pasand.evaluation.recipe_entries import ComponentCache
from pasand.models.classical.content import Content
from pasand.models.classical.ials import IALS
from pasand.models.towers.two_tower import TwoTower
from pasand.stages.retrieval import Fallback, FromModel
from tests.cli.test_commands import Output, pasand
from tests.evaluation.logs import counting
from tests.logs import tastes

BOTH = ["content: Content", "factors: IALS"]
PARTS = {
    "weighted": BOTH,
    "switching": BOTH,
    "fusion": BOTH,
    "cascade": BOTH,
    "meta": [*BOTH, "recent: Popularity", "popular: Popularity", "meta without stages"],
    "augmented": ["content: Content", "tower: TwoTower"],
    "classic": ["items: ItemKNN", "factors: IALS"],
    "youtube": ["tower: YouTube", "ranking: YouTubeRanking"],
    "best": [
        "tower: SASRec",
        "factors: IALS",
        "items: ItemKNN",
        "recent: Popularity",
        "popular: Popularity",
        "best without stages",
    ],
    "two_tower": [],
    "textbook": [],
}


def read(name: str) -> str:
    return recipe.read(name).text


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_the_base_models(name: str) -> None:
    assert list(parts(name, read(name))) == PARTS[name]


def test_a_part_keeps_the_filters_and_the_fallbacks_of_the_recipe() -> None:
    found = recipe.build(parts("weighted", read("weighted"))["factors: IALS"])
    fallback_chain = found.recommender.retriever
    assert isinstance(fallback_chain, Fallback)
    assert all(isinstance(retriever, FromModel) for retriever in fallback_chain.retrievers)
    named = {name: part for name, part in found.components.items() if name in ("factors", "recent", "popular")}
    assert [getattr(retriever, "model", None) for retriever in fallback_chain.retrievers] == list(named.values())
    assert list(found.recommender.filters) == [found.components["seen"]]
    assert "content" not in found.components
    before = recipe.build(parts("meta", read("meta"))["meta without stages"])
    assert "trees" not in before.components
    assert (before.recommender.n_candidates, list(before.recommender.stages)) == (200, [])


def test_shared_components_are_fitted_once_with_the_same_results() -> None:
    fitted: list[str] = []

    names = ["weighted", "switching", "cascade"]
    with counting(Content, fitted), counting(IALS, fitted):
        found = compare(tastes(), contenders(tastes(), names, parts=True), protocol("temporal"))
    assert sorted(fitted) == ["Content", "IALS"]
    worth = {result.name: result.evaluation.overall["ndcg@10"].mean for result in found.results}
    assert set(worth) == {*names, *BOTH, *(baseline.name for baseline in baselines())}
    for name in names:
        alone = compare(tastes(), contenders(tastes(), [name]), protocol("temporal"))
        assert next(one for one in alone.results if one.name == name).evaluation.overall["ndcg@10"].mean == worth[name]
    seconds = {result.name: result.fit_seconds for result in found.results}
    assert seconds["cascade"] >= max(seconds["content: Content"], seconds["factors: IALS"])


def test_owned_components_are_not_shared() -> None:
    text = recipe.with_options(read("augmented"), {"tower.epochs": 1, "content.dimensions": 4})
    cache, data = ComponentCache(), tastes()
    augmented, _ = cache.fitted(text, data)
    plain, _ = cache.fitted(recipe.with_options(read("two_tower"), {"tower.epochs": 1}), data)
    wider, _ = cache.fitted(recipe.with_options(text, {"content.dimensions": 8}), data)
    towers = [assembly.components["tower"] for assembly in (augmented, plain, wider)]
    assert len({id(tower) for tower in towers}) == 3
    for assembly, tower in zip((augmented, plain, wider), towers, strict=True):
        assert assembly.components["from_tower"].model is tower
    assert plain.components["recent"] is augmented.components["recent"]
    assert isinstance(towers[0], TwoTower)
    assert "content" in augmented.components["augmented"].name
    other, reused_seconds = cache.fitted(text, tastes(seed=1))
    assert (reused_seconds, other.components["recent"] is augmented.components["recent"]) == (0, False)


def test_different_parts_of_the_same_name_are_labelled_by_recipe() -> None:
    found = contenders(tastes(), ["classic", "best", "weighted"], parts=True)
    by_name = {one.name: one for one in found}
    assert len(by_name) == len(found)
    assert by_name["classic"].parts == ("items: ItemKNN", "factors: IALS")
    assert by_name["best"].parts[:3] == ("tower: SASRec", "factors: IALS", "items: ItemKNN (best)")
    assert by_name["weighted"].parts == ("content: Content", "factors: IALS")


def test_a_hybrid_is_compared_with_the_best_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.random(200), rng.random(200) + 0.3
    values = {
        "low": low,
        "high": high,
        "good": high + 0.2 * rng.random(200),
        "bad": high - 0.2 * rng.random(200),
        "alone": low,
    }
    values["high"] = np.where(np.arange(200) < 3, np.nan, high)
    every = {"good": ("low", "high"), "bad": ("low", "high"), "alone": (), "absent": ("low",), "lost": ("gone",)}
    good, bad = compare_with_parts(values, every, seed=0)
    assert (good.name, good.best_part, good.parts, good.verdict) == ("good", "high", ("low", "high"), "better")
    assert good.comparison.difference.mean == pytest.approx((values["good"] - high)[3:].mean())
    assert good.comparison.test.n_users == 197
    assert (bad.best_part, bad.verdict) == ("high", "worse")
    assert bad.comparison.difference.low < bad.comparison.difference.mean < bad.comparison.difference.high < 0
    (same,) = compare_with_parts({"a": low, "b": low}, {"a": ("b",)}, seed=0)
    assert same.verdict == "not shown"
    assert compare_with_parts({"a": low}, {"a": ()}, seed=0) == []
    output = json.loads(json.dumps(good.as_json(), allow_nan=False))
    assert (output["reference"], output["parts"], output["verdict"]) == ("high", ["low", "high"], "better")


def test_reachable_tables() -> None:
    tables: dict[str, dict[str, Any]] = {"a": {"x": ["@b", 1]}, "b": {"y": "@c"}, "c": {"z": "c"}, "d": {"y": "@a"}}
    assert reachable(tables, ["a"]) == {"a", "b", "c"}


def test_one_command_shows_hybrids_beside_their_parts(tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "out.json"
    arguments = ["--models", "weighted,switching", "--parts", "--set", "weighted.blend.weights=1,3", "--json", out]
    assert pasand("compare", "bollywood:n_users=60", *arguments) == 0
    output = json.loads(out.read_text())
    names = {model["name"] for model in output["models"]}
    assert {"weighted", "switching", *BOTH} <= names
    assert [(one["name"], one["parts"]) for one in output["hybrids"]] == [("weighted", BOTH), ("switching", BOTH)]
    printed = capsys.readouterr().out
    assert "best of their parts" in printed
    changed = contenders(tastes(), ["weighted"], {"weighted.blend.weights": "1,3"})
    plain = contenders(tastes(), ["weighted"])
    assert isinstance(changed[0], Entry)
    assert changed[0].hyperparameters != plain[0].hyperparameters
    for wrong in ("weighted.blend.heights=1", "weighted.mix.weights=1,2", "switching.switch.min_history=2,3"):
        assert pasand("compare", "bollywood:n_users=60", "--models", "weighted,switching", "--set", wrong) == 2
