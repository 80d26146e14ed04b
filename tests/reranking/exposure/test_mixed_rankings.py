"""Mixed rankings against the linear programme over matrices of items and positions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from pasand.reranking.exposure.mixed_rankings import mixed_rankings
from pasand.types import Array


def programme(scores: Array, member: Array, weights: Array, group: Array, sign: Array, bound: Array) -> float | None:
    """Return the optimum over matrices whose columns sum to 1 and whose rows to at most 1; None if there is none."""
    n, k = len(scores), len(weights)
    inside = (member[None, :] >> group[:, None] & 1).astype(float)
    exposure = sign[:, None] * (inside[:, :, None] * weights).reshape(len(group), -1)
    rows, columns = np.kron(np.eye(n), np.ones(k)), np.kron(np.ones(n), np.eye(k))
    found = linprog(
        -np.outer(scores, weights).ravel(),
        A_ub=np.vstack([-exposure, rows]),
        b_ub=np.concatenate([-bound, np.ones(n)]),
        A_eq=columns,
        b_eq=np.ones(k),
    )
    return None if found.fun is None else -float(found.fun)


@pytest.mark.parametrize("seed", range(40))
def test_the_mixture_is_the_optimum_of_the_linear_programme(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k, n_bounds = int(rng.integers(4, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 4))
    scores = np.sort(rng.normal(size=n).round(1 if seed % 2 else 9))[::-1].copy()
    weights, member = 1 / np.log2(np.arange(k) + 2.0), rng.integers(0, 8, n)
    group = rng.permutation(3)[:n_bounds]
    sign = np.where(rng.random(n_bounds) < 0.7, 1.0, -1.0)
    bound = sign * rng.uniform(0, 1, n_bounds) * weights.sum()
    chance, rankings, missed = mixed_rankings(scores, member, weights, group, sign, bound)
    assert len(chance) <= n_bounds + 1
    assert chance.sum() == pytest.approx(1)
    assert (chance >= 0).all()
    assert all(len(set(ranking)) == k for ranking in rankings.tolist())
    expected = programme(scores, member, weights, group, sign, bound)
    if expected is None:
        assert missed > 1e-6
        return
    assert missed == pytest.approx(0, abs=1e-9)
    inside = member[rankings][None] >> group[:, None, None] & 1
    exposure = sign * np.einsum("rmj,j,m->r", inside, weights, chance)
    assert (exposure >= bound - 1e-9).all()
    assert float(chance @ (scores[rankings] @ weights)) == pytest.approx(expected, abs=1e-8)


def test_a_known_answer() -> None:
    """One item of the group among two: it must be first half of the time to have its share of .5."""
    weights = np.array([1.0, 0.5])
    arguments = np.array([0]), np.array([1.0]), np.array([0.5 * 1.5])
    chance, rankings, missed = mixed_rankings(np.array([2.0, 1.0]), np.array([0, 1]), weights, *arguments)
    assert missed == 0
    assert dict(zip(map(tuple, rankings.tolist()), chance.tolist(), strict=True)) == pytest.approx(
        {(0, 1): 0.5, (1, 0): 0.5}
    )


def test_what_cannot_be_had_is_missed_least() -> None:
    weights = np.array([1.0, 0.5])
    arguments = np.array([0]), np.array([1.0]), np.array([1.5])
    chance, rankings, missed = mixed_rankings(np.array([3.0, 2.0, 1.0]), np.array([0, 0, 1]), weights, *arguments)
    assert missed == pytest.approx(0.5)
    assert rankings[chance > 1e-9].tolist() == [[2, 0]]
