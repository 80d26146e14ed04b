"""SLIT: a linear item-item model of the next items given the latest ones (Choi et al., WWW 2021, equation 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numba import njit
from numpy.random import Generator
from scipy.linalg import lapack

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import require_memory
from pasand.errors import InputError
from pasand.layouts import check
from pasand.models.classical import positive_definite
from pasand.models.classical.ease import LAYOUT
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, within

CUTOFF = 10.0
"""Decay lengths beyond which an item of the history is ignored in scoring."""


@dataclass(kw_only=True)
class SLIT:
    """Scores an item by the learnt weights of the liked history items, which decay with their age: s = x B.

    Every history is cut at each of its positions. The k-th last positive before a cut has the weight
    exp(-(k - 1) / history_decay_length) in a row of S, the k-th one after it the weight
    exp(-(k - 1) / horizon_decay_length) in a row of T, and B = (S'S + l2 I)^-1 S'T. Deviations from the paper: decay
    depends on positions instead of time, all cuts weigh the same, and an item that was liked may be a target again. The
    order of the positives must be meaningful. Memory grows with the square of the catalogue. As those of EASE, the last
    bits of the weights depend on the number of threads of the linear algebra.
    """

    history_decay_length: float = 10.0
    """Number of positives over which the weight of earlier items falls by the factor e."""
    horizon_decay_length: float = 5.0
    """Number of positives over which the weight of the next items falls by the factor e."""
    l2: float = 1000.0
    """Ridge penalty: larger for more users per item."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("history_decay_length", "horizon_decay_length", "l2"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Solve for the weights; raises InputError if the item-item matrices do not fit into memory."""
        require_memory("slit", data, self.memory_needed(data), "use item_knn or sasrec, or drop rare items")
        liked = data.positives().by_user
        longest = int(np.diff(liked.start).max(initial=0))
        past = np.zeros((data.n_items, data.n_items))
        future = np.zeros((data.n_items, data.n_items), order="F")
        tables = _tables(longest, self.history_decay_length, self.horizon_decay_length)
        _add_pairs(liked.start, liked.item, *tables, past, future)
        known = np.zeros(data.n_items, np.bool_)
        known[liked.item] = True
        try:
            solution = _solution(past, future, self.l2)
        except np.linalg.LinAlgError:
            cause = "S'S + l2 I is singular in double precision"
            raise InputError(
                f"{data.name}: slit.l2", value=self.l2, cause=cause, cure="raise l2, for example to 1"
            ) from None
        del past, future  # before the weights are copied
        weights: Scores = np.ascontiguousarray(solution, np.float32)
        self._learnt = {"weights": weights, "known": known, "positive_from": np.array(data.positive_from)}
        return self

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit: two matrices in double precision."""
        return 16 * data.n_items**2

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return sums of weights; -inf for a query without liked items that were known at training."""
        weights, (liked, decay) = self._learnt["weights"], self._usable(queries)
        if items is None:
            items = np.broadcast_to(np.arange(len(weights), dtype=np.int32), (len(queries), len(weights)))
        out = np.zeros(items.shape, np.float32)
        _sum(weights, liked, decay, np.ascontiguousarray(within(items, len(weights))), out)
        out[(liked < 0).all(axis=1)] = -np.inf
        return out

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items that add to each item's score, strongest first."""
        weights, (liked, decay) = self._learnt["weights"], self._usable(queries)

        def strongest(row: Rows, row_decay: Scores, item: int) -> list[Reason]:
            real = row >= 0
            added = np.bincount(row[real], row_decay[real] * weights[row[real], item], minlength=1)
            order = np.argsort(-added, kind="stable")
            return [Reason(int(other), float(added[other])) for other in order if added[other] > 0]

        return [
            [strongest(row, row_decay, item) if item >= 0 else [] for item in candidates]
            for row, row_decay, candidates in zip(liked, decay, within(items, len(weights)), strict=True)
        ]

    def _usable(self, queries: Queries) -> tuple[Rows, Scores]:
        """Return the latest liked and known items of each history, -1 elsewhere, and their weights; (B, H) each."""
        known = np.append(self._learnt["known"], False)
        liked = queries.liked(float(self._learnt["positive_from"]))
        liked = np.where(known[np.where(liked < len(known), liked, -1)], liked, np.int32(-1))
        later = (liked >= 0)[:, ::-1].cumsum(axis=1)[:, ::-1] - (liked >= 0)
        usable: Rows = np.where(later <= CUTOFF * self.history_decay_length, liked, np.int32(-1))
        return usable, np.exp(-later / self.history_decay_length).astype(np.float32)

    def state(self) -> Arrays:
        """Return "weights" (N, N), "known" (N,) and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt = dict(arrays)


def _tables(longest: int, history_decay_length: float, horizon_decay_length: float) -> tuple[Array, Array, Array]:
    """Return three tables by distance in positions, (longest + 1,) each.

    They are the decay of the history, the running sum of its squares, and the entry of a pair at that distance in S'T.
    """
    distance = np.arange(longest + 1)
    history, horizon = np.exp(-distance / history_decay_length), np.exp(-distance / horizon_decay_length)
    squares = np.append(0, np.cumsum(history**2))
    pair = np.zeros(longest + 1)
    for apart in range(1, longest + 1):  # sums over all cuts between the two items
        pair[apart] = horizon[0] * history[apart - 1] + horizon[1] * pair[apart - 1]
    return history, squares, pair


def _solution(past: Array, future: Array, l2: float) -> Array:
    """Return B from S'S and S'T (in Fortran's order), which are overwritten.

    Raises numpy.linalg.LinAlgError if S'S + l2 I is singular.
    """
    n = len(past)
    if not n:
        return future
    past[np.diag_indices(n)] += l2
    diagonal, square = past.diagonal().copy(), past.T
    if n <= positive_definite.DIRECT:
        factor, future, info = lapack.dposv(square, future, lower=1, overwrite_a=1, overwrite_b=1)
        if info:
            raise np.linalg.LinAlgError
        positive_definite.check_pivots(factor, diagonal)
    else:
        positive_definite.factorise(square)
        positive_definite.check_pivots(square, diagonal)
        positive_definite.solve(square, future)
    return future


@njit(cache=True)
def _add_pairs(
    start: Offsets, item: Rows, decay: Array, squares: Array, pair: Array, past: Array, future: Array
) -> None:
    for u in range(len(start) - 1):
        begin, end = start[u], start[u + 1]
        for s in range(begin, end):
            i = item[s]
            past[i, i] += squares[end - 1 - s]
            for r in range(s + 1, end):
                j = item[r]
                both = decay[r - s] * squares[end - 1 - r]
                past[i, j] += both
                past[j, i] += both
                future[i, j] += pair[r - s]


@njit(cache=True, nogil=True)
def _sum(weights: Scores, liked: Rows, decay: Scores, items: Rows, out: Scores) -> None:
    for b in range(items.shape[0]):
        for t in range(liked.shape[1]):
            if liked[b, t] >= 0:
                row = weights[liked[b, t]]
                for j in range(items.shape[1]):
                    if items[b, j] >= 0:
                        out[b, j] += decay[b, t] * row[items[b, j]]
        for j in range(items.shape[1]):
            if items[b, j] < 0:
                out[b, j] = -np.inf
