"""Items that arrive after training: found at once by models that know items by features, harmless to all others."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand import recipe
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.towers.two_tower import TwoTower
from pasand.types import Candidates, Queries
from tests.logs import tastes

GROUPS = ("a", "b", "c")

TOWER = """
[tower]
class = "pasand.models.towers.two_tower:TwoTower"
epochs = 15
patience = 0
batch_size = 64
use_ids = false
"""

PART = """
[{name}]
class = "pasand.models.{model}"
{more}

[from_{name}]
class = "pasand.stages.retrieval:FromModel"
model = "@{name}"
"""

LADDER = """
[ladder]
class = "pasand.stages.retrieval:Fallback"
retrievers = [{parts}]

[only]
class = "pasand.stages.filtering:Allow"
ids = {allowed}

[seen]
class = "pasand.stages.filtering:DropSeen"

[recommender]
class = "pasand.recommender:Recommender"
filters = [{filters}]
retriever = "@ladder"
"""

FROM = {
    "model": '[from_tower]\nclass = "pasand.stages.retrieval:FromModel"\nmodel = "@tower"\n',
    "index": '[exact]\nclass = "pasand.index.exact:Exact"\n[from_tower]\nclass = "pasand.stages.retrieval:FromIndex"\n'
    'model = "@tower"\nindex = "@exact"\n',
}


def fallback_chain(*parts: str, filters: str = '"@seen"') -> str:
    allowed = [f"i{n:03}" for n in range(30)]
    return LADDER.format(parts=", ".join(f'"@from_{part}"' for part in parts), allowed=allowed, filters=filters)


@cache
def log() -> Dataset:
    data = tastes()
    weight = Feature(kind="number", values=np.arange(30, dtype=np.float32) % 3)
    return replace(data, item_features={**data.item_features, "weight": weight})


def bundle(text: str) -> Bundle:
    return Bundle(recipe.build(text).fit(log(), seed=0), log(), {})


@cache
def tower_state() -> dict[str, np.ndarray]:
    return dict(bundle(TOWER + FROM["model"] + fallback_chain("tower")).assembly.fitted["tower"].state())


def towers(kind: str) -> Bundle:
    """Return a fresh bundle around the same fitted tower."""
    assembly = recipe.build(TOWER + FROM[kind] + fallback_chain("tower"))
    assembly.fitted["tower"].load_state(tower_state())
    for name, part in assembly.fitted.items():
        if name != "tower":
            part.fit(log(), rng=np.random.default_rng(0))
    return Bundle(assembly, log(), {})


def like(*rows: int) -> dict[str, Feature]:
    """Return the features of items that are there, as those of new ones, coded by names of their own."""
    told = {name: replace(log().item_features[name]) for name in ("group", "weight")}
    chosen = np.array(rows, np.int32)
    turned = np.array([1, 2, 0], np.int32)[told["group"].values[chosen]]
    return {
        "group": Feature(kind="categorical", values=turned, names=("c", "a", "b")),
        "weight": Feature(kind="number", values=told["weight"].values[chosen]),
    }


def asked(loaded: Bundle, history: list[str], k: int = 30) -> Queries:
    queries = loaded.data.queries(np.array([-1], np.int32), k=k)
    rows = loaded.data.items.rows(history)[None, :]
    return replace(
        queries,
        history=rows,
        history_time=np.zeros(rows.shape, np.int64),
        history_value=np.full(rows.shape, np.nan, np.float32),
    )


def answered(loaded: Bundle, history: list[str], k: int = 30) -> Candidates:
    return loaded.assembly.recommender(asked(loaded, history, k))


@pytest.mark.parametrize("kind", ["model", "index"])
def test_a_new_item_stands_where_one_of_the_same_features_stands(kind: str) -> None:
    grown = towers(kind).add_items(["new a", "new b", "new c"], like(9, 10, 11))
    for group in range(3):
        own, others = f"new {GROUPS[group]}", [f"i{row:03}" for row in range(group, 30, 3)]
        found = answered(grown, [f"i{group:03}", f"i{group + 3:03}"], k=33)
        ids = [grown.data.items.ids([row])[0] for row in found.items[0] if row >= 0]
        scores = dict(zip(ids, found.scores[0].tolist(), strict=False))
        assert set(ids[:9]) == {own, *others[2:]}
        np.testing.assert_allclose(scores[own], scores[others[3]], rtol=1e-5)


def test_what_was_learnt_of_new_items_is_part_of_the_state() -> None:
    grown = towers("model").add_items(["new a"], like(9)).assembly.fitted["tower"]
    again = TwoTower(use_ids=False)
    again.load_state(grown.state())
    assert isinstance(grown, TwoTower)
    rows = np.array([9, 30], np.int32)
    np.testing.assert_array_equal(again.embed_items(rows), grown.embed_items(rows))
    np.testing.assert_allclose(again._embed_all(31), grown._embed_all(31), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["model", "index"])
def test_a_new_item_that_was_seen_is_not_shown_again(kind: str) -> None:
    grown = towers(kind).add_items(["new a"], like(9))
    row = grown.data.n_items - 1
    assert row in answered(grown, ["i000"]).items
    assert row not in answered(grown, ["i000", "new a"]).items


@pytest.mark.parametrize("kind", ["model", "index"])
def test_a_new_item_without_features_is_not_guessed(kind: str) -> None:
    grown = towers(kind).add_items(
        ["nothing", "strange"],
        {"group": Feature(kind="categorical", values=np.array([-1, 0], np.int32), names=("unheard of",))},
    )
    found = answered(grown, ["i000"], k=40).items
    assert (found >= 0).sum() == 29
    assert found.max() == 29


def test_items_may_be_added_again_and_again() -> None:
    once = towers("index").add_items(["x", "y", "z"], like(9, 10, 11))
    step = towers("index").add_items(["x"], like(9)).add_items([], like()).add_items(["y", "z"], like(10, 11))
    assert step.data.items == once.data.items
    for history in (["i000"], ["i001", "x"]):
        np.testing.assert_array_equal(answered(step, history).items, answered(once, history).items)


@pytest.mark.parametrize(
    ("ids", "features", "message"),
    [
        (["i003"], like(9), "'i003' twice: it is in the catalogue already"),
        (["x", "x"], like(9, 9), "'x' twice"),
        (["x"], like(9, 9), "2 values for 1 items"),
        (["x"], {"group": like(9)["weight"]}, "'group': it is number, and was categorical"),
    ],
)
def test_what_is_wrong_with_new_items_is_said_before_anything_changes(
    ids: list[str], features: dict[str, Feature], message: str
) -> None:
    loaded = towers("model")
    before = loaded.assembly.fitted["tower"].state()["items"]
    with pytest.raises(InputError, match=message):
        loaded.add_items(ids, features)
    assert loaded.assembly.fitted["tower"].state()["items"] is before
    assert loaded.data.n_items == 30


OTHERS = {
    "items": ("item_knn:ItemKNN", ""),
    "users": ("user_knn:UserKNN", ""),
    "linear": ("ease:EASE", ""),
    "factors": ("ials:IALS", "dimensions = 4"),
    "biased": ("biased_mf:BiasedMF", "epochs = 2"),
    "popular": ("popularity:Popularity", ""),
    "random": ("random:Random", ""),
}


@cache
def classical() -> Bundle:
    """Return a bundle of every kind of model that takes no new items, after three were added to it."""
    text = "".join(PART.format(name=name, model=model, more=more) for name, (model, more) in OTHERS.items())
    return bundle(text + fallback_chain(*OTHERS)).add_items(["x", "y", "z"], like(9, 10, 11))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_models_that_take_no_new_items_are_not_harmed_by_them(data: st.DataObject) -> None:
    loaded = classical()
    some = st.lists(st.integers(0, 32), max_size=12)
    history, k = data.draw(some), data.draw(st.integers(1, 40))
    allowed = data.draw(st.none() | st.lists(st.booleans(), min_size=33, max_size=33))
    denied = np.array([data.draw(some)], np.int32).reshape(1, -1)
    queries = replace(
        asked(loaded, loaded.data.items.ids(history), k),
        exclude=denied,
        allowed=None if allowed is None else np.array([allowed]),
    )
    found = loaded.assembly.recommender(queries).items[0].tolist()
    may = {row for row in range(30) if allowed is None or allowed[row]} - set(history) - set(denied[0].tolist())
    shown = [row for row in found if row >= 0]
    assert len(shown) == len(set(shown)) == min(k, len(may))
    assert set(shown) <= may


def test_a_filter_that_was_fitted_before_lets_no_new_item_through() -> None:
    text = PART.format(name="popular", model="popularity:Popularity", more="")
    grown = bundle(text + fallback_chain("popular", filters='"@seen", "@only"')).add_items(["x"], like(9))
    queries = replace(asked(grown, ["x", "i000"], k=40), allowed=np.ones((1, 31), np.bool_))
    assert sorted(grown.assembly.recommender(queries).items[0].tolist())[-29:] == list(range(1, 30))
