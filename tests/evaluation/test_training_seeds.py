"""Random models are fitted with several seeds and deterministic ones once; outputs show the spread and the versions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

import numpy as np
import pytest
from numpy.random import Generator

from pasand import recipe
from pasand.data.dataset import Dataset
from pasand.evaluation.compare import Comparison, Result, compare, evaluate_entry, model_entry
from pasand.evaluation.contenders import contenders
from pasand.evaluation.protocols.folds import Folds
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.recipe_entries import ComponentCache, recipe_entry
from pasand.evaluation.report import contents
from pasand.evaluation.report.html import render
from pasand.models.classical.random import Random
from pasand.recipe import has_drawn
from tests.evaluation.logs import ByRow, counting
from tests.evaluation.test_compare import tastes


@dataclass
class Shuffled(ByRow):
    """Scores items in the one or the other order, at random."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        self.backwards = bool(rng.integers(0, 2))
        return super().fit(data, rng=rng)


ENTRIES = [model_entry("shuffled", Shuffled()), model_entry("forwards", ByRow())]


FITTED: list[str] = []


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    with counting(ByRow, FITTED):
        return compare(tastes(), ENTRIES, Temporal(), ks=(2,), seed=3, n_seeds=5)


def test_random_models_are_fitted_with_every_seed_and_others_once(comparison: Comparison) -> None:
    assert len(FITTED) == 5 + 1
    seeds = {result.name: (result.is_random, result.seeds) for result in comparison.results}
    assert seeds["shuffled"] == (True, (3, 4, 5, 6, 7))
    assert seeds["forwards"] == seeds["popularity"] == (False, (3,))


def test_figures_are_means_over_seeds_and_the_spread_is_that_of_single_fits(comparison: Comparison) -> None:
    splits, names = comparison.splits, comparison.metrics
    single = [evaluate_entry(ENTRIES[0], splits, names, seed).evaluation.overall for seed in range(3, 8)]
    found = next(r for r in comparison.results if r.name == "shuffled").evaluation
    assert len({overall["ndcg@2"].mean for overall in single}) == 2, "the seeds draw both orders"
    for name in ("ndcg@2", "recall@2", "coverage@2", "mae"):
        means = [overall[name].mean for overall in single]
        assert found.seed_means[name] == pytest.approx(means)
        assert found.overall[name].mean == pytest.approx(np.mean(means))
    n_queries = sum(group.n_queries for group in found.groups if group.name != "users not in train")
    assert n_queries == len(comparison.splits[0].test_queries)


def test_every_output_shows_the_spread_the_seeds_and_the_versions(comparison: Comparison) -> None:
    output = json.loads(json.dumps(comparison.as_json(), allow_nan=False))
    assert (output["seed"], output["seeds"]) == (3, [3, 4, 5, 6, 7])
    assert {"python", "pasand", "numpy", "torch", "onnxruntime"} == set(output["versions"])
    assert output["versions"]["numpy"] == np.__version__
    assert output["threads"]["cores"] >= 1
    assert len(output["data"]["fingerprint"]) == 64
    by_name = {model["name"]: model for model in output["models"]}
    spread = by_name["shuffled"]["over_seeds"]["ndcg@2"]
    assert spread["standard_deviation"] == pytest.approx(np.std(spread["means"], ddof=1))
    assert (by_name["forwards"]["is_random"], by_name["forwards"]["seeds"]) == (False, [3])
    assert by_name["forwards"]["over_seeds"]["ndcg@2"]["standard_deviation"] is None
    assert "5 seeds (3 to 7)" in output["rules"]["intervals"]
    page = render(contents.comparison_report(comparison))
    assert f"± {spread['standard_deviation']:.4f}</small>" in page
    assert f"numpy {np.__version__}" in page


def test_with_one_seed_the_intervals_are_over_users_only() -> None:
    output = compare(tastes(), [], Temporal(), ks=(2,), seed=4).as_json()
    assert "over test users only" in output["rules"]["intervals"]
    assert "(4)" in output["rules"]["intervals"]


def test_folds_and_seeds_are_pooled() -> None:
    result = evaluate_entry(ENTRIES[0], Folds(n=3).split(tastes()), ["ndcg@2"], 0, n_seeds=4)
    assert len(result.seeds) == len(result.evaluation.seed_means["ndcg@2"]) == 4
    assert result.evaluation.overall["ndcg@2"].mean == pytest.approx(np.mean(result.evaluation.seed_means["ndcg@2"]))


def test_recipes_are_fitted_with_the_seeds_too() -> None:
    splits = Temporal().split(tastes())

    def result(name: str, seed: int, n_seeds: int = 1) -> Result:
        (entry,) = contenders(tastes(), [name], seed=seed)
        return evaluate_entry(entry, splits, ["ndcg@2"], seed, n_seeds)

    found = result("classic", 1, n_seeds=2)
    assert (found.is_random, found.seeds) == (True, (1, 2))
    expected = [result("classic", seed).evaluation.overall["ndcg@2"].mean for seed in (1, 2)]
    assert found.evaluation.seed_means["ndcg@2"] == pytest.approx(expected)


def test_a_recipe_that_draws_nothing_is_fitted_once() -> None:
    text = recipe.dump(
        {
            "items": {"class": "pasand.models.classical.ease:EASE"},
            "from_items": {"class": "pasand.stages.retrieval:FromModel", "model": "@items"},
            "recommender": {"class": "pasand.recommender:Recommender", "retriever": "@from_items"},
        }
    )
    splits = Temporal().split(tastes())
    cache = ComponentCache(1)
    for _ in range(2):  # fitted, then from the cache
        found = evaluate_entry(recipe_entry("items", text, cache), splits, ["ndcg@2"], 1, n_seeds=3)
        assert (found.is_random, found.seeds) == (False, (1,))
    (classic,) = contenders(tastes(), ["classic"], seed=1)
    both = [evaluate_entry(classic, splits, ["ndcg@2"], 1, n_seeds=2) for _ in range(2)]
    assert [one.seeds for one in both] == [(1, 2)] * 2  # the second time all components are those of the cache


def test_a_generator_that_was_used_is_recognised() -> None:
    rng = np.random.default_rng(5)
    assert not has_drawn(rng, 5)
    rng.spawn(1)
    assert has_drawn(rng, 5)
    rng = np.random.default_rng([5, 6])
    assert not has_drawn(rng, [5, 6])
    Random().fit(tastes(), rng=rng)
    assert has_drawn(rng, [5, 6])
    assert not has_drawn(np.random.default_rng([5, 6]), [5, 6])
