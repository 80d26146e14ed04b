"""SLOPE++: it keeps an unbiased estimator where others are biased, and takes a narrower one where they agree."""

from __future__ import annotations

import math

import numpy as np

from pasand.off_policy.logged import Terms
from pasand.off_policy.tuning import candidates, slope

USER = np.arange(400)
NOISE = np.random.default_rng(0).standard_normal(400)
NOISE = (NOISE - NOISE.mean()) / NOISE.std()


def family(bias: dict[float, float]) -> object:
    """Return estimators of the value 1 with spread = parameter, and these biases."""

    def made(parameter: float) -> Terms:
        return Terms(np.zeros(400), 1 + bias.get(parameter, 0.0) + parameter * NOISE, np.ones(400))

    return made


def test_without_bias_the_narrowest_is_chosen() -> None:
    assert slope(family({}), [8.0, 4.0, 2.0, 1.0], USER) == 1.0  # type: ignore[arg-type]


def test_the_last_before_a_bias_is_chosen() -> None:
    assert slope(family({1.0: 3.0, 2.0: 3.0}), [8.0, 4.0, 2.0, 1.0], USER) == 4.0  # type: ignore[arg-type]


def test_order_of_candidates_does_not_matter() -> None:
    assert slope(family({1.0: 3.0}), [1.0, 4.0, 2.0, 8.0], USER) == 2.0  # type: ignore[arg-type]


def test_without_an_interval_the_first_is_returned() -> None:
    assert (
        slope(lambda _: Terms(np.zeros(1), np.ones(1), np.ones(1)), [math.inf, 1.0], np.zeros(1, np.int64)) == math.inf
    )


def test_candidates_start_without_a_bound() -> None:
    found = candidates(np.r_[np.zeros(10), np.arange(1.0, 101.0)])
    assert found[0] == math.inf
    assert found == sorted(found, reverse=True)
    assert candidates(np.zeros(3)) == [math.inf]
