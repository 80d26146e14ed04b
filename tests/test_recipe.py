"""Recipes: packaged ones recommend to all users, and errors in one are named, earlier names included."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import default_recipe, recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.renamed import RENAMED_CLASSES, RENAMED_KEYS, RENAMED_VALUES
from tests.logs import tastes

SMALL = """
[popular]
class = "pasand.models.classical.popularity:Popularity"
[items]
class = "pasand.models.classical.item_knn:ItemKNN"
neighbours = 5
[a]
class = "pasand.stages.retrieval:FromModel"
model = "@items"
[b]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"
[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@a", "@b"]
[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""


def test_a_recipe_gives_every_user_full_lists() -> None:
    data = tastes()
    assembly = recipe.build(SMALL).fit(data, seed=0)
    found = assembly.recommender(data.queries(np.array([-1, 0, 5], np.int32), k=10))
    assert (found.items >= 0).all()
    assert all(len(set(row)) == 10 for row in found.items.tolist())
    seen = data.queries(np.array([0], np.int32), k=1).history[0]
    assert not set(found.items[1].tolist()) & set(seen.tolist())


def with_user_features(data: Dataset) -> Dataset:
    """Return the data with the user and item features that two of the recipes need."""
    age = np.arange(data.n_users, dtype=np.float32) % 40 + 18
    gender = np.arange(data.n_users, dtype=np.int32) % 2
    genres = np.arange(data.n_items, dtype=np.int32)[:, None] % 3
    users = {
        "age": Feature(kind="number", values=age),
        "gender": Feature(kind="categorical", values=gender, names=("F", "M")),
        "languages": Feature(kind="bag", values=gender[:, None], names=("Hindi", "Tamil")),
    }
    return replace(
        data,
        user_features=users,
        item_features={"genres": Feature(kind="bag", values=genres, names=("Drama", "Comedy", "War"))},
    )


@pytest.mark.parametrize("path", sorted(recipe.PACKAGED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_packaged_recipe_fits_and_recommends(path: Path) -> None:
    needs_features = path.stem in ("textbook", "languages")
    data = with_user_features(tastes()) if needs_features else tastes()
    assembly = recipe.read(path.stem).fit(data, seed=0)
    found = assembly.recommender(data.queries(np.arange(-1, data.n_users, dtype=np.int32), k=10))
    assert (found.items >= 0).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("neighbours = 5", "neighbors = 5", "ItemKNN has no such option.*neighbours"),
        ("neighbours = 5", 'neighbours = "many"', "'many' is wrong: Expected `int`"),
        ("neighbours = 5", "neighbours = 0", "neighbours"),
        ('"@items"', '"@nothing"', "no earlier table"),
        ("pasand.models.classical.item_knn:ItemKNN", "os:system", "only classes of pasand"),
        (
            "pasand.models.classical.item_knn:ItemKNN",
            "pasand.models.classical.item_knn:Pairs",
            "not a component",
        ),
        ("pasand.models.classical.item_knn:ItemKNN", "pasand.models.nothing:ItemKNN", "no such class"),
        ("[recommender]", "[other]", r"no table \[recommender\]"),
        ("[popular]", "[popular", "not TOML"),
        ('class = "pasand.models.classical.popularity:Popularity"', "", "no class"),
    ],
)
def test_errors_in_a_recipe_are_named(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.build(SMALL.replace(old, new, 1))


def test_the_error_of_a_missing_recipe_lists_the_packaged_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classic"):
        recipe.read(tmp_path / "none.toml")


def test_a_component_learns_the_same_beside_other_components() -> None:
    data = tastes()
    extra = SMALL.replace("[items]", '[other]\nclass = "pasand.models.classical.ials:IALS"\ndimensions = 4\n[items]')
    one, two = recipe.build(SMALL).fit(data, seed=3), recipe.build(extra).fit(data, seed=3)
    for name, values in one.fitted["items"].state().items():
        assert np.array_equal(values, two.fitted["items"].state()[name])


def test_hyperparameters_are_the_fields_of_plain_values() -> None:
    part = recipe.build(SMALL).components["items"]
    assert recipe.hyperparameters(part)["neighbours"] == 5


def test_the_default_recipe_depends_on_the_data() -> None:
    many = tastes(n_users=3000, per_user=8)
    assert default_recipe.for_data(many)[0] == "best"
    assert default_recipe.for_data(replace(many, order="none"))[0] == "classic"
    name, cause = default_recipe.for_data(tastes())
    assert name == "classic"
    assert "positive interactions are too few" in cause


NEW_CLASSES = {path.partition(":")[2]: path for path in RENAMED_CLASSES.values()} | {
    "Boosted": "pasand.stages.boosting:Boosted",
    "HNSW": "pasand.index.hnsw:HNSW",
    "IVF": "pasand.index.ivf_pq:IVF",
    "Merge": "pasand.stages.retrieval:Merge",
    "Recommender": "pasand.recommender:Recommender",
    "Switch": "pasand.stages.switching:Switch",
}
"""Path of every class of the tables of renamed options, by name."""


@pytest.mark.parametrize(("old", "new"), RENAMED_CLASSES.items())
def test_an_earlier_class_path_is_refused_with_the_new_one(old: str, new: str) -> None:
    assert recipe.component_class(new, where="recipe").__name__ == old.partition(":")[2]
    with pytest.raises(InputError, match=re.escape(f'the class has moved. Cure: write class = "{new}"')):
        recipe.build(f'[part]\nclass = "{old}"')


@pytest.mark.parametrize(
    ("name", "old", "new"), [(n, o, k) for n, keys in RENAMED_KEYS.items() for o, k in keys.items()]
)
def test_an_earlier_option_is_refused_with_the_new_one(name: str, old: str, new: str) -> None:
    fields = [field.name for field in dataclasses.fields(recipe.component_class(NEW_CLASSES[name], where="recipe"))]
    assert new in fields
    assert old not in fields
    message = re.escape(f"'{old}' is wrong: the option of {name} was renamed. Cure: write {new}")
    with pytest.raises(InputError, match=message):
        recipe.build(f'[part]\nclass = "{NEW_CLASSES[name]}"\n{old} = 1')


@pytest.mark.parametrize(
    ("name", "option", "old", "new"),
    [
        (name, option, old, new)
        for name, options in RENAMED_VALUES.items()
        for option, values in options.items()
        for old, new in values.items()
    ],
)
def test_an_earlier_value_is_refused_with_the_new_one(name: str, option: str, old: str, new: str) -> None:
    table = f'class = "{NEW_CLASSES[name]}"\n{option} = "{{}}"'
    with pytest.raises(InputError, match=re.escape(f"'{old}' is wrong: the value was renamed. Cure: write \"{new}\"")):
        recipe.build("[part]\n" + table.format(old))
    with pytest.raises(InputError, match=r"no table \[recommender\]"):
        recipe.build("[part]\n" + table.format(new))
