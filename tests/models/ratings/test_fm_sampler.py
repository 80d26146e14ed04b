"""Columns and the sampling of their weights: by hand, and against dense matrices with the same random numbers."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from pasand.models.ratings.fm_sampler import (
    Block,
    Ratings,
    co_rated_sets,
    draw_priors,
    encoded_columns,
    initial_block,
    squared_by_user,
    sweep,
)

Floats: TypeAlias = NDArray[np.float64]

RNG = np.random.default_rng


def block(rng: np.random.Generator, n: int, dimensions: int) -> tuple[Block, Floats]:
    """Return a block of n ids and of four columns, of which one is empty, and its dense matrix."""
    more = (rng.random((n, 4)) < 0.6) * rng.normal(size=(n, 4)) * [1, 1, 0, 1]
    made = initial_block(np.ones(n, np.bool_), [sparse.csr_array(more)], dimensions, rng)
    made.mean[:] = rng.normal(size=made.mean.shape)
    made.precision[:] = rng.gamma(2, size=made.precision.shape)
    return made, np.hstack([np.eye(n), more])


def predicted(totals: tuple[Floats, Floats], user: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
    left, right = totals[0][:, user], totals[1][:, item]
    whole: Floats = left[0] + right[0] + (left[1:] * right[1:]).sum(axis=0)
    return whole


def test_a_sweep_is_that_of_dense_matrices() -> None:
    rng = RNG(0)
    (users, of_users), (items, of_items) = block(rng, 6, 2), block(rng, 5, 2)
    user, item = np.nonzero(rng.random((6, 5)) < 0.7)
    values, alpha = rng.normal(size=len(user)), rng.gamma(2, size=6)
    start = np.searchsorted(user, np.arange(7))
    error = values - predicted((users.total, items.total), user, item)
    normals = rng.normal(size=users.weight.shape), rng.normal(size=items.weight.shape)
    weights = [users.weight.copy(), items.weight.copy()]
    designs = (of_users, of_items)
    for d in range(3):
        for which, own in enumerate((users, items)):
            for c in range(weights[which].shape[1]):
                totals = weights[0] @ of_users.T, weights[1] @ of_items.T
                residual = values - predicted(totals, user, item)
                other = totals[1 - which][d][(item, user)[which]] if d else np.ones(len(user))
                slope = designs[which][(user, item)[which], c] * other
                g = own.group[c]
                whole = own.precision[d, g] + alpha[user] @ slope**2
                pull = own.precision[d, g] * own.mean[d, g] + (alpha[user] * slope) @ (
                    residual + slope * weights[which][d, c]
                )
                weights[which][d, c] = pull / whole + normals[which][d, c] / np.sqrt(whole)
    events = Ratings(start.astype(np.int64), item.astype(np.int32), error)
    sweep(events, users, items, alpha, *normals)
    np.testing.assert_allclose(users.weight, weights[0])
    np.testing.assert_allclose(items.weight, weights[1])
    np.testing.assert_allclose(users.total, weights[0] @ of_users.T)
    np.testing.assert_allclose(error, values - predicted((users.total, items.total), user, item))
    np.testing.assert_allclose(squared_by_user(events), np.bincount(user, error**2, minlength=6))


def test_one_weight_by_hand() -> None:
    """A user rated two items 1 and 3, which are average items."""
    users, items = (
        initial_block(np.ones(1, np.bool_), [], 0, RNG(0)),
        initial_block(np.zeros(2, np.bool_), [], 0, RNG(0)),
    )
    users.weight[:], users.total[:], users.mean[:], users.precision[:] = 0, 0, 0.5, 4
    events = Ratings(np.array([0, 2]), np.array([0, 1], np.int32), np.array([1.0, 3]))
    sweep(events, users, items, np.array([2.0]), np.array([[1.0]]), np.zeros((1, 2)))
    # precision 4 + 2 * 2, mean (4 * .5 + 2 * (1 + 3)) / 8, and one standard deviation more
    assert users.weight[0, 0] == pytest.approx(10 / 8 + 1 / np.sqrt(8))
    np.testing.assert_allclose(events.error, np.array([1, 3]) - users.weight[0, 0])


def test_priors_follow_the_weights_of_columns_that_are_used() -> None:
    n, rng = 4000, RNG(1)
    parts = [sparse.csr_array(np.ones((n, 1))), sparse.csr_array((n, 3)), sparse.csr_array(np.eye(n))]
    made = initial_block(np.ones(n, np.bool_), parts, 0, rng, centred=1)
    for at, part in ((0, rng.normal(0.7, 0.2, n)), (n, [9, 50, 60, 70]), (n + 4, rng.normal(0.7, 0.2, n))):
        made.weight[0, at : at + len(part)] = part
    draws = []
    for _ in range(200):
        draw_priors(made, rng)
        draws.append((made.mean[0].copy(), made.precision[0].copy()))
    mean, precision = (np.mean(part, axis=0) for part in zip(*draws, strict=True))
    assert mean[0] == pytest.approx(0.7, abs=0.02)
    assert precision[0] == pytest.approx(25, rel=0.08)
    assert mean[1] == pytest.approx(4.5, abs=2)  # halfway between the one weight and 0
    assert abs(mean[2]) < 1  # rated rows have none of these columns, so their weights are no evidence
    assert mean[3] == 0
    assert precision[3] == pytest.approx(1 / (0.7**2 + 0.2**2), rel=0.08)


def test_codes_and_numbers_become_columns() -> None:
    inputs = {
        "user.city": np.array([[2], [0], [1]]),
        "user.tongues": np.array([[0, 1], [1, 2], [0, 0]]),
        "user.age": np.array([[0.5, 1], [0, 0], [-1, 1]], np.float32),
    }
    city, tongues, age = (part.toarray() for part in encoded_columns(inputs, [3, 3, 2], 3))
    np.testing.assert_array_equal(city, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    half = 1 / np.sqrt(2)
    np.testing.assert_allclose(tongues, [[0, 1, 0], [0, half, half], [1, 0, 0]])
    np.testing.assert_array_equal(age, [[0.5, 0], [0, 1], [-1, 0]])


def test_sets_are_normalised() -> None:
    own, other = np.array([0, 0, 0, 2], np.int32), np.array([1, 2, 1, 0], np.int32)
    third = 1 / np.sqrt(3)
    np.testing.assert_allclose(co_rated_sets(own, other, 3, 3).toarray(), [[0, 2 * third, third], [0, 0, 0], [1, 0, 0]])
