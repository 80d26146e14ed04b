"""Items with many names in a bag: refused at the door, and bounded wherever stored changes are applied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.feature_values import feature_to_json, parse_features
from pasand.serving.engine.variant import NO_RECENT_EVENTS, Variant
from pasand.serving.refresh.training_data import gather
from pasand.serving.schemas import MAX_NAME, MAX_NAMES, RecommendRequest, RequestError
from pasand.serving.states import open_state
from tests.logs import tastes

NAMES = tuple(f"tag {n}" for n in range(300))
UNKNOWN = [f"unknown {n}" for n in range(1000)]
NEW = 1_000_000_000_000


def tagged(n_items: int = 3000) -> Dataset:
    data = tastes(n_users=400, n_items=n_items, n_groups=3)
    codes = np.stack([np.arange(data.n_items) % 300, np.arange(data.n_items) % 7], axis=1).astype(np.int32)
    tags = Feature(kind="bag", values=codes, names=NAMES)
    return replace(data, item_features={"tags": tags, **data.item_features})


def nbytes(data: Dataset) -> int:
    return data.item_features["tags"].bags.nbytes


def tags(data: Dataset, item_id: str) -> Any:
    return feature_to_json(data.item_features["tags"], int(data.items.rows([item_id])[0]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tags", UNKNOWN, f"1,000 names are too many: give {MAX_NAMES} at most"),
        ("tags", ["x" * (MAX_NAME + 1)], f"a name of {MAX_NAME + 1} characters is too long: give {MAX_NAME} at most"),
        ("group", "x" * 100_000, f"a name of 100,000 characters is too long: give {MAX_NAME} at most"),
    ],
)
def test_too_many_and_too_long_names_are_refused(name: str, value: Any, message: str) -> None:
    data = tagged(60)
    with pytest.raises(RequestError, match=message) as error:
        parse_features({name: value}, data.item_features, "features")
    assert (error.value.status, error.value.field) == (422, f"features.{name}")
    allowed = [*NAMES[:MAX_NAMES]]
    assert feature_to_json(parse_features({"tags": allowed}, data.item_features, "f")[0]["tags"], 0) == allowed


def test_stored_changes_with_many_names_widen_nothing(tmp_path: Path) -> None:
    """Neither a start that applies them nor a refresh keeps more than the names that fit."""
    data = tagged()
    fitted = recipe.build(default_recipe.of_model("content", {})).fit(data, seed=0)
    bundle.write(tmp_path / "b", fitted, data, seed=0)
    old, changed, full = (data.items.ids([row])[0] for row in (5, 6, 7))
    before = {item: tags(data, item) for item in (old, changed, full)}
    state = open_state(str(tmp_path / "state.sqlite"))
    for item in (old, "new"):
        state.put_item(item, {"tags": UNKNOWN})
    state.put_item(changed, {"tags": [*UNKNOWN[:100], NAMES[1]]})
    state.put_item(full, {"tags": [*NAMES[:MAX_NAMES]]})
    state.put_item("also new", {"tags": [*NAMES[:MAX_NAMES], *NAMES[:3]], "group": "a"})
    engine = Engine([Variant.read("main", str(tmp_path / "b"))], state, lambda: NEW)
    engine.sync()
    served = engine.variants[0].bundle.data
    assert served.n_items == data.n_items + 2
    assert tags(served, old) == before[old]  # refused as a whole, as at the door
    assert (tags(served, changed), tags(served, "new")) == ([NAMES[1]], [])
    assert tags(served, full) == tags(served, "also new") == [*NAMES[:MAX_NAMES]]
    assert nbytes(served) == nbytes(data) + 4 * (-1 + MAX_NAMES - 2 + MAX_NAMES) + 8 * 2
    assert served.item_features["tags"].names == NAMES
    assert len(served.item_features["tags"].take(np.arange(8, dtype=np.int32))[0]) == 64

    gathered = gather(engine.variants[0].bundle, state).data
    assert tags(gathered, old) == before[old]
    assert tags(gathered, changed) == [*UNKNOWN[:100], NAMES[1]]
    assert gathered.item_features["tags"].names == (*NAMES, *UNKNOWN[:100])
    assert nbytes(gathered) == nbytes(served) + 4 * 100
    state.close()


def test_a_request_with_many_names_is_padded_for_itself_alone() -> None:
    """What a batch reads of a bag of users is bounded as well."""
    data = tagged(60)
    likes = Feature(kind="bag", values=np.zeros((data.n_users, 1), np.int32), names=NAMES)
    data = replace(data, user_features={"likes": likes})
    fitted = recipe.build(default_recipe.of_model("item_knn", {})).fit(data, seed=0)
    variant = Variant("main", "", bundle.Bundle(fitted, data, {"files": {}}))
    requests = [RecommendRequest(features={"likes": [*NAMES[:200]]}), RecommendRequest(user_id="u001")]
    queries, _ = variant.queries(requests, [NO_RECENT_EVENTS, NO_RECENT_EVENTS], NEW)
    assert queries.features["likes"].shape == (2, 64)
    assert queries.features["likes"][:, :2].tolist() == [[0, 1], [0, -1]]
