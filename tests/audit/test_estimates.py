"""Estimates over users against textbook formulas, the bootstrap, and Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pasand.audit.estimates import compared, constant, corrected, mean_of, ratio_of_sums
from pasand.evaluation.intervals import bootstrap_weights

RNG = np.random.default_rng(0)


def test_a_mean_has_the_standard_error_of_the_textbook() -> None:
    values = RNG.normal(size=50)
    found = mean_of(np.append(values, np.nan))
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(stats.sem(values))
    assert found.interval.span[1:] == pytest.approx(stats.t.interval(0.95, 49, values.mean(), stats.sem(values)))


def test_errors_of_ratios_and_their_logarithms_are_those_of_the_bootstrap_over_users() -> None:
    numerator, denominator = RNG.gamma(2, size=400), RNG.gamma(3, size=400)
    found = ratio_of_sums(numerator, denominator)
    drawn = np.vstack([(w @ numerator) / (w @ denominator) for w in bootstrap_weights(400, RNG, 4000)])
    assert found.error == pytest.approx(drawn.std(), rel=0.05)
    assert found.log().error == pytest.approx(np.log(drawn).std(), rel=0.05)


def test_the_interval_of_a_ratio_is_symmetric_on_the_log_scale() -> None:
    values = RNG.gamma(2, size=(2, 60))
    ratio = compared(mean_of(values[0]), mean_of(values[1]), measure="m", reference_name="r").ratio
    assert ratio.mean == pytest.approx(values[0].mean() / values[1].mean())
    assert ratio.mean**2 == pytest.approx(ratio.low * ratio.high)


def test_paired_figures_are_compared_within_users() -> None:
    first = RNG.normal(size=80)
    second = first + 0.1 + 0.01 * RNG.normal(size=80)
    found = compared(mean_of(first), mean_of(second), measure="m", reference_name="r")
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_an_undefined_figure_is_not_tested() -> None:
    empty = mean_of(np.full(5, np.nan))
    found = compared(empty, constant(1.0, 5), measure="m", reference_name="r")
    assert np.isnan([found.value.mean, found.p, found.ratio.mean]).all()
    assert corrected([found])[0].verdict == ""


def test_equal_figures_are_tested_with_p_one() -> None:
    found = compared(constant(0.0, 5), constant(0.0, 5), measure="m", reference_name="r")
    assert found.p == 1


def test_the_correction_is_that_of_holm_and_names_what_would_be_found() -> None:
    values = RNG.normal(size=(3, 100)) + np.array([[0.0], [0.1], [1.0]])
    one = [compared(mean_of(row), constant(0.0, 100), measure="m", reference_name="r") for row in values]
    described = compared(mean_of(values[0]), constant(0.0, 100), measure="m", reference_name="r", tested=False)
    found = corrected([*one, described])
    p = sorted(finding.p for finding in one)
    holm = np.minimum(np.maximum.accumulate(np.array(p) * [3, 2, 1]), 1)
    assert sorted(finding.p_holm for finding in found[:3]) == pytest.approx(holm)
    quantiles = stats.t.ppf(1 - 0.05 / 6, 99) + stats.t.ppf(0.8, 99)
    assert found[0].detectable == pytest.approx(quantiles * stats.sem(values[0]))
    assert (found[2].verdict, found[0].verdict, found[3].verdict) == ("higher", "not shown", "")
    assert np.isnan(found[3].detectable)


def test_a_difference_of_the_detectable_size_is_found_with_the_stated_power() -> None:
    rng, n_found = np.random.default_rng(1), 0
    size = float(stats.t.ppf(0.975, 49) + stats.t.ppf(0.8, 49)) / np.sqrt(50)
    for _ in range(1000):
        value = mean_of(rng.normal(size, 1, 50))
        (finding,) = corrected([compared(value, constant(0.0, 50), measure="m", reference_name="r")])
        n_found += finding.verdict == "higher"
    assert 0.76 < n_found / 1000 < 0.84


def test_json_has_no_nan() -> None:
    found = compared(constant(np.nan, 3), constant(1.0, 3), measure="m", reference_name="r").as_json()
    assert found["value"] == {"mean": None, "low": None, "high": None}
    assert found["p"] is None
