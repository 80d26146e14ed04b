"""Predicted ratings as features: informative, and without leakage from the predicted rating itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.features import predicted_ratings, ranking_statistics
from pasand.features.ranking_features import RankingFeatures
from pasand.training import ranking_examples
from pasand.types import Array
from tests.logs import log


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rated(n_users: int = 120, n_items: int = 40) -> Dataset:
    """Users of two tastes, who rate half of all items each: 5 or 4 what is of their taste, and 1 or 2 the rest."""
    draw = rng()
    events = list[tuple[str, str, int, float]]()
    for user in range(n_users):
        for time, item in enumerate(draw.permutation(n_items)[: n_items // 2]):
            value = float((5 if item % 2 == user % 2 else 2) - draw.integers(2))
            events.append((f"u{user}", f"i{item}", 100 * user + time, value))
    return log(events)


def predicted(learnt: dict[str, Array], data: Dataset) -> tuple[Array, Array]:
    """Return the prediction of each rating from those before it, and the rating, for histories of ten and more."""
    predictions, labels = [], []
    made = ranking_examples.examples(data, "ratings", 1, len(data), rng())
    made = made.select(made.upto >= 10)
    for part, queries in made.batches():
        predictions.append(predicted_ratings.of_pairs(learnt, queries, made.items[part])[:, 0])
        labels.append(made.label[part, 0])
    return np.concatenate(predictions), np.concatenate(labels)


def test_ratings_predict_later_ratings() -> None:
    data = rated()
    prediction, label = predicted(predicted_ratings.learn(data), data)
    assert np.sqrt(np.mean((prediction - label) ** 2)) < 0.6  # half a star is noise, and the mean alone misses by 1.6
    queries = replace(data.queries(np.array([0], np.int32), k=1), users=np.array([-1], np.int32))
    own = predicted_ratings.of_pairs(predicted_ratings.learn(data), queries, np.array([[0, 1]], np.int32))
    assert abs(own[0, 0] - own[0, 1]) > 1


def test_random_ratings_are_not_predicted_in_training_either() -> None:
    """Parameters learnt from all users would predict random ratings, since each rating changed them."""
    data = rated(240)
    data = replace(data, value=rng().integers(1, 6, len(data)).astype(np.float32))
    learnt = predicted_ratings.learn(data)
    prediction, label = predicted(learnt, data)
    assert abs(np.corrcoef(prediction, label)[0, 1]) < 0.05
    all_users = {**learnt, "predicted_rating.fold": np.full(data.n_users, predicted_ratings.FOLDS)}
    assert np.corrcoef(*predicted(all_users, data))[0, 1] > 0.08


def test_unknown_and_new_items_have_no_prediction() -> None:
    data = rated()
    learnt = ranking_statistics.learn(data, ranking_statistics.FeatureSelection(predicted_rating=True))
    assert ranking_statistics.pair_features(learnt)[-1] == "predicted_rating"
    extended = learnt | ranking_statistics.extended_with_items(learnt, {}, 2)
    queries = data.queries(np.array([0], np.int32), k=1)
    items = np.array([[0, data.n_items, data.n_items + 1, -1]], np.int32)
    features = RankingFeatures(extended).raw_of_pairs(queries, items)
    assert np.isfinite(features[:, -1]).tolist() == [True, False, False, False]
    assert features[0, -1] == RankingFeatures(learnt).raw_of_pairs(queries, items[:, :1])[0, -1]


def test_rankers_of_rated_logs_read_it() -> None:
    pytest.importorskip("torch")
    from pasand.models.rankers.fm import FM

    data = rated(40, 20)
    for objective, reads in (("liked", True), ("ratings", True), ("clicked", False)):
        model = FM(epochs=1, patience=0, objective=objective).fit(data, rng=rng())  # type: ignore[arg-type]
        assert ("predicted_rating" in model.features_read()) == reads
