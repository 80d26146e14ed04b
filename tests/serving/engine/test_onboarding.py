from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle, recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.home import home
from pasand.serving.engine.onboarding import items_to_rate
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import HistoryItem, HomeRequest, OnboardingRequest, RatedValue, RequestError
from pasand.serving.states import open_state
from tests.stages.test_onboarding import two_tastes

RECIPE = """
[items]
class = "pasand.models.classical.ease:EASE"
l2 = 5.0

[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_items]
class = "pasand.stages.retrieval:FromModel"
model = "@items"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_items", "@from_popular"]
"""
CHOSEN = """
[onboarding]
class = "pasand.stages.onboarding:Onboarding"
retriever = "@fallback"
depth = 3
n_candidates = 2
shrinkage = 5.0
"""
END = """
[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""


@pytest.fixture(scope="module")
def data() -> Dataset:
    return two_tastes()


def engine(folder: Path, data: Dataset, text: str) -> Engine:
    """Return an engine of a bundle that was written and read again."""
    bundle.write(folder / "bundle", recipe.build(text).fit(data, seed=0), data, seed=0)
    variant = Variant.read("default", str(folder / "bundle"), 1.0)
    return Engine([variant], open_state(str(folder / "state.sqlite")), lambda: 10_000)


def test_items_follow_the_responses_and_popular_ones_fill_the_list(data: Dataset, tmp_path: Path) -> None:
    served = engine(tmp_path, data, RECIPE + CHOSEN + END)
    first = items_to_rate(served, OnboardingRequest(k=1))
    assert [item.item_id for item in first.items] == ["divider"]
    rated = [HistoryItem("divider", value=1.0)]
    then = items_to_rate(served, OnboardingRequest(history=[*rated], k=1))
    assert [item.item_id for item in then.items] == ["blockbuster"]
    last = items_to_rate(served, OnboardingRequest(history=[*rated], skipped=["blockbuster"], k=4))
    assert last.n_chosen == 0
    assert len(last.items) == 4
    assert not {"divider", "blockbuster"} & {item.item_id for item in last.items}


def test_without_the_component_popular_items_are_rated(data: Dataset, tmp_path: Path) -> None:
    served = engine(tmp_path, data, RECIPE + END)
    found = items_to_rate(served, OnboardingRequest(k=3))
    assert found.n_chosen == 0
    assert found.items[0].item_id == "blockbuster"
    assert len(found.items) == 3
    with pytest.raises(RequestError, match="language"):
        items_to_rate(served, OnboardingRequest(languages=["Tamil"]))


def test_liked_values_are_filters_and_what_is_rated_is_not_suggested_again(data: Dataset, tmp_path: Path) -> None:
    names = data.items.ids(np.arange(data.n_items, dtype=np.int32))
    kinds = tuple(sorted({name.split()[0] for name in names}))
    codes = np.array([kinds.index(name.split()[0]) for name in names], np.int32)
    features = {"kind": Feature(kind="categorical", values=codes, names=kinds)}
    text = RECIPE + CHOSEN.replace("depth = 3", 'depth = 3\ncolumns = ["kind"]') + END
    served = engine(tmp_path, replace(data, item_features=features), text)
    rated: list[RatedValue] = []
    seen = set()
    for _ in range(3):
        value = items_to_rate(served, OnboardingRequest(values=rated, skipped=["divider", "blockbuster"])).value
        if value is None:
            break
        assert value.feature == "kind"
        assert value.value not in seen
        seen.add(value.value)
        rated.append(RatedValue("kind", value.value))
    assert seen
    liked = items_to_rate(served, OnboardingRequest(values=[RatedValue("kind", "song", liked=True)], k=5))
    assert {item.features["kind"] for item in liked.items} == {"song"}
    wrong = OnboardingRequest(values=[RatedValue("shelf", "a", liked=False)])
    with pytest.raises(RequestError, match="items have no feature 'shelf'"):
        items_to_rate(served, wrong)
    page = home(served, HomeRequest(liked={"kind": ["art", "song"]}))
    row = page.rows[0]
    assert row.title == "Recommended for you: art and song"
    assert {served.variants[0].features(served.variants[0].row(card.item_id))["kind"] for card in row.items} == {
        "art",
        "song",
    }
    assert home(served, HomeRequest(liked={"kind": ["divider"]})).rows[0].kind == "popular"  # one item is no row
