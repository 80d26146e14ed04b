from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
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
[ladder]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@a", "@b"]
[recommender]
class = "pasand.recommender:Recommender"
retriever = "@ladder"
"""


def test_a_recipe_answers_every_user_with_full_lists() -> None:
    data = tastes()
    assembly = recipe.build(SMALL).fit(data, seed=0)
    found = assembly.recommender(data.queries(np.array([-1, 0, 5], np.int32), k=10))
    assert (found.items >= 0).all()
    assert all(len(set(row)) == 10 for row in found.items.tolist())
    seen = data.queries(np.array([0], np.int32), k=1).history[0]
    assert not set(found.items[1].tolist()) & set(seen.tolist())


def with_the_features_of_users(data: Dataset) -> Dataset:
    """Return the data with what two recipes read of users; those that fit any source need none of it."""
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
def test_every_recipe_that_comes_along_fits_and_answers(path: Path) -> None:
    told = path.stem in ("textbook", "languages")
    data = with_the_features_of_users(tastes()) if told else tastes()
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
            "dataclass where it is defined",
        ),
        ("pasand.models.classical.item_knn:ItemKNN", "pasand.models.nothing:ItemKNN", "no such class"),
        ("[recommender]", "[other]", r"no table \[recommender\]"),
        ("[popular]", "[popular", "not TOML"),
        ('class = "pasand.models.classical.popularity:Popularity"', "", "no class"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.build(SMALL.replace(old, new, 1))


def test_a_missing_recipe_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classic"):
        recipe.read(tmp_path / "none.toml")


def test_a_component_learns_the_same_whatever_stands_beside_it() -> None:
    data = tastes()
    extra = SMALL.replace("[items]", '[other]\nclass = "pasand.models.classical.ials:IALS"\ndimensions = 4\n[items]')
    one, two = recipe.build(SMALL).fit(data, seed=3), recipe.build(extra).fit(data, seed=3)
    for name, values in one.fitted["items"].state().items():
        assert np.array_equal(values, two.fitted["items"].state()[name])


def test_hyperparameters_are_the_plain_fields() -> None:
    part = recipe.build(SMALL).components["items"]
    assert recipe.hyperparameters(part)["neighbours"] == 5


def test_the_recipe_that_suits_the_data() -> None:
    many = tastes(n_users=3000, per_user=8)
    assert recipe.suited(many)[0] == "best"
    assert recipe.suited(replace(many, order="none"))[0] == "classic"
    name, why = recipe.suited(tastes())
    assert name == "classic"
    assert "likings are too few" in why
