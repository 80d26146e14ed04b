"""Whatever has a name, model or recipe, runs in a comparison; members of the two folders are found by themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pasand import models, recipe
from pasand.cli.compare import contenders
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.compare import compare
from pasand.evaluation.protocols import protocol
from pasand.sources import load

QUICK = {"epochs": "1", "samples": "1", "burn_in": "0", "trees": "5", "smallest": "5"}
"""Options that make learning short, in what has them."""
OWN = {"textbook": {"tower.user_features": "age_band,gender"}}
"""What a recipe must be told of this world."""
PAGES = [name for name in recipe.packaged() if name not in models.classes()]


@pytest.fixture(scope="module")
def world() -> Dataset:
    return dataclasses.replace(load("bollywood:n_users=60"), impressions=None)  # what is shown is much to learn from


def short(part: Any) -> dict[str, str]:
    names = [f.name for f in dataclasses.fields(part) if f.init]
    return {option: value for option, value in QUICK.items() if option in names}


def settings(name: str) -> dict[str, str]:
    """Return the settings of a contender that make it quick."""
    if name in models.classes():
        return {f"{name}.{option}": value for option, value in short(models.find(name)).items()}
    parts = recipe.read(name).components
    quick = {f"{part}.{option}": value for part, one in parts.items() for option, value in short(one).items()}
    return {f"{name}.{option}": value for option, value in (quick | OWN.get(name, {})).items()}


@pytest.mark.parametrize("name", [*models.classes(), *PAGES])
def test_it_runs_and_answers_everybody(world: Dataset, name: str) -> None:
    found = compare(world, contenders(world, [name], settings(name)), protocol("temporal"))
    assert found.failed == {}
    told = {result.name: result.evaluation for result in found.results}
    assert 0 <= told[name].overall["ndcg@10"].mean <= 1
    assert np.isfinite(told[name].query_values["recall@10"]).all()
    # lists are as full as those of popularity, which are short only where less is left unseen
    assert told[name].exposure.sum() >= told["popularity_recent"].exposure.sum()


def test_a_hybrid_whose_content_has_nothing_to_read_says_so_and_is_left_out(world: Dataset) -> None:
    bare = dataclasses.replace(world, item_features={})
    names = ["weighted", "switching", "fusion", "cascade", "meta", "augmented", "classic"]
    changes = {key: value for name in names for key, value in settings(name).items()}
    found = compare(bare, contenders(bare, names, changes), protocol("temporal"))
    assert set(found.failed) == set(names) - {"classic"}
    assert all("no features by which items could be compared" in reason for reason in found.failed.values())
    with pytest.raises(InputError, match=r"give a table of items .* or leave this model out"):
        compare(bare, contenders(bare, ["weighted"]), protocol("temporal"))


def test_a_recipe_that_reads_a_feature_that_is_not_there_names_it(world: Dataset) -> None:
    with pytest.raises(InputError, match="age"):
        compare(world, contenders(world, ["textbook"], {"textbook.tower.epochs": "1"}), protocol("temporal"))
