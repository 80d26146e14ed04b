"""Gradient-boosted trees over the scores of base models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pasand.contracts import Model
from pasand.errors import InputError
from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.popularity import Popularity
from pasand.models.classical.random import Random
from pasand.stages import decision_trees
from pasand.stages.boosting import Boosted
from tests.logs import tastes

lightgbm: Any = pytest.importorskip("lightgbm")

FEW = {"holdout_share": 0.4, "min_leaf_examples": 5, "trees": 40, "negatives": 10}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("missing", [False, True])
def test_trees_score_as_lightgbm_does(missing: bool) -> None:
    rows = rng().normal(size=(500, 4))
    if missing:
        rows[rng().random(rows.shape) < 0.2] = np.nan
    label = np.nan_to_num(rows[:, 0]) * np.nan_to_num(rows[:, 1]) + np.isnan(rows[:, 2])
    grown = lightgbm.train({"verbosity": -1, "min_data_in_leaf": 5}, lightgbm.Dataset(rows, label), 20)
    inputs = np.vstack([rows, np.full((1, 4), np.nan), np.zeros((1, 4))])
    np.testing.assert_allclose(
        decision_trees.predict(decision_trees.packed(grown.dump_model()), inputs), grown.predict(inputs), atol=1e-12
    )


@pytest.mark.parametrize("objective", ["binary", "lambdarank"])
def test_it_learns_which_model_to_trust(objective: Any) -> None:
    data = tastes(n_users=300, n_items=45, per_user=10)
    models = [Random().fit(data, rng=rng()), ItemKNN().fit(data, rng=rng()), Popularity().fit(data, rng=rng())]
    model = Boosted(models=models, objective=objective, **FEW).fit(data, rng=rng())  # type: ignore[arg-type]
    queries = data.queries(np.arange(data.n_users, dtype=np.int32), k=10)
    scores = model.score(queries, None)
    own = np.arange(data.n_items)[None, :] % 3 == np.arange(data.n_users)[:, None] % 3
    agree = scores[own].mean() - scores[~own].mean()
    assert agree > scores.std()
    some = np.array([[3, -1, 7, 99]] * data.n_users, np.int32)
    picked = model.score(queries, some)
    np.testing.assert_allclose(picked[:, [0, 2]], scores[:, [3, 7]], rtol=1e-5)
    assert np.isneginf(picked[:, [1, 3]]).all()
    again = Boosted(models=models, objective=objective, **FEW)  # type: ignore[arg-type]
    again.load_state(model.state())
    assert np.array_equal(again.score(queries, None), scores)


def test_influences_and_the_base_sum_to_the_score() -> None:
    data = tastes(n_users=300, n_items=45, per_user=10)
    models: list[Model] = [Random().fit(data, rng=rng()), ItemKNN().fit(data, rng=rng())]
    model = Boosted(models=models, **FEW).fit(data, rng=rng())  # type: ignore[arg-type]
    queries = data.queries(np.array([0, 1, -1], np.int32), k=10)
    items = np.array([[3, 7, -1]] * 3, np.int32)
    scores, influences = model.score(queries, items), model.influences(queries, items)
    for row, found in zip(scores, influences, strict=True):
        assert found[2] == []
        for score, features in zip(row[:2], found[:2], strict=True):
            assert model.base + sum(value for _, value in features) == pytest.approx(score, abs=1e-5)
            assert [abs(value) for _, value in features] == sorted((abs(value) for _, value in features), reverse=True)
    # item 3 matches the taste of user 0 and item 7 does not: item kNN separates them, random scores do not
    by_model = [dict(features) for features in influences[0][:2]]
    known = [sum(value for name, value in one.items() if name.startswith("ItemKNN")) for one in by_model]
    assert known[0] > 0 > known[1]
    assert influences[0][0][0][0].startswith("ItemKNN: score")


def test_ratings_are_predicted_within_the_scale() -> None:
    data = tastes(n_users=300, n_items=45, per_user=10)
    knn = ItemKNN().fit(data, rng=rng())
    model = Boosted(models=[knn], objective="regression", **FEW).fit(data, rng=rng())  # type: ignore[arg-type]
    queries = data.queries(np.array([0, 1, -1], np.int32), k=3)
    predicted = model.predict(queries, np.array([[0, 1], [1, 0], [0, 1]], np.int32))
    assert np.isfinite(predicted).all()
    assert ((predicted >= 2) & (predicted <= 5)).all()
    assert predicted[0, 0] > predicted[0, 1] + 1
    with pytest.raises(InputError, match="not ratings"):
        Boosted(models=[knn]).predict(queries, np.zeros((3, 1), np.int32))


def test_data_without_ratings_or_events_are_refused() -> None:
    data = tastes()
    knn = ItemKNN().fit(data, rng=rng())
    with pytest.raises(InputError, match="needs ratings"):
        Boosted(models=[knn], objective="regression").fit(replace(data, value=None, values="none"), rng=rng())
    with pytest.raises(InputError, match="too few events"):
        Boosted(models=[knn]).fit(data.select(slice(0, 0)), rng=rng())
    with pytest.raises(ValueError, match="models"):
        Boosted(models=[])
