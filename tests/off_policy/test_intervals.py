"""Both intervals: against an independent solver, on hand-checked cases, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from pasand.off_policy import estimators
from pasand.off_policy.bootstrap import usual_interval
from pasand.off_policy.empirical_likelihood import safe_interval
from pasand.off_policy.logged import Logged


def log_likelihood(weight: np.ndarray, reward: np.ndarray, value: float, most: float) -> float:
    """Return the largest log-likelihood ratio of a value, by a general solver on the atoms and the vertices."""
    n = len(weight)
    w, x = np.r_[weight, 0, 0, most, most], np.r_[weight * reward, 0, 0, 0, most]
    constraints = [
        {"type": "eq", "fun": lambda q: q.sum() - 1},
        {"type": "eq", "fun": lambda q: q @ w - 1},
        {"type": "eq", "fun": lambda q: q @ x - value},
    ]
    found = optimize.minimize(  # type: ignore[call-overload]
        lambda q: -np.log(n * q[:n]).sum(),
        np.r_[np.full(n, 0.9 / n), np.full(4, 0.025)],
        jac=lambda q: np.r_[-1 / q[:n], np.zeros(4)],
        constraints=constraints,
        bounds=[(1e-9, 1)] * n + [(0, 1)] * 4,
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    return -float(found.fun)


@pytest.mark.parametrize("seed", range(3))
def test_safe_bounds_have_the_likelihood_of_the_quantile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, most = 25, 6.0
    weight, reward = rng.gamma(1, 1, n).clip(0, most), (rng.random(n) < 0.5).astype(float)
    found = safe_interval(Logged(reward=reward, weight=weight, user=np.arange(n)), most, 1.0)
    at = {value: log_likelihood(weight, reward, value, most) for value in (found.mean, found.low, found.high)}
    half = stats.f.isf(0.05, 1, n - 1) / 2
    for bound in (found.low, found.high):
        assert at[found.mean] - at[bound] == pytest.approx(half, abs=0.01)
    assert all(at[found.mean] >= one - 1e-3 for one in at.values())


def test_safe_of_weights_1_is_the_binomial_likelihood_interval() -> None:
    log = Logged(reward=np.r_[np.ones(8), np.zeros(32)], weight=np.ones(40), user=np.arange(40))
    found, half = safe_interval(log, 1.0, 1.0), stats.f.isf(0.05, 1, 39) / 2

    def lost(p: float) -> float:
        return float(8 * np.log(0.2 / p) + 32 * np.log(0.8 / (1 - p))) - half

    assert found.mean == pytest.approx(0.2, abs=1e-3)
    assert found.low == pytest.approx(optimize.brentq(lost, 0.01, 0.2), abs=1e-3)
    assert found.high == pytest.approx(optimize.brentq(lost, 0.2, 0.9), abs=1e-3)


def test_safe_grows_with_the_range_and_holds_what_was_never_seen() -> None:
    log = Logged(reward=np.zeros(100), weight=np.r_[np.zeros(50), np.full(50, 2.0)], user=np.arange(100))
    highs = [safe_interval(log, most, 1.0).high for most in (2.0, 10.0, 50.0)]
    assert safe_interval(log, 2.0, 1.0).low == 0
    assert highs[0] < highs[1] < highs[2]
    assert highs[0] > 0.02  # no reward in about 100 decisions does not exclude 2 %


def test_equal_decisions_of_one_user_are_one_unit() -> None:
    rng = np.random.default_rng(0)
    weight, reward = rng.gamma(2, 0.5, 60).clip(0, 5), (rng.random(60) < 0.3).astype(float)
    once = Logged(reward=reward, weight=weight, user=np.arange(60))
    twice = Logged(reward=np.repeat(reward, 2), weight=np.repeat(weight, 2), user=np.repeat(np.arange(60), 2))
    assert safe_interval(once, 5.0, 1.0).span == pytest.approx(safe_interval(twice, 5.0, 1.0).span, rel=1e-3)
    one, two = (usual_interval(estimators.snips(log), log.user, np.random.default_rng(1)) for log in (once, twice))
    assert one.span == pytest.approx(two.span)


def test_one_user_has_no_interval() -> None:
    log = Logged(reward=np.ones(5), weight=np.ones(5), user=np.zeros(5, np.int64))
    assert np.isnan(usual_interval(estimators.ips(log), log.user, np.random.default_rng(0)).low)
    assert safe_interval(log, 2.0, 1.0).span[1:] == (0.0, 1.0)


def test_a_range_without_the_log_is_refused() -> None:
    log = Logged(reward=np.ones(3), weight=np.full(3, 4.0), user=np.arange(3))
    with pytest.raises(ValueError, match="beyond"):
        safe_interval(log, 2.0, 1.0)
    with pytest.raises(ValueError, match="range"):
        safe_interval(log, 0.5, 1.0)


def test_coverage() -> None:
    rng = np.random.default_rng(4)
    logged, policy = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    click, inside = np.array([0.1, 0.2, 0.3]), np.zeros(2)
    truth, logs = float(policy @ click), 200
    for _ in range(logs):
        shown = rng.choice(3, 300, p=logged)
        log = Logged(
            reward=(rng.random(300) < click[shown]).astype(float), weight=(policy / logged)[shown], user=np.arange(300)
        )
        usual = usual_interval(estimators.snips(log), log.user, rng, replicates=300)
        safe = safe_interval(log, 2.5, 1.0)
        inside += [usual.low <= truth <= usual.high, safe.low <= truth <= safe.high]
    assert 0.90 <= inside[0] / logs <= 0.99
    assert inside[1] / logs >= 0.91


def test_many_users_are_resampled_in_groups() -> None:
    rng = np.random.default_rng(0)
    log = Logged(reward=rng.random(50_000), weight=np.ones(50_000), user=np.arange(50_000))
    found = usual_interval(estimators.ips(log), log.user, rng, replicates=200)
    assert found.high - found.low == pytest.approx(3.92 * log.reward.std() / np.sqrt(50_000), rel=0.2)
