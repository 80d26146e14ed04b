"""Estimators on hand-computed logs, and their guarantees on worlds with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pasand.off_policy import estimators
from pasand.off_policy.logged import Logged

LOG = Logged(
    reward=np.array([1.0, 0.0, 1.0, 0.0]),
    weight=np.array([0.5, 2.0, 4.0, 0.0]),
    user=np.array([0, 0, 1, 2]),
    expected=np.array([0.5, 0.5, 0.25, 0.0]),
    policy_expected=np.array([0.5, 0.25, 0.25, 0.5]),
)
VALUES = {
    "dm": 0.375,
    "ips": 4.5 / 4,
    "snips": 4.5 / 6.5,
    "dr": 0.375 + (0.25 - 1.0 + 3.0) / 4,
    "sndr": 0.375 + (0.25 - 1.0 + 3.0) / 6.5,
}


@pytest.mark.parametrize("name", VALUES)
def test_values_by_hand(name: str) -> None:
    assert getattr(estimators, name)(LOG).estimate(LOG.user).value == pytest.approx(VALUES[name], abs=1e-12)


def test_parameters_by_hand() -> None:
    assert estimators.ips(LOG, clip=1).estimate(LOG.user).value == pytest.approx(1.5 / 4)
    assert estimators.switch_dr(LOG, threshold=2).estimate(LOG.user).value == pytest.approx(0.375 - 0.75 / 4)
    shrunk = [2 * w / (w * w + 2) * d for w, d in ((0.5, 0.5), (2, -0.5), (4, 0.75))]
    assert estimators.dros(LOG, shrinkage=2).estimate(LOG.user).value == pytest.approx(0.375 + sum(shrunk) / 4)


def test_parameters_end_at_the_direct_method_and_at_doubly_robust() -> None:
    dm, dr = (one(LOG).estimate(LOG.user).value for one in (estimators.dm, estimators.dr))
    assert estimators.dros(LOG, shrinkage=0).estimate(LOG.user).value == dm
    assert estimators.switch_dr(LOG, threshold=0).estimate(LOG.user).value == dm
    for family in (estimators.dros, estimators.switch_dr):
        assert family(LOG, math.inf).estimate(LOG.user).value == dr


def test_influences_sum_to_0_and_match_a_numerical_derivative() -> None:
    terms = estimators.sndr(LOG)
    sums, found = terms.by_user(LOG.user), terms.estimate(LOG.user)
    assert found.influence.sum() == pytest.approx(0, abs=1e-12)

    def value(weights: np.ndarray) -> float:
        n, base, numerator, denominator = weights @ sums
        return float(base / n + numerator / denominator)

    for u in range(3):
        step = np.eye(3)[u] * 1e-6
        derivative = (value(np.ones(3) + step) - value(np.ones(3) - step)) / 2e-6
        assert found.influence[u] == pytest.approx(derivative, abs=1e-7)


def test_unbiased_and_errors_are_those_of_repeated_logs() -> None:
    rng = np.random.default_rng(0)
    logged, policy, click = rng.dirichlet(np.full(6, 9.0)), rng.dirichlet(np.full(6, 9.0)), rng.random(6)
    truth, n = float(policy @ click), 400
    for name in ("ips", "snips", "dr", "sndr"):
        values, errors = [], []
        for _ in range(300):
            shown = rng.choice(6, n, p=logged)
            reward = (rng.random(n) < click[shown]).astype(float)
            model = np.full(6, 0.5)
            log = Logged(
                reward=reward,
                weight=(policy / logged)[shown],
                user=np.arange(n),
                expected=model[shown],
                policy_expected=np.full(n, policy @ model),
            )
            found = getattr(estimators, name)(log).estimate(log.user)
            values.append(found.value)
            errors.append(found.error)
        spread = np.std(values)
        assert abs(np.mean(values) - truth) < 4 * spread / math.sqrt(300) + 0.002
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.15)


def test_no_weight_at_all_is_undefined_and_no_error() -> None:
    log = Logged(reward=np.ones(3), weight=np.zeros(3), user=np.arange(3))
    assert math.isnan(estimators.snips(log).estimate(log.user).value)
    assert estimators.ips(log).estimate(log.user).value == 0


@pytest.mark.parametrize(
    "bad", [{"weight": [-1.0]}, {"reward": [math.nan]}, {"weight": [1.0, 2.0]}, {"expected": [0.5]}]
)
def test_bad_columns_are_refused(bad: dict[str, list[float]]) -> None:
    columns = {"reward": np.ones(1), "weight": np.ones(1), "user": np.zeros(1, np.int64)}
    with pytest.raises(ValueError, match=r"finite|at least 0|shape|together"):
        Logged(**{**columns, **{name: np.array(values) for name, values in bad.items()}})
