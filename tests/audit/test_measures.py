"""Exposure, Gini, popularity, new items, languages and prices of two users, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pasand.audit import cold_start, item_exposure, languages, popularity, prices
from pasand.audit.groups import item_grouping
from pasand.evaluation.intervals import bootstrap_weights
from pasand.metrics.exposure import Gini
from tests.audit.small import DAY, NOW, SECOND, data, lists, two_users

TWO = two_users()


def test_exposure_is_weighted_by_position_and_compared_with_merit() -> None:
    grouping = item_grouping("region", TWO.split.train)
    first, second = item_exposure.by_group(TWO, [grouping])[0]
    # region b has the second position of one list, and the other list
    assert second.value.mean == pytest.approx((SECOND + 1 + SECOND) / (2 + 2 * SECOND))
    assert first.value.mean + second.value.mean == pytest.approx(1)
    assert second.reference.mean == 0.5
    assert second.context["catalogue"].mean == 0.5
    assert second.context["interactions"].mean == 0
    assert second.ratio.mean == pytest.approx(2 * second.value.mean)


def test_a_group_without_merit_is_left_out_by_name() -> None:
    findings, left_out = item_exposure.by_group(TWO, [item_grouping("price", TWO.split.train)])
    assert [finding.group for finding in findings] == ["above 10 to 20", "above 20 to 30"]
    assert [line.split(" has no merit")[0] for line in left_out] == ["price: up to 10", "price: above 30"]


def test_each_user_counts_once_however_many_queries() -> None:
    one = lists(np.array([[0], [2]], np.int32), [0, 2], data([(0, 1), (1, 1)]))
    grouping = item_grouping("region", one.split.train)
    assert item_exposure.exposure_share(one, grouping, 0).value == 0.5
    repeated = one.by_user(np.array([1.0, 0.0]))
    assert repeated.tolist() == [1, 0]


def test_the_gini_coefficient_is_the_mean_absolute_difference_over_twice_the_mean() -> None:
    exposure = np.array([1, 0, 1 + SECOND, SECOND])
    expected = np.abs(exposure[:, None] - exposure).mean() / (2 * exposure.mean())
    assert popularity.gini(TWO.item_exposure()).value == pytest.approx(expected)
    assert np.isnan(popularity.gini(sparse.csr_array((3, 4))).value)


def test_the_error_of_the_gini_coefficient_is_that_of_the_bootstrap_over_users() -> None:
    rng = np.random.default_rng(0)
    by_user = rng.gamma(0.3, size=(500, 20)) * np.arange(1, 21)
    drawn = [Gini(k=0)(row) for w in bootstrap_weights(500, rng, 1000) for row in w @ by_user]
    assert popularity.gini(sparse.csr_array(by_user)).error == pytest.approx(np.std(drawn), rel=0.1)


def test_average_popularity_is_compared_with_histories_without_the_own_event() -> None:
    coefficient, average, head = popularity.measure(TWO)
    # train events by item: 1, 2, 0, 0
    assert average.value.mean == pytest.approx((1 * 1) / (2 + 2 * SECOND))
    assert average.reference.mean == pytest.approx(((0 + 1) / 2 + 1) / 2)
    assert average.context["chosen items"].mean == pytest.approx((0 + 2) / 2)
    assert coefficient.reference.mean == pytest.approx(Gini(k=0)(np.array([1.0, 2, 0, 0])))
    assert head.value.mean == 0, "the head is item 1, which no list has"


def test_new_items_are_young_at_the_query() -> None:
    one = two_users()
    times = NOW - DAY * np.array([5, 5, 20, 50])
    object.__setattr__(one.split, "available_from", times)
    (found,) = cold_start.measure(one, 30)
    assert found.value.mean == pytest.approx((1 + SECOND + 1) / (2 + 2 * SECOND))
    assert found.reference.mean == 1
    assert found.context["catalogue"].mean == 0.75
    (found,) = cold_start.measure(one, 10)
    assert found.value.mean == pytest.approx(1 / (2 + 2 * SECOND))
    assert cold_start.measure(one, 1) == []


def test_a_language_is_discovered_by_users_who_did_not_know_it() -> None:
    one = lists(np.array([[0, 2], [3, 2]], np.int32), [2, 2], data([(0, 0), (1, 0)]))
    (found,) = languages.measure(one, "language")
    assert (found.group, found.value.mean) == ("y", 1.0), "all know x, and both lists have y"
    assert found.reference.mean == pytest.approx(1 - (1 - 0.5) ** 2)
    assert np.isnan(found.p)


def test_recommended_prices_are_compared_with_usual_ones() -> None:
    price, band = prices.measure(TWO, "price")
    recommended = [(10 + 30 * SECOND) / (1 + SECOND), (30 + 40 * SECOND) / (1 + SECOND)]
    assert price.value.mean == pytest.approx(np.mean(recommended))
    assert price.reference.mean == pytest.approx((15 + 20) / 2)
    assert price.context["chosen items"].mean == 25
    # usual bands: the lower median of {0, 1} and of {1}
    assert band.value.mean == pytest.approx((SECOND + 1 + SECOND) / (2 + 2 * SECOND))
    assert band.reference.mean == 0
