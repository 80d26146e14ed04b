"""Factors, solutions and inverses by blocks against the direct ones of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pasand.models.classical import positive_definite
from pasand.types import Array


def matrix(n: int, dtype: Any, order: Any) -> Array:
    rows = np.random.default_rng(n).normal(size=(n + 5, n))
    return np.array(rows.T @ rows + np.eye(n), dtype, order=order)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "block"), [(1, 4), (4, 4), (5, 4), (23, 4), (24, 6), (40, 64), (150, 33)])
def test_blocks_agree_with_the_direct_solution(n: int, block: int, dtype: Any, order: Any) -> None:
    tolerance = 1e-9 if dtype is np.float64 else 1e-3
    square = matrix(n, dtype, order)
    exact = square.astype(np.float64)
    right = np.array(np.random.default_rng(1).normal(size=(n, n + 3)), dtype, order=order)
    x, factor = right.copy(order="K"), square.copy(order="K")
    factor[np.triu_indices(n, 1)] = np.nan  # the upper triangle outside the blocks is not read
    for start in range(0, n, block):
        inside = slice(start, start + block)
        factor[inside, inside] = np.tril(square[inside, inside])
    positive_definite.factorise(factor, block)
    lower = np.tril(np.nan_to_num(factor))
    np.testing.assert_allclose(lower @ lower.T, exact, rtol=tolerance, atol=tolerance)
    positive_definite.solve(factor, x, block)
    np.testing.assert_allclose(x, np.linalg.solve(exact, right), rtol=tolerance, atol=tolerance)
    positive_definite.invert(factor, block)
    np.testing.assert_allclose(np.tril(factor), np.tril(np.linalg.inv(exact)), rtol=tolerance, atol=tolerance)
    assert factor.dtype == dtype


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_matrix_that_is_not_positive_definite_is_refused(at: int) -> None:
    square = matrix(10, np.float64, "C")
    square[at, at] = -1
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        positive_definite.factorise(square, 4)
