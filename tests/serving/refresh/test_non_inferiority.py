"""The verdict on a new model from values of users that are simulated with a known change."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.serving.refresh.acceptance import Limits
from pasand.serving.refresh.non_inferiority import Comparison, compare

Values = NDArray[np.float64]


def values(rng: Generator, users: int, change: float) -> tuple[Values, Values]:
    """Return values of a new and an old model whose means differ by the share `change`, in expectation."""
    old = rng.beta(1, 3, users)
    return old * (1 + change) + rng.normal(0, 0.05, users), old


@pytest.mark.parametrize(
    ("users", "change", "verdict"),
    [
        (4000, 0.0, "no worse"),
        (4000, 0.2, "no worse"),
        (4000, -0.03, "no worse"),  # worse for certain, by less than the margin
        (4000, -0.08, "worse"),
        (30, 0.0, "inconclusive"),
        (30, -0.05, "inconclusive"),
        (30, -0.5, "worse"),
        (30, 0.5, "no worse"),
    ],
)
def test_the_verdict_follows_the_margin(users: int, change: float, verdict: str) -> None:
    found = compare(*values(np.random.default_rng(1), users, change), 0.05)
    assert found.verdict == verdict, found
    assert found.low < found.change < found.high
    assert (found.verdict == "no worse") == (found.low > -0.05)


def test_a_bundle_at_the_margin_is_published_in_few_cases() -> None:
    """A model that is worse by exactly the margin passes in at most 2.5 % of logs, up to the error of the bootstrap."""
    rng = np.random.default_rng(2)
    passed = [compare(*values(rng, 300, -0.05), 0.05).verdict == "no worse" for _ in range(200)]
    assert np.mean(passed) <= 0.06


def test_the_number_of_queries_needed_is_about_right() -> None:
    """With the stated number of queries an equally good model passes in about 80 % of cases."""
    rng = np.random.default_rng(3)
    small = compare(*values(rng, 60, 0.0), 0.02)
    needed = small.queries_needed(60)
    assert needed is not None
    assert needed > 60
    passed = [compare(*values(rng, needed, 0.0), 0.02).verdict == "no worse" for _ in range(100)]
    assert 0.6 <= np.mean(passed) <= 0.97


def test_a_wider_margin_is_passed_sooner() -> None:
    new, old = values(np.random.default_rng(4), 200, -0.04)
    verdicts = [compare(new, old, margin).verdict for margin in (0.0, 0.03, 0.05, 0.2)]
    assert verdicts[0] != "no worse"
    assert verdicts[-1] == "no worse"
    assert verdicts == sorted(verdicts, key=lambda verdict: verdict == "no worse")


def test_edges() -> None:
    nothing = np.empty(0)
    assert compare(nothing, nothing, 0.05).verdict == "inconclusive"
    one = compare(np.array([0.5]), np.array([0.5]), 0.05)
    assert (one.verdict, one.queries_needed(1)) == ("inconclusive", None)
    zero = compare(np.array([0.1, 0.0, 0.2]), np.zeros(3), 0.05)
    assert (zero.verdict, str(zero)) == ("no worse", "an undefined share")
    undefined = compare(np.array([np.nan, 0.4, 0.3]), np.array([0.9, 0.4, 0.3]), 0.05)
    assert (undefined.verdict, undefined.change) == ("no worse", 0)
    assert Comparison(0.0, -0.1, 0.1, 0.0, "inconclusive").queries_needed(100) is None
    assert "undefined" in str(one)
    for margin in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            Limits(margin=margin)
