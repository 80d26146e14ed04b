"""EASE: a linear item-item model in closed form (Steck 2019, Embarrassingly Shallow Autoencoders, equation 8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numba import njit, prange
from numpy.random import Generator
from scipy.linalg import lapack

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import require_memory
from pasand.errors import InputError
from pasand.features.training_weights import pair_weights, weighted
from pasand.layouts import Entry, check
from pasand.models.classical import positive_definite
from pasand.models.classical.neighbours import distinct_liked
from pasand.types import Array, Arrays, Mask, Offsets, Queries, Rows, Scores, within

if TYPE_CHECKING:
    from scipy import sparse

LAYOUT = {
    "weights": Entry("float32", "M M"),
    "known": Entry("bool", "N"),
    "positive_from": Entry("number", infinite=True),
}


@dataclass(kw_only=True)
class EASE:
    """Scores an item by the learnt weights of the liked history items: s = x B, diag(B) = 0.

    With P = (X'X + l2 I)^-1 the weights are B_ij = -P_ij / P_jj. The inverse is computed in single precision where the
    condition number allows three digits, in double precision elsewhere. Memory grows with the square of the number of
    items with a positive, M of them; all other items have weights of 0, which are not stored. The last bits of the
    weights depend on the number of threads of the linear algebra (`OPENBLAS_NUM_THREADS`): its sums have another order.
    """

    uses_training_weights: ClassVar[bool] = True
    l2: float = 200.0
    """Ridge penalty, in positives: larger for more users per item."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _code: Rows | None = field(default=None, init=False, repr=False, compare=False)
    """(N,) row of "weights" of each item, -1 for items without a positive; None: not computed yet."""

    def __post_init__(self) -> None:
        if not 0 < self.l2 < np.inf:
            raise ValueError(f"l2 must be positive and finite, got {self.l2}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Solve for the weights; raises InputError if the item-item matrix does not fit into memory."""
        known = _has_positive(data)
        n = int(np.count_nonzero(known))
        require_memory("ease", data, self.memory_needed(data), "use item_knn or ials, or drop rare items", n)
        by_user = data.matrix()[:, np.flatnonzero(known)] if n < data.n_items else data.matrix()
        gram = _user_sums(by_user) if pair_weights(data) is None else _weighted_sums(data, np.flatnonzero(known))
        try:
            weights = _weights(gram, self.l2)
        except np.linalg.LinAlgError:
            cause = "X'X + l2 I has no inverse in double precision, since some items have the same users"
            raise InputError(
                f"{data.name}: ease.l2", value=self.l2, cause=cause, cure="raise l2, for example to 1"
            ) from None
        self._code = None
        self._learnt = {"weights": weights, "known": known, "positive_from": np.array(data.positive_from)}
        return self

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit: a matrix in single precision, and in double where the inverse needs it."""
        count = np.bincount(data.user, data.is_positive, minlength=data.n_users)
        sums = np.bincount(data.item, np.where(data.is_positive, count[data.user], 0), minlength=data.n_items)
        single = _single_precision(float(sums.max(initial=0)), self.l2)
        return (4 if single else 12) * int(np.count_nonzero(_has_positive(data))) ** 2

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return sums of weights; -inf for a query without liked items that were known at training."""
        weights, known, liked = self._learnt["weights"], self._learnt["known"], self._liked(queries)
        if items is None:
            out = np.zeros((len(queries), len(weights)), np.float32)
            _sum_rows(weights, liked, out)
            if len(known) > len(weights):
                of_known, out = out, np.zeros((len(queries), len(known)), np.float32)
                out[:, known] = of_known
        else:
            items = within(items, len(known))
            out = np.zeros(items.shape, np.float32)
            _sum_cells(weights, liked, self._codes(items), out)
            out[(items >= 0) & (out == -np.inf)] = 0
        out[(liked < 0).all(axis=1)] = -np.inf
        return out

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items with positive weight for each item, strongest first."""
        weights, known = self._learnt["weights"], self._learnt["known"]
        rows, liked = np.flatnonzero(known), self._liked(queries)
        return [
            [_strongest(rows[row[row >= 0]], weights[row[row >= 0], item]) if item >= 0 else [] for item in candidates]
            for row, candidates in zip(liked, self._codes(within(items, len(known))), strict=True)
        ]

    def _liked(self, queries: Queries) -> Rows:
        """Return the rows of "weights" of the liked history items, -1 for items without a positive; (B, H)."""
        n_items = len(self._learnt["known"])
        return self._codes(distinct_liked(queries, float(self._learnt["positive_from"]), n_items))

    def _codes(self, rows: Rows) -> Rows:
        """Return the rows of "weights" of items, -1 for those without a positive; (...) -> (...) int32."""
        if self._code is None:
            known = self._learnt["known"]
            self._code = np.where(known, np.cumsum(known) - 1, -1).astype(np.int32)
        return np.where(rows >= 0, self._code[rows], np.int32(-1)) if len(self._code) else np.full_like(rows, -1)

    def state(self) -> Arrays:
        """Return "weights" (M, M) of the items that are "known" (N,), and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        sizes, known = check(arrays, LAYOUT), np.flatnonzero(arrays["known"])
        self._learnt, self._code = dict(arrays), None
        if sizes["M"] == sizes["N"]:  # an older bundle stores the weights of all items
            self._learnt["weights"] = (
                arrays["weights"] if len(known) == sizes["N"] else arrays["weights"][known][:, known]
            )
        elif sizes["M"] != len(known):
            raise ValueError(f"weights must be of the {len(known)} known items, and are of {sizes['M']}")


def _has_positive(data: Dataset) -> Mask:
    """Return whether each item has a positive event; (N,)."""
    known: Mask = np.bincount(data.item[data.is_positive], minlength=data.n_items) > 0
    return known


def _user_sums(by_user: sparse.csr_array) -> Array:
    """Return X'X, (M, M), of a matrix (U, M) of zeros and ones."""
    n = by_user.shape[1]
    by_item = by_user.T.tocsr()
    # numbers of users are whole in single precision
    gram = np.zeros((n, n), np.float32 if by_user.shape[0] < 2**24 else np.float64)
    _gram(
        by_user.indptr.astype(np.int64),
        by_user.indices.astype(np.int32),
        by_item.indptr.astype(np.int64),
        by_item.indices.astype(np.int32),
        gram,
    )
    return gram


def _weighted_sums(data: Dataset, known: Array) -> Array:
    """Return X'WX, (M, M), of the known items with the training weights W."""
    by_user = weighted(data.matrix(), data, root=True)[:, known]
    gram: Array = (by_user.T @ by_user).toarray()
    return gram


def _single_precision(largest_sum: float, l2: float) -> bool:
    """Return whether the inverse keeps three digits in single precision, given the largest sum of a row of X'X."""
    condition = 1 + largest_sum / l2  # the largest row sum bounds the largest eigenvalue
    return bool(condition * np.finfo(np.float32).eps < 1e-3)


def _weights(gram: Array, l2: float) -> Scores:
    """Return B from X'X, which is overwritten; raises numpy.linalg.LinAlgError if X'X + l2 I is singular."""
    n = len(gram)
    if not n:
        return np.zeros((0, 0), np.float32)
    single = _single_precision(float(gram.sum(axis=1, dtype=np.float64).max()), l2)
    diagonal = gram.diagonal().astype(np.float64) + l2
    square = gram.astype(np.float32 if single else np.float64, copy=False)
    square[np.diag_indices(n)] = diagonal
    inverse = square.T  # Fortran's lower triangle is the upper one of its transpose
    if n <= positive_definite.DIRECT:
        factorise, invert = (lapack.spotrf, lapack.spotri) if single else (lapack.dpotrf, lapack.dpotri)
        factor, info = factorise(inverse, lower=1, overwrite_a=1, clean=0)
        if info:
            raise np.linalg.LinAlgError
        positive_definite.check_pivots(factor, diagonal)
        inverse, info = invert(factor, lower=1, overwrite_c=1)
        assert info == 0, "L has a positive diagonal"
    else:
        positive_definite.factorise(inverse)
        positive_definite.check_pivots(inverse, diagonal)
        positive_definite.invert(inverse)
    weights: Scores = np.asarray(inverse.T, np.float32) if single else np.empty((n, n), np.float32)
    _divide(inverse.T, inverse.diagonal().copy(), weights)
    return weights


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
def _divide(inverse: Array, diagonal: Array, out: Scores) -> None:
    """Fill B by the upper triangle of P and its diagonal; `out` may be `inverse`."""
    n = len(out)
    for i in prange(n):
        for j in range(i + 1, n):
            cell = inverse[i, j]
            out[i, j] = -cell / diagonal[j]
            out[j, i] = -cell / diagonal[i]
        out[i, i] = 0


@njit(cache=True, nogil=True)
def _sum_rows(weights: Scores, liked: Rows, out: Scores) -> None:
    for b in range(liked.shape[0]):
        for t in range(liked.shape[1]):
            row = liked[b, t]
            if row >= 0:
                for i in range(out.shape[1]):
                    out[b, i] += weights[row, i]


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
