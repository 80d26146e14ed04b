"""Errors of predicted ratings by group of users, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.audit.groups import Grouping, user_grouping
from pasand.audit.rating_errors import Errors, by_group, measured
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.temporal import Temporal
from pasand.models.ratings.biased_mf import BiasedMF
from pasand.recommender import fallback_chain
from pasand.simulation.world import World


def test_every_rating_counts_once() -> None:
    errors = Errors(squared=np.array([2.0, 6.0, 9.0]), absolute=np.array([2.0, 4.0, 3.0]), count=np.array([2.0, 2, 1]))
    found = errors.of(np.array([True, True, False]))
    assert found["rmse"].value == pytest.approx(np.sqrt(8 / 4))
    assert found["mae"].value == pytest.approx(6 / 4)
    assert found["rmse"].n_users == 2
    step = 1e-6
    heavier = np.sqrt((2 * (1 + step) + 6) / (2 * (1 + step) + 2))
    assert found["rmse"].influence[0] == pytest.approx((heavier - np.sqrt(2)) / step, rel=1e-4)


def test_a_group_is_compared_with_all_others() -> None:
    rng = np.random.default_rng(0)
    table = np.array([np.arange(80) < 40, np.arange(80) >= 40])
    worse = np.where(table[0], 4.0, 1.0)
    errors = Errors(squared=worse * rng.uniform(0.9, 1.1, 80), absolute=np.sqrt(worse), count=np.ones(80))
    rmse, mae, *_ = by_group(errors, [Grouping("area", ["rural", "urban"], table)])
    assert (rmse.measure, rmse.group, mae.measure) == ("rmse", "rural", "mae")
    assert rmse.value.mean == pytest.approx(2, abs=0.05)
    assert rmse.difference.mean == pytest.approx(1, abs=0.05)
    few = np.array([np.arange(80) < 20, np.arange(80) >= 20])
    assert by_group(errors, [Grouping("area", ["rural", "urban"], few)]) == []


def test_the_errors_of_all_users_are_those_of_an_evaluation() -> None:
    data = World(n_users=150, days=40, visits=1, rural=0.4).dataset(impressions=False)
    (split,) = Temporal().split(data)
    model = BiasedMF().fit(split.train, rng=np.random.default_rng(0))
    errors = measured(model, split, data.n_users)
    assert errors is not None
    rng = np.random.default_rng(0)
    evaluation = evaluate(fallback_chain(model), split, ["rmse", "mae"], model=model, rng=rng).overall
    found = errors.of(np.ones(data.n_users, np.bool_))
    assert found["rmse"].value == pytest.approx(evaluation["rmse"].mean, rel=1e-6)
    assert found["mae"].value == pytest.approx(evaluation["mae"].mean, rel=1e-6)
    assert {finding.group for finding in by_group(errors, [user_grouping("area", split.train)])} == {"rural", "urban"}
