"""Rating errors, exposure and diversity by hand, and metrics by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.metrics.diversity import AveragePopularity, IntraListDiversity, Novelty
from pasand.metrics.exposure import Coverage, Gini
from pasand.metrics.names import metric_classes, metrics
from pasand.metrics.rating import MAE, RMSE
from tests.metrics.test_accuracy import lists, truth


def log_of(*users: list[int], n_items: int = 5, **features: Feature) -> Dataset:
    """Return a dataset in which each user consumed the listed items."""
    user = np.repeat(np.arange(len(users)), [len(items) for items in users]).astype(np.int32)
    item = np.array([item for items in users for item in items], np.int32)
    return Dataset(
        name="small",
        users=Vocabulary(range(len(users))),
        items=Vocabulary(range(n_items)),
        user=user,
        item=item,
        time=np.arange(len(user)),
        item_features=features,
    )


def test_rating_errors_by_hand() -> None:
    predicted, actual = np.array([3, 4, 1], np.float32), np.array([5, 4, 2], np.float32)
    assert RMSE().loss(predicted, actual).tolist() == [4, 0, 1]
    assert RMSE().finish(np.array([4.0])).tolist() == [2]
    assert MAE().loss(predicted, actual).tolist() == [2, 0, 1]
    assert MAE().finish(np.array([4.0])).tolist() == [4]


def test_coverage_and_gini_by_hand() -> None:
    assert Coverage(1)(np.array([3.0, 0, 1, 0])) == 0.5
    assert Coverage(1)(np.array([])) == 0
    assert Gini(1)(np.array([1.0, 1, 1, 1])) == 0
    assert Gini(1)(np.array([0.0, 0, 0, 8])) == 0.75
    assert Gini(1)(np.array([1.0, 3])) == 0.25
    assert np.isnan(Gini(1)(np.zeros(3)))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_difference(shown: list[int]) -> None:
    exposure = np.array(shown, np.float64)
    expected = np.abs(exposure[:, None] - exposure).mean() / (2 * exposure.mean())
    assert Gini(1)(exposure) == pytest.approx(expected)


def test_novelty_and_popularity_by_hand() -> None:
    train = log_of([0, 1], [0, 0], [0, 1], [0, 2])
    found, nothing = lists([0, 1, 3], [2], []), truth({}, {}, {})
    # items 0..3 were consumed by 4, 2, 1 and 0 of 4 users; none counts as half a user: 3 bits
    assert Novelty(3).fitted(train)(found, nothing) == pytest.approx([(0 + 1 + 3) / 3, 2, np.nan], nan_ok=True)
    assert Novelty(1).fitted(train)(found, nothing)[0] == 0
    popularity = AveragePopularity(3).fitted(train)(found, nothing)
    assert popularity == pytest.approx([(1 + 0.5 + 0) / 3, 0.25, np.nan], nan_ok=True)


def test_diversity_by_users_in_common() -> None:
    train = log_of([0, 1], [0, 1], [0, 2], [3])
    # cosines: 0 1 2/sqrt(6), 0 2 1/sqrt(3), 1 2 none; item 4 unknown
    values = IntraListDiversity(3).fitted(train)(lists([0, 1, 2], [0, 4], [3, 1, 0], [2]), truth({}, {}, {}, {}))
    expected = [1 - (2 / np.sqrt(6) + 1 / np.sqrt(3)) / 3, 1, 1 - 2 / np.sqrt(6) / 3, np.nan]
    assert values == pytest.approx(expected, nan_ok=True)


def test_diversity_by_features() -> None:
    genres = Feature(
        kind="bag", values=np.array([[0, 1], [0, -1], [-1, -1], [1, 0], [1, -1]], np.int32), names=("x", "y")
    )
    year = Feature(kind="number", values=np.arange(5, dtype=np.float32))
    train = log_of([0], genres=genres, year=year)
    values = IntraListDiversity(2).fitted(train)(lists([0, 3], [0, 1], [1, 4], [1, 2]), truth({}, {}, {}, {}))
    assert values == pytest.approx([0, 1 - np.sqrt(0.5), 1, 1], abs=1e-6)


def test_every_metric_is_found_by_its_name() -> None:
    expected = (
        "auc average_popularity capped_recall coverage gini hit_rate intra_list_diversity mae map mrr ndcg novelty"
    )
    assert sorted(metric_classes()) == [*expected.split(), "precision", "recall", "rmse"]
    found = metrics(["ndcg@10", "novelty@3", "coverage@20", "rmse"], log_of([0]))
    assert (list(found.lists), list(found.runs), list(found.ratings)) == (
        ["ndcg@10", "novelty@3"],
        ["coverage@20"],
        ["rmse"],
    )
    assert found.k == 20
    assert metrics(["auc", "ndcg@10"], log_of([0])).k == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accuracy@10", "no such metric.*ndcg"),
        ("ndcg", "write ndcg@10"),
        ("ndcg@0", "at least 1"),
        ("ndcg@ten", "whole number"),
        ("rmse@10", "has no k"),
    ],
)
def test_wrong_names_raise_an_error_with_the_cure(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics([name], log_of([0]))
