"""Diagnosis: Pareto k of known tails, effective sample sizes, and a status with a sentence for each case."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pasand.off_policy.diagnosis import diagnose
from pasand.off_policy.logged import Logged
from pasand.off_policy.pareto import pareto_k
from pasand.types import Array


def log_of(weight: Array) -> Logged:
    return Logged(reward=np.zeros(len(weight)), weight=weight, user=np.arange(len(weight)))


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_pareto_k_of_pareto_tails(k: float) -> None:
    rng = np.random.default_rng(0)
    found = [pareto_k(rng.random(20_000) ** -k) for _ in range(20)]
    assert np.mean(found) == pytest.approx(k, abs=0.06)


def test_no_tail_is_no_tail() -> None:
    assert pareto_k(np.ones(1000)) == -math.inf
    assert pareto_k(np.array([1.0, 2.0])) == -math.inf
    assert pareto_k(np.random.default_rng(0).random(10_000)) < 0  # bounded: k is -1


def test_effective_sample_size_by_hand() -> None:
    found = diagnose(log_of(np.array([3.0, 1.0, 0.0, 0.0])))
    assert found.effective == 16 / 10
    assert found.mean_weight == 1


def test_equal_weights_are_ok() -> None:
    found = diagnose(log_of(np.ones(100)))
    assert (found.status, found.deviation, found.effective) == ("ok", 0.0, 100.0)
    assert "about 100 of 100" in found.sentence


def test_propensities_of_1_are_refused() -> None:
    found = diagnose(log_of(np.ones(100)), random=0.0)
    assert found.status == "refused"
    assert "exploration" in found.sentence


def test_a_policy_that_the_log_never_shows_is_refused() -> None:
    found = diagnose(log_of(np.zeros(100)))
    assert (found.status, found.missing) == ("refused", 1.0)
    assert "could not have been logged" in found.sentence


def test_missing_support_is_refused_beyond_a_twentieth() -> None:
    assert diagnose(log_of(np.tile([0.5, 1.0], 500))).status == "refused"
    assert diagnose(log_of(np.ones(1000)), never_logged=0.06).status == "refused"
    assert diagnose(log_of(np.ones(1000)), never_logged=0.04).status == "ok"


def test_few_effective_decisions_are_refused() -> None:
    assert diagnose(log_of(np.r_[np.zeros(980), np.full(20, 50.0)])).status == "refused"
    assert diagnose(log_of(np.ones(29))).status == "refused"


def test_heavy_tails_are_wide() -> None:
    weight = np.random.default_rng(2).random(20_000) ** -0.65
    found = diagnose(log_of(weight / weight.mean()))
    assert found.tail > 0.3
    assert found.effective < 0.2 * found.n or found.status == "ok"
    heavy = np.random.default_rng(3).pareto(1.3, 20_000) ** 1.0
    assert diagnose(log_of(heavy / heavy.mean())).status == "wide"


def test_a_mean_weight_far_from_1_is_wide() -> None:
    found = diagnose(log_of(np.tile([1.0, 1.4], 500)))
    assert found.status == "wide"
    assert "propensities may be wrong" in found.sentence


def test_json_has_no_infinite_numbers() -> None:
    assert diagnose(log_of(np.ones(10))).as_json()["tail"] is None
