"""Metrics by group of users: differences, small groups, values that do not vary, repeated metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pasand.audit.groups import Grouping
from pasand.audit.user_metrics import by_group, distinct, pooled_error
from tests.audit.small import data, lists

N = 200
LISTS = lists(np.zeros((N, 1), np.int32), [0] * N, data([(u, 1) for u in range(N)], N))


def halves(first: int) -> Grouping:
    inside = np.arange(N) < first
    return Grouping("tier", ["one", "two"], np.array([inside, ~inside]))


def test_a_group_is_compared_with_all_other_users() -> None:
    values = np.random.default_rng(0).normal(size=N) + (np.arange(N) < 50)
    (one, two), _ = by_group(replace(LISTS, metrics={"ndcg@10": values}), [halves(50)])
    assert one.value.mean == pytest.approx(values[:50].mean())
    assert one.reference.mean == two.value.mean == pytest.approx(values[50:].mean())
    assert one.difference.mean == pytest.approx(-two.difference.mean)
    assert one.p < 1e-4


def test_a_small_group_is_left_out_by_name() -> None:
    found, left_out = by_group(replace(LISTS, metrics={"ndcg@10": np.ones(N)}), [halves(29)])
    assert found == []
    assert left_out[0] == "tier: one has 29 test users, and 171 others; a comparison needs 30 of each"


def test_a_small_group_without_a_hit_raises_no_alarm() -> None:
    values = np.zeros(N)
    values[40:45] = 1
    (one, _), _ = by_group(replace(LISTS, metrics={"recall@10": values}), [halves(40)])
    assert one.difference.high < 0, "by the errors of the two groups alone"
    assert one.p > 0.2


def test_the_pooled_error_is_that_of_students_test() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    t = stats.ttest_ind(first, second).statistic
    assert (first.mean() - second.mean()) / pooled_error(first, second) == pytest.approx(t)


def test_metrics_that_are_multiples_are_not_repeated() -> None:
    values = np.random.default_rng(0).random(9)
    kept, notes = distinct({"recall": values, "precision": values / 10, "ndcg": values**2, "none": np.full(9, np.nan)})
    assert list(kept) == ["recall", "ndcg", "none"]
    assert notes == ["precision is a multiple of recall for every user, and is not repeated"]
