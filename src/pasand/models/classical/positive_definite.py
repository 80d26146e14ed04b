"""Solutions and inverses of large symmetric positive definite matrices, block by block.

LAPACK's usual build has 32-bit integers. Its Cholesky factorisation ends the process with a segmentation fault once a
matrix is larger than 2^31 bytes: beyond 16,384 rows in double precision, 23,170 in single. Here no call of LAPACK sees
more than a block. The functions work in place on arrays of any memory layout, and read the lower triangle.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack, solve_triangular

from pasand.types import Array

DIRECT = 8192
"""Number of rows up to which LAPACK may factorise a whole matrix."""
BLOCK = 4096
"""Number of rows of a block."""


def factorise(square: Array, block: int = BLOCK) -> None:
    """Overwrite the lower triangle of A, (n, n), with L, where A = L L'.

    Raises numpy.linalg.LinAlgError if A is not positive definite in its precision.
    """
    cholesky = lapack.spotrf if square.dtype == np.float32 else lapack.dpotrf
    parts = _parts(len(square), block)
    for j, column in enumerate(parts):
        before = slice(0, column.start)
        for row in parts[j:]:
            square[row, column] -= square[row, before] @ square[column, before].T
        factor, info = cholesky(square[column, column], lower=1, clean=1)
        if info:
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        square[column, column] = factor
        for row in parts[j + 1 :]:
            square[row, column] = solve_triangular(factor, square[row, column].T, lower=True, check_finite=False).T


def check_pivots(factor: Array, diagonal: Array) -> None:
    """Raise numpy.linalg.LinAlgError if rounding errors determine L: some pivot is next to 0 in its precision.

    `diagonal`, (n,), is that of A.
    """
    if (factor.diagonal().astype(np.float64) ** 2 < 100 * np.finfo(factor.dtype).eps * diagonal).any():
        raise np.linalg.LinAlgError("the matrix is singular in its precision")


def solve(factor: Array, right: Array, block: int = BLOCK) -> None:
    """Overwrite right, (n, m), with the X that solves A X = right, given L from `factorise`."""
    parts = _parts(len(factor), block)
    for columns in _parts(right.shape[1], block):
        x = right[:, columns]
        for row in parts:
            x[row] -= factor[row, : row.start] @ x[: row.start]
            x[row] = solve_triangular(factor[row, row], x[row], lower=True, check_finite=False)
        for row in reversed(parts):
            x[row] -= factor[row.stop :, row].T @ x[row.stop :]
            x[row] = solve_triangular(factor[row, row], x[row], lower=True, trans="T", check_finite=False)


def invert(factor: Array, block: int = BLOCK) -> None:
    """Overwrite L from `factorise`, (n, n), with A^-1 in the lower triangle."""
    inverse = lapack.strtri if factor.dtype == np.float32 else lapack.dtrtri
    parts = _parts(len(factor), block)
    for j in range(len(parts) - 1, -1, -1):  # M = L^-1, from the last column; a column from its last row
        column = parts[j]
        own, info = inverse(factor[column, column], lower=1)
        assert info == 0, "L has a positive diagonal"
        for row in reversed(parts[j + 1 :]):
            inner = slice(column.stop, row.stop)
            factor[row, column] = -(factor[row, inner] @ factor[inner, column]) @ own
        factor[column, column] = own
    for i, row in enumerate(parts):  # A^-1 = M'M, which needs no row of M above its own
        below = slice(row.start, len(factor))
        for column in parts[: i + 1]:
            factor[row, column] = factor[below, row].T @ factor[below, column]


def _parts(n: int, block: int) -> list[slice]:
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]
