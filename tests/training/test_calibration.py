"""Calibration: errors by bin with their standard errors, against hand-computed numbers and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.training.calibration import calibrated, calibration, fit_calibration


def test_bins_by_hand() -> None:
    predicted = np.array([4.0, 1.0, 3.0, 2.0])
    observed = np.array([2.0, 2.0, 2.0, 1.0])
    found = calibration(predicted, observed, np.array([0, 1, 1, 0], np.int32), bins=2)
    assert found.predicted.tolist() == [1.5, 3.5]
    assert found.observed.tolist() == [1.5, 2]
    assert found.error.tolist() == [0, 0.75]
    # in the first bin user 1 is off by 1 - 2 and user 0 by 2 - 1; sqrt(2 * 2 / 1) / 3
    # in the second user 0 by 4 - 1.75 * 2 and user 1 by 3 - 1.75 * 2; sqrt(.5 * 2 / 1) / 4
    np.testing.assert_allclose(found.standard_error, [2 / 3, 0.25])
    assert found.count.tolist() == [2, 2]
    assert str(found) == "+0 ±67, +75 ±25 %"


def test_the_standard_error_is_that_of_the_draws() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(100, dtype=np.int32), 30)
    errors, standard_errors = [], []
    for _ in range(300):
        taste = rng.gamma(2.0, 0.5, 100)[users]  # the error of the prediction is the same in all pairs of a user
        observed = rng.poisson(taste).astype(np.float64)
        found = calibration(np.ones(len(users)), observed, users, bins=1)
        errors.append(found.error[0])
        standard_errors.append(found.standard_error[0])
    assert np.mean(standard_errors) == pytest.approx(np.std(errors), rel=0.15)
    assert np.mean(errors) == pytest.approx(0, abs=0.02)


AMOUNTS = st.floats(0, 100, width=32, allow_subnormal=False)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS, st.integers(0, 3)), max_size=40))
def test_bins_are_equal_and_hold_all_pairs(pairs: list[tuple[float, float, int]]) -> None:
    predicted, observed, users = (np.array([pair[at] for pair in pairs]) for at in range(3))
    found = calibration(predicted, observed, users.astype(np.int32))
    assert found.count.sum() == len(pairs)
    assert len(found.count) == min(10, len(pairs))
    assert len(pairs) == 0 or found.count.max() - found.count.min() <= 1
    assert (np.diff(found.predicted) >= -1e-9).all()
    assert found.count @ found.observed == pytest.approx(observed.sum(), rel=1e-6, abs=1e-9)
    columns = found.as_json()
    assert len(columns["error"]) == len(columns["standard_error"]) == len(found.count)


def test_without_observed_amounts_the_error_is_unknown() -> None:
    found = calibration(np.ones(20), np.zeros(20), np.arange(20, dtype=np.int32), bins=2)
    assert np.isnan(found.error).all()
    assert found.as_json()["error"] == [None, None]
    assert calibration(np.empty(0), np.empty(0), np.empty(0, np.int32)).as_json()["count"] == []


@pytest.mark.parametrize(("slope", "bend", "most"), [(1.0, 0.0, 0.1), (0.6, 0.0, 0.1), (1.2, 0.05, 0.25)])
def test_a_map_corrects_logits_to_the_expected_amounts(slope: float, bend: float, most: float) -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(-0.5, 1, 200_000).astype(np.float32)
    log = 0.3 + slope * logit.astype(np.float64) + bend * logit.astype(np.float64) ** 2
    clicked = rng.random(len(logit)) < np.minimum(np.exp(log) / 100, 1)  # a hundred units each time, else nothing
    knots = fit_calibration(logit, np.where(clicked, 100.0, 0.0))
    mapped = calibrated(knots, logit)
    error = calibration(np.exp(mapped), np.minimum(np.exp(log), 100), np.arange(len(logit), dtype=np.int32)).error
    assert np.abs(error).max() < most
    assert np.abs(error).mean() < 0.06
    assert (np.diff(mapped[np.argsort(logit)]) >= 0).all()
    far = calibrated(knots, np.array([-50, -49, 60, 61, -np.inf], np.float32))
    assert far[1] - far[0] == pytest.approx(1)
    assert far[3] - far[2] == pytest.approx(1)
    assert far[4] == -np.inf


def test_a_map_is_level_where_higher_predictions_have_lower_amounts() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(0, 1, 50_000)
    amount = rng.poisson(np.where(logit < 1, np.exp(logit), 0.5))
    knots = fit_calibration(logit, amount)
    assert (np.diff(knots[0]) > 0).all()
    assert (np.diff(knots[1]) >= 0).all()
    assert (np.diff(knots[1]) == 0).any()


def test_a_map_of_few_amounts_is_a_shift() -> None:
    knots = fit_calibration(np.array([0.0, 1.0]), np.array([0.0, 4.0]))
    mapped = calibrated(knots, np.array([0, 1, 2], np.float32))
    assert np.exp(mapped[:2]).mean() == pytest.approx(2)
    np.testing.assert_allclose(np.diff(mapped), 1, rtol=1e-6)
    for logit, amount in ((np.zeros(0), np.zeros(0)), (np.arange(3.0), np.zeros(3))):
        same = calibrated(fit_calibration(logit, amount), np.array([-3, 2], np.float32))
        np.testing.assert_allclose(same, [-3, 2])
    level = fit_calibration(np.zeros(500), np.full(500, 7.0))
    assert float(calibrated(level, np.zeros(1, np.float32))[0]) == pytest.approx(np.log(7))
