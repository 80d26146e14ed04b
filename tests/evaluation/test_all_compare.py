"""All models and recipes run in a comparison; they are discovered from the two folders."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pasand import models, recipe
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.compare import compare
from pasand.evaluation.contenders import contenders
from pasand.evaluation.protocols import protocol
from pasand.sources import load

QUICK = {"epochs": "1", "samples": "1", "burn_in": "0", "trees": "5", "smallest": "5"}
"""Options that shorten training, for components that have them."""
OWN = {"textbook": {"tower.user_features": "age_band,gender"}}
"""Options that a recipe needs for this dataset."""
PAGES = [name for name in recipe.packaged() if name not in models.classes()]


@pytest.fixture(scope="module")
def world() -> Dataset:
    return dataclasses.replace(load("bollywood:n_users=60"), impressions=None)  # training on impressions takes long


def short(part: Any) -> dict[str, str]:
    names = [f.name for f in dataclasses.fields(part) if f.init]
    return {option: value for option, value in QUICK.items() if option in names}


def settings(name: str) -> dict[str, str]:
    """Return the settings of an entry that shorten its training."""
    if name in models.classes():
        return {f"{name}.{option}": value for option, value in short(models.find(name)).items()}
    parts = recipe.read(name).components
    quick = {f"{name}.{option}": value for name, part in parts.items() for option, value in short(part).items()}
    return {f"{name}.{option}": value for option, value in (quick | OWN.get(name, {})).items()}


@pytest.mark.parametrize("name", [*models.classes(), *PAGES])
def test_it_runs_and_recommends_to_all_users(world: Dataset, name: str) -> None:
    found = compare(world, contenders(world, [name], settings(name)), protocol("temporal"))
    assert found.failed == {}
    evaluations = {result.name: result.evaluation for result in found.results}
    assert 0 <= evaluations[name].overall["ndcg@10"].mean <= 1
    assert np.isfinite(evaluations[name].query_values["recall@10"]).all()
    # lists are as long as those of popularity, which are short only if too few items are unseen
    assert evaluations[name].exposure.sum() >= evaluations["popularity_30_days"].exposure.sum()


def test_a_hybrid_without_content_features_is_left_out_with_a_reason(world: Dataset) -> None:
    bare = dataclasses.replace(world, item_features={})
    names = ["weighted", "switching", "fusion", "cascade", "meta", "augmented", "classic"]
    changes = {key: value for name in names for key, value in settings(name).items()}
    found = compare(bare, contenders(bare, names, changes), protocol("temporal"))
    assert set(found.failed) == set(names) - {"classic"}
    assert all("no features by which items could be compared" in reason for reason in found.failed.values())
    with pytest.raises(InputError, match=r"put a table of items.* or leave this model out"):
        compare(bare, contenders(bare, ["weighted"]), protocol("temporal"))


def test_a_recipe_that_reads_a_missing_feature_names_it(world: Dataset) -> None:
    with pytest.raises(InputError, match="age"):
        compare(world, contenders(world, ["textbook"], {"textbook.tower.epochs": "1"}), protocol("temporal"))
