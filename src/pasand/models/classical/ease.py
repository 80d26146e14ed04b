"""EASE: a linear item-item model in closed form (Steck 2019, Embarrassingly Shallow Autoencoders, equation 8)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numba import njit, prange
from numpy.random import Generator
from scipy.linalg import lapack

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.models.classical.neighbours import distinct_liked
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, within


@dataclass(kw_only=True)
class EASE:
    """Scores an item by the learnt weights of the liked history items: s = x B, diag(B) = 0.

    With P = (X'X + l2 I)^-1 the weights are B_ij = -P_ij / P_jj. The inverse is computed in single precision where the
    condition number allows three digits, in double precision elsewhere. Memory grows with the square of the catalogue.
    """

    l2: float = 200.0
    """Ridge penalty, in positives: larger for more users per item."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.l2 > 0:
            raise ValueError(f"l2 must be positive, got {self.l2}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Solve for the weights; raises InputError if the item-item matrix does not fit into memory."""
        n_items = data.n_items
        required, free = memory_needed(n_items), memory_free()
        if required > free:
            raise InputError(
                data.name,
                cause=f"EASE needs {required / 2**30:.1f} GiB for {n_items:,} items squared, {free / 2**30:.1f} GiB "
                "are free",
                cure="use item_knn or ials, or drop rare items",
            )
        by_user = data.matrix()
        by_item = by_user.T.tocsr()
        gram = np.zeros((n_items, n_items), np.float64)
        _gram(
            by_user.indptr.astype(np.int64),
            by_user.indices.astype(np.int32),
            by_item.indptr.astype(np.int64),
            by_item.indices.astype(np.int32),
            gram,
        )
        known = gram.diagonal() > 0
        self._learnt = {
            "weights": _weights(gram, self.l2),
            "known": known,
            "positive_from": np.array(data.positive_from),
        }
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return sums of weights; -inf for a query without liked items that were known at training."""
        weights, liked = self._learnt["weights"], self._usable(queries)
        if items is None:
            out = np.zeros((len(queries), len(weights)), np.float32)
            _sum_rows(weights, liked, out)
        else:
            out = np.zeros(items.shape, np.float32)
            _sum_cells(weights, liked, np.ascontiguousarray(within(items, len(weights))), out)
        out[(liked < 0).all(axis=1)] = -np.inf
        return out

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items with positive weight for each item, strongest first."""
        weights, liked = self._learnt["weights"], self._usable(queries)
        return [
            [_strongest(row[row >= 0], weights[row[row >= 0], item]) if item >= 0 else [] for item in candidates]
            for row, candidates in zip(liked, within(items, len(weights)), strict=True)
        ]

    def _usable(self, queries: Queries) -> Rows:
        """Return the liked history items that were known at training, -1 elsewhere; (B, H)."""
        known = self._learnt["known"]
        liked = distinct_liked(queries, float(self._learnt["positive_from"]), len(known))
        if not len(known):
            return liked
        usable: Rows = np.where((liked >= 0) & known[liked], liked, np.int32(-1))
        return usable

    def state(self) -> Arrays:
        """Return "weights" (N, N), "known" (N,) and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned."""
        self._learnt = dict(arrays)


def memory_needed(n_items: int) -> int:
    """Return the peak bytes of a fit: the Gram matrix in double precision and the weights in single."""
    return 12 * n_items**2


def memory_free() -> int:
    """Return the bytes of memory that are available without swapping."""
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _weights(gram: Array, l2: float) -> Scores:
    """Return B from X'X, which is overwritten."""
    n = len(gram)
    if not n:
        return np.zeros((0, 0), np.float32)
    condition = 1 + gram.sum(axis=1).max() / l2  # the largest row sum bounds the largest eigenvalue
    single = condition * np.finfo(np.float32).eps < 1e-3
    gram[np.diag_indices(n)] += l2
    square = gram.astype(np.float32) if single else gram
    factorise, invert = (lapack.spotrf, lapack.spotri) if single else (lapack.dpotrf, lapack.dpotri)
    factor, info = factorise(square.T, lower=1, overwrite_a=1, clean=0)
    assert info == 0, "X'X + l2 I is positive definite"
    inverse, info = invert(factor, lower=1, overwrite_c=1)
    assert info == 0
    out = np.empty((n, n), np.float32)
    _divide(inverse.T, out)  # Fortran's lower triangle is the upper one of its transpose
    return out


def _strongest(rows: Rows, weights: Scores) -> list[Reason]:
    order = np.argsort(-weights, kind="stable")
    return [Reason(int(rows[i]), float(weights[i])) for i in order if weights[i] > 0]


@njit(cache=True, parallel=True)
def _gram(user_start: Offsets, user_item: Rows, item_start: Offsets, item_user: Rows, gram: Array) -> None:
    for i in prange(len(item_start) - 1):
        row = gram[i]
        for at in range(item_start[i], item_start[i + 1]):
            user = item_user[at]
            for other in range(user_start[user], user_start[user + 1]):
                row[user_item[other]] += 1


@njit(cache=True, parallel=True)
def _divide(inverse: Array, out: Scores) -> None:
    n = len(out)
    for i in prange(n):
        for j in range(i + 1, n):
            out[i, j] = -inverse[i, j] / inverse[j, j]
            out[j, i] = -inverse[i, j] / inverse[i, i]
        out[i, i] = 0


@njit(cache=True, nogil=True)
def _sum_rows(weights: Scores, liked: Rows, out: Scores) -> None:
    for b in range(liked.shape[0]):
        for t in range(liked.shape[1]):
            if liked[b, t] >= 0:
                out[b] += weights[liked[b, t]]


@njit(cache=True, nogil=True)
def _sum_cells(weights: Scores, liked: Rows, items: Rows, out: Scores) -> None:
    for b in range(items.shape[0]):
        for j in range(items.shape[1]):
            if items[b, j] < 0:
                out[b, j] = -np.inf
                continue
            total = np.float32(0)
            for t in range(liked.shape[1]):
                if liked[b, t] >= 0:
                    total += weights[liked[b, t], items[b, j]]
            out[b, j] = total
