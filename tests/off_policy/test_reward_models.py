"""The reward model: a general solver's optimum, held-out users, constants, unknown items."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit

from pasand.off_policy.reward_models import fit, logistic


def test_equal_to_a_general_solver() -> None:
    rng = np.random.default_rng(0)
    count = rng.integers(1, 30, (3, 5)).astype(float)
    total = rng.binomial(count.astype(int), 0.3).astype(float)

    def loss(x: np.ndarray) -> float:
        p = expit(x[0] + x[1:4, None] + x[4:])
        fitted = -(total * np.log(p) + (count - total) * np.log(1 - p)).sum()
        return float(fitted + (x[1:4] ** 2).sum() / 2 + 4 * (x[4:] ** 2).sum() / 2)

    x = optimize.minimize(loss, np.zeros(9), tol=1e-12).x
    assert logistic(count, total, 4.0) == pytest.approx(expit(x[0] + x[1:4, None] + x[4:]), abs=1e-5)


def test_no_click_and_only_clicks_are_constants() -> None:
    count = np.full((2, 3), 5.0)
    assert (logistic(count, np.zeros((2, 3)), 1.0) == 0).all()
    assert (logistic(count, count, 1.0) == 1).all()


def test_users_do_not_predict_themselves() -> None:
    rng = np.random.default_rng(0)
    user = np.arange(3000) % 300
    item, position = rng.integers(0, 4, 3000), rng.integers(0, 2, 3000)
    reward = (rng.random(3000) < 0.2).astype(float)
    before = fit(reward, position, item, user, shape=(2, 4), max_reward=1.0)
    changed = np.where(user == 7, 1.0, reward)
    after = fit(changed, position, item, user, shape=(2, 4), max_reward=1.0)
    own = before.fold[user == 7][0]
    assert before.table[own] == pytest.approx(after.table[own])
    assert (before.table != after.table).any()


def test_items_differ_where_the_log_shows_it() -> None:
    rng = np.random.default_rng(0)
    item, position = rng.integers(0, 4, 20_000), rng.integers(0, 2, 20_000)
    rate = np.array([0.05, 0.1, 0.2, 0.4])
    model = fit(2 * (rng.random(20_000) < rate[item]), position, item, np.arange(20_000), shape=(2, 4), max_reward=2.0)
    assert model.table.mean(axis=(0, 1)) == pytest.approx(2 * rate, rel=0.2)
    zero = np.zeros(20_000, np.int32)
    assert (model.at(zero, zero - 1) == 0).all()
    assert model.at(zero, zero + 4) == pytest.approx(model.table[model.fold, 0].mean(axis=1))


def test_a_log_of_one_user_has_a_model() -> None:
    model = fit(np.ones(4), np.zeros(4, int), np.arange(4), np.zeros(4, int), shape=(1, 4), max_reward=1.0)
    assert np.isfinite(model.table).all()
