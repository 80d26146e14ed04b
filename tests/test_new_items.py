"""Items added after training: recommended at once by models that read item features, harmless to all others."""

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
{options}

[from_{name}]
class = "pasand.stages.retrieval:FromModel"
model = "@{name}"
"""

CHAIN = """
[fallback]
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
retriever = "@fallback"
"""

FROM = {
    "model": '[from_tower]\nclass = "pasand.stages.retrieval:FromModel"\nmodel = "@tower"\n',
    "index": '[exact]\nclass = "pasand.index.exact:Exact"\n[from_tower]\nclass = "pasand.stages.retrieval:FromIndex"\n'
    'model = "@tower"\nindex = "@exact"\n',
}


def fallback_chain(*parts: str, filters: str = '"@seen"') -> str:
    allowed = [f"i{n:03}" for n in range(30)]
    return CHAIN.format(parts=", ".join(f'"@from_{part}"' for part in parts), allowed=allowed, filters=filters)


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
    """Return the features of existing items for use as those of new items, with categories in another order."""
    features = {name: replace(log().item_features[name]) for name in ("group", "weight")}
    chosen = np.array(rows, np.int32)
    codes = np.array([1, 2, 0], np.int32)[features["group"].values[chosen]]
    return {
        "group": Feature(kind="categorical", values=codes, names=("c", "a", "b")),
        "weight": Feature(kind="number", values=features["weight"].values[chosen]),
    }


def query_of(loaded: Bundle, history: list[str], k: int = 30) -> Queries:
    queries = loaded.data.queries(np.array([-1], np.int32), k=k)
    rows = loaded.data.items.rows(history)[None, :]
    return replace(
        queries,
        history=rows,
        history_time=np.zeros(rows.shape, np.int64),
        history_value=np.full(rows.shape, np.nan, np.float32),
    )


def recommendations(loaded: Bundle, history: list[str], k: int = 30) -> Candidates:
    return loaded.assembly.recommender(query_of(loaded, history, k))


@pytest.mark.parametrize("kind", ["model", "index"])
def test_a_new_item_is_ranked_with_items_of_the_same_features(kind: str) -> None:
    grown = towers(kind).add_items(["new a", "new b", "new c"], like(9, 10, 11))
    for group in range(3):
        own, others = f"new {GROUPS[group]}", [f"i{row:03}" for row in range(group, 30, 3)]
        found = recommendations(grown, [f"i{group:03}", f"i{group + 3:03}"], k=33)
        ids = [grown.data.items.ids([row])[0] for row in found.items[0] if row >= 0]
        scores = dict(zip(ids, found.scores[0].tolist(), strict=False))
        assert set(ids[:9]) == {own, *others[2:]}
        np.testing.assert_allclose(scores[own], scores[others[3]], rtol=1e-5)


def test_vectors_of_new_items_are_part_of_the_state() -> None:
    grown = towers("model").add_items(["new a"], like(9)).assembly.fitted["tower"]
    again = TwoTower(use_ids=False)
    again.load_state(grown.state())
    assert isinstance(grown, TwoTower)
    rows = np.array([9, 30], np.int32)
    np.testing.assert_array_equal(again.embed_items(rows), grown.embed_items(rows))
    np.testing.assert_allclose(again._embed_all(31), grown._embed_all(31), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["model", "index"])
def test_a_new_item_that_was_seen_is_not_recommended(kind: str) -> None:
    grown = towers(kind).add_items(["new a"], like(9))
    row = grown.data.n_items - 1
    assert row in recommendations(grown, ["i000"]).items
    assert row not in recommendations(grown, ["i000", "new a"]).items


@pytest.mark.parametrize("kind", ["model", "index"])
def test_a_new_item_without_features_is_not_recommended(kind: str) -> None:
    grown = towers(kind).add_items(
        ["nothing", "strange"],
        {"group": Feature(kind="categorical", values=np.array([-1, 0], np.int32), names=("unheard of",))},
    )
    found = recommendations(grown, ["i000"], k=40).items
    assert (found >= 0).sum() == 29
    assert found.max() == 29


def test_items_may_be_added_again_and_again() -> None:
    once = towers("index").add_items(["x", "y", "z"], like(9, 10, 11))
    step = towers("index").add_items(["x"], like(9)).add_items([], like()).add_items(["y", "z"], like(10, 11))
    assert step.data.items == once.data.items
    for history in (["i000"], ["i001", "x"]):
        np.testing.assert_array_equal(recommendations(step, history).items, recommendations(once, history).items)


@pytest.mark.parametrize(
    ("ids", "features", "message"),
    [
        (["i003"], like(9), "'i003' twice: it is in the catalogue already"),
        (["x", "x"], like(9, 9), "'x' twice"),
        (["x"], like(9, 9), "2 values for 1 items"),
        (["x"], {"group": like(9)["weight"]}, "'group': it is number, and was categorical"),
    ],
)
def test_wrong_new_items_are_refused_before_anything_changes(
    ids: list[str], features: dict[str, Feature], message: str
) -> None:
    loaded = towers("model")
    before = loaded.assembly.fitted["tower"].state()["items"]
    with pytest.raises(InputError, match=message):
        loaded.add_items(ids, features)
    assert loaded.assembly.fitted["tower"].state()["items"] is before
    assert loaded.data.n_items == 30


OTHERS = {
    "items": ("classical.item_knn:ItemKNN", ""),
    "users": ("classical.user_knn:UserKNN", ""),
    "linear": ("classical.ease:EASE", ""),
    "factors": ("classical.ials:IALS", "dimensions = 4"),
    "biased": ("ratings.biased_mf:BiasedMF", "epochs = 2"),
    "popular": ("classical.popularity:Popularity", ""),
    "random": ("classical.random:Random", ""),
}


@cache
def classical() -> Bundle:
    """Return a bundle of all models that accept no new items, after three were added to it."""
    text = "".join(PART.format(name=name, model=model, options=options) for name, (model, options) in OTHERS.items())
    return bundle(text + fallback_chain(*OTHERS)).add_items(["x", "y", "z"], like(9, 10, 11))


@settings(max_examples=40)
@given(st.data())
def test_models_that_accept_no_new_items_are_not_harmed_by_them(data: st.DataObject) -> None:
    loaded = classical()
    rows = st.lists(st.integers(0, 32), max_size=12)
    history, k = data.draw(rows), data.draw(st.integers(1, 40))
    allowed = data.draw(st.none() | st.lists(st.booleans(), min_size=33, max_size=33))
    denied = np.array([data.draw(rows)], np.int32).reshape(1, -1)
    queries = replace(
        query_of(loaded, loaded.data.items.ids(history), k),
        exclude=denied,
        allowed=None if allowed is None else np.array([allowed]),
    )
    found = loaded.assembly.recommender(queries).items[0].tolist()
    permitted = {row for row in range(30) if allowed is None or allowed[row]} - set(history) - set(denied[0].tolist())
    shown = [row for row in found if row >= 0]
    assert len(shown) == len(set(shown)) == min(k, len(permitted))
    assert set(shown) <= permitted


def test_a_fitted_allow_filter_excludes_new_items() -> None:
    text = PART.format(name="popular", model="classical.popularity:Popularity", options="")
    grown = bundle(text + fallback_chain("popular", filters='"@seen", "@only"')).add_items(["x"], like(9))
    queries = replace(query_of(grown, ["x", "i000"], k=40), allowed=np.ones((1, 31), np.bool_))
    assert sorted(grown.assembly.recommender(queries).items[0].tolist())[-29:] == list(range(1, 30))
