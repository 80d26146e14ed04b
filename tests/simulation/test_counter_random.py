"""Random numbers of counters: their distribution, and that they depend on nothing else."""

from __future__ import annotations

import numpy as np
from scipy import stats

from pasand.simulation.counter_random import gumbel, normal, uniform

USERS, ITEMS = np.arange(300)[:, None], np.arange(200)[None, :]


def test_numbers_look_uniform_and_independent() -> None:
    found = uniform(1, USERS, ITEMS)
    assert found.shape == (300, 200)
    assert found.min() > 0
    assert found.max() < 1
    assert stats.kstest(found.ravel(), "uniform").pvalue > 0.001
    for other in (uniform(2, USERS, ITEMS), found.T[:200, :200].copy(), np.roll(found, 1, axis=0)):
        assert abs(np.corrcoef(found[: len(other), : other.shape[1]].ravel(), other.ravel())[0, 1]) < 0.02


def test_numbers_depend_on_their_counters_alone() -> None:
    found = uniform(1, USERS, ITEMS)
    assert (uniform(1, USERS[[7, 3]], ITEMS[:, [5, 0, 9]]) == found[[7, 3]][:, [5, 0, 9]]).all()
    assert uniform(1, 7, 5) == found[7, 5]
    assert len(np.unique(found)) == found.size
    assert (uniform(USERS, ITEMS, 1) == found).sum() == 1  # the counters 1, 1, 1


def test_negative_and_large_counters_are_counters() -> None:
    found = uniform(np.array([-1, 0, 2**40, 2**62]))
    assert len(np.unique(found)) == 4


def test_other_distributions_have_their_moments() -> None:
    drawn = gumbel(3, USERS, ITEMS)
    assert abs(drawn.mean() - np.euler_gamma) < 0.02
    assert abs(drawn.var() - np.pi**2 / 6) < 0.05
    assert stats.kstest(normal(4, USERS, ITEMS).ravel(), "norm").pvalue > 0.001
