"""Intervals cover the true value at their level, and paired tests keep their level of false positives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pasand.evaluation.compare import evaluate_entry, model_entry
from pasand.evaluation.intervals import Interval, bootstrap_weights, ratio_intervals
from pasand.evaluation.protocols.folds import Folds
from pasand.evaluation.significance import holm, paired
from tests.evaluation.logs import SEEDS, ByRow, random_log


def test_weights_draw_every_replicate_with_replacement() -> None:
    drawn = np.vstack(list(bootstrap_weights(7, np.random.default_rng(0), 500)))
    assert drawn.shape == (500, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(3, 2, (400, 1))
    mean, low, high = ratio_intervals(values, np.ones_like(values), np.random.default_rng(0))
    error = 1.96 * values.std() / np.sqrt(400)
    assert mean == pytest.approx([values.mean()])
    assert low == pytest.approx([values.mean() - error], abs=0.05)
    assert high == pytest.approx([values.mean() + error], abs=0.05)


def test_intervals_cover_the_truth_about_19_times_of_20() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(200):
        values = rng.exponential(1, (80, 1))
        _, low, high = ratio_intervals(values, np.ones_like(values), rng)
        covered += bool(low[0] <= 1 <= high[0])
    assert 0.88 <= covered / 200 <= 0.99


def test_ratios_weigh_users_by_their_ratings() -> None:
    loss, ratings = np.array([[8.0], [1.0]]), np.array([[4.0], [1.0]])
    mean, low, high = ratio_intervals(loss, ratings, np.random.default_rng(0))
    assert (mean[0], low[0], high[0]) == (9 / 5, 1, 2)


def test_rounding_leaves_no_bound_outside_the_values() -> None:
    for value in (0.1, 1 / 3, 0.7, 1.0):
        values = np.full((9, 1), value)
        for end in ratio_intervals(values, np.ones_like(values), np.random.default_rng(0)):
            assert end[0] == value
    values = (np.random.default_rng(0).random((50, 1)) < 0.98).astype(np.float64)
    mean, low, high = ratio_intervals(values, np.ones_like(values), np.random.default_rng(0))
    assert 0 <= low[0] <= mean[0] <= high[0] <= 1


def test_a_numerator_without_a_denominator_counts() -> None:
    above, below = np.array([[0.5], [0.2], [0.3]]), np.array([[0.0], [0.2], [0.1]])
    mean, _, high = ratio_intervals(above, below, np.random.default_rng(0))
    assert mean[0] == pytest.approx(1 / 0.3)
    assert high[0] > mean[0]


def test_nothing_defined_is_nan() -> None:
    for n in (0, 3):
        assert np.isnan(ratio_intervals(np.zeros((n, 1)), np.zeros((n, 1)), np.random.default_rng(0))).all()


def test_one_user_has_no_interval() -> None:
    values, rng = np.array([[0.5, 0.25], [0.75, 0]]), np.random.default_rng(0)
    mean, low, high = ratio_intervals(values, np.array([[1.0, 1], [1, 0]]), rng)
    assert mean.tolist() == [0.625, 0.25]
    assert (low[0], high[0]) == (0.5, 0.75)
    assert np.isnan([low[1], high[1]]).all()
    assert str(Interval(0.25)) == "0.2500 [undefined]"


BOUNDED = ["auc"] + [
    f"{name}@3"
    for name in ("ndcg", "recall", "capped_recall", "precision", "hit_rate", "map", "mrr", "coverage", "gini")
]


@settings(max_examples=40)
@given(seed=SEEDS, n_users=st.integers(1, 6), n_items=st.integers(2, 8), backwards=st.booleans())
def test_intervals_hold_the_mean_and_stay_in_the_range_of_the_metric(
    seed: int, n_users: int, n_items: int, backwards: bool
) -> None:
    data = random_log(seed, n_users=n_users, n_items=n_items, n_events=30)
    names = [*BOUNDED, "rmse", "mae"]
    found = evaluate_entry(model_entry("by row", ByRow(backwards=backwards)), Folds(n=2).split(data), names, seed)
    e = found.evaluation
    parts = [e.overall, e.cold_items, *(group.metrics for group in e.groups)]
    for name, interval in [pair for part in parts for pair in part.items()]:
        if not np.isnan(interval.low):
            top = 1 if name in BOUNDED else 4
            assert 0 <= interval.low <= interval.mean + 1e-12, (name, interval)
            assert interval.mean - 1e-12 <= interval.high <= top, (name, interval)
        else:
            assert np.isnan(interval.high)
    for name, value in e.overall.items():
        if name in e.user_values and np.isfinite(e.user_values[name]).sum() == 1:
            assert np.isnan(value.low), name
    if e.n_users["overall"] == 1:
        assert np.isnan([e.overall[name].low for name in ("coverage@3", "gini@3")]).all()


def test_paired_agrees_with_scipy_and_drops_undefined_users() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.3, 1, 60), rng.normal(0, 1, 60)
    found = paired(np.append(first, np.nan), np.append(second, 1), rng=rng)
    assert found.n_users == 60
    assert found.difference == pytest.approx((first - second).mean())
    assert found.t == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found.permutation == pytest.approx(found.t, abs=0.03)


def test_the_permutation_test_keeps_its_level() -> None:
    rng = np.random.default_rng(4)
    p = np.array([paired(rng.exponential(1, 25), rng.exponential(1, 25), rng=rng).permutation for _ in range(200)])
    assert (p < 0.05).mean() <= 0.1
    assert p.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("first", "p"), [([1.0, 2.0], 1), ([1.0], np.nan), ([], np.nan)])
def test_equal_or_too_few_users(first: list[float], p: float) -> None:
    found = paired(np.array(first), np.array(first), rng=np.random.default_rng(0))
    assert [found.t, found.wilcoxon, found.permutation] == pytest.approx([p] * 3, nan_ok=True)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, np.nan, 0.02, 0.03])) == pytest.approx([0.03, np.nan, 0.04, 0.04], nan_ok=True)
    assert holm(np.array([0.6, 0.9])).tolist() == [1, 1]
    assert len(holm(np.array([]))) == 0
