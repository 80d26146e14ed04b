"""Thompson sampling: the quadrature equals closed forms, an adaptive integral and the frequencies of draws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chisquare, norm

from pasand.reranking.exploration import thompson

NUMBERS = st.lists(st.tuples(st.floats(-4, 4), st.floats(0.05, 1)), min_size=1, max_size=30)


def test_two_items_have_a_closed_form() -> None:
    mean, deviation = np.array([0.3, -0.4]), np.array([0.5, 1.2])
    expected = norm.cdf(0.7 / np.hypot(0.5, 1.2))
    np.testing.assert_allclose(thompson.weights(mean, deviation), [expected, 1 - expected], rtol=1e-9)


@settings(max_examples=60)
@given(NUMBERS)
def test_probabilities_sum_to_1_and_do_not_depend_on_the_order_or_the_unit(numbers: list[tuple[float, float]]) -> None:
    mean, deviation = np.array(numbers).T
    found = thompson.weights(mean, deviation)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(thompson.weights(mean[::-1], deviation[::-1])[::-1], found, atol=1e-9)
    np.testing.assert_allclose(thompson.weights(7 + 100 * mean, 100 * deviation), found, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_quadrature_equals_an_adaptive_integral(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, deviation = rng.normal(0, 1, 12), np.exp(rng.uniform(np.log(0.05), 0, 12))
    deviation[0] = 1.0

    def density(t: float, i: int) -> float:
        others = np.delete(norm.cdf((t - mean) / deviation), i)
        return float(norm.pdf((t - mean[i]) / deviation[i]) / deviation[i] * others.prod())

    points = sorted({*mean.tolist(), -8.0, 8.0})
    expected = [sum(quad(density, a, b, args=(i,), epsabs=1e-12)[0] for a, b in pairwise(points)) for i in range(12)]
    np.testing.assert_allclose(thompson.weights(mean, deviation), expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_draws_have_these_frequencies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, deviation = rng.normal(0, 0.7, 20), rng.uniform(0.2, 1, 20)
    expected = thompson.weights(mean, deviation)
    best = (mean + deviation * rng.standard_normal((200_000, 20))).argmax(axis=1)
    counts = np.bincount(best, minlength=20)
    common = expected > 1e-4
    observed = np.append(counts[common], counts[~common].sum())
    of_all = np.append(expected[common], expected[~common].sum())
    keep = of_all > 0
    assert chisquare(observed[keep], of_all[keep] * 200_000).pvalue > 1e-3


def test_a_well_known_item_counts_as_a_little_uncertain() -> None:
    known = thompson.weights(np.array([0.0, 0.1]), np.array([1.0, 1e-9]))
    np.testing.assert_allclose(known, thompson.weights(np.array([0.0, 0.1]), np.array([1.0, thompson.NARROWEST])))
    assert thompson.weights(np.array([0.0, -50.0]), np.ones(2)).tolist() == [1.0, 0.0]


def test_empty_pools_and_numbers_that_make_no_sense() -> None:
    assert thompson.weights(np.zeros(0), np.zeros(0)).shape == (0,)
    for mean, deviation in ((np.nan, 1.0), (0.0, 0.0), (0.0, np.inf), (np.inf, 1.0)):
        with pytest.raises(ValueError, match="means must be finite, and deviations positive"):
            thompson.weights(np.array([mean]), np.array([deviation]))
