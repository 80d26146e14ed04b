"""SLIT: the latest likings foresee the next ones, linearly and in closed form (Choi et al., WWW 2021, equation 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numba import njit
from numpy.random import Generator
from scipy.linalg import lapack

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.models.classical.ease import memory_free
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, within

FAR = 10.0
"""Fadings beyond which a liking is forgotten in answers."""


@dataclass(kw_only=True)
class SLIT:
    """Scores an item by the learnt weights of the liked history, which count less the longer ago: s = x B.

    Every history is cut at each of its places. Before a cut the k-th last liking counts exp(-(k - 1) / before), which
    makes a row of S, behind it the k-th one exp(-(k - 1) / ahead), a row of T, and B = (S'S + l2 I)^-1 S'T. Deviations
    from the paper: fading goes by places instead of time, no cut weighs more than another, and what was liked may
    come again. The order of likings must mean something. Memory grows with the square of the catalogue.
    """

    before: float = 10.0
    """Likings in which what came before fades by e."""
    ahead: float = 5.0
    """Likings in which what comes next fades by e."""
    l2: float = 1000.0
    """Ridge penalty: larger for more users per item."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("before", "ahead", "l2"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Solve for the weights; raises InputError where the catalogue's square does not fit into memory."""
        required, free = memory_needed(data.n_items), memory_free()
        if required > free:
            raise InputError(
                data.name,
                cause=f"SLIT needs {required / 2**30:.1f} GiB for {data.n_items:,} items squared, {free / 2**30:.1f} "
                "GiB are free",
                cure="use item_knn or sasrec, or drop rare items",
            )
        liked = data.positives().by_user
        longest = int(np.diff(liked.start).max(initial=0))
        past, future = np.zeros((2, data.n_items, data.n_items))
        _add_pairs(liked.start, liked.item, *_tables(longest, self.before, self.ahead), past, future)
        known = np.zeros(data.n_items, np.bool_)
        known[liked.item] = True
        self._learnt = {
            "weights": _weights(past, future, self.l2),
            "known": known,
            "positive_from": np.array(data.positive_from),
        }
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return sums of weights; -inf where no item of the history was liked and known at training."""
        weights, (liked, counts) = self._learnt["weights"], self._read(queries)
        if items is None:
            items = np.broadcast_to(np.arange(len(weights), dtype=np.int32), (len(queries), len(weights)))
        out = np.zeros(items.shape, np.float32)
        _sum(weights, liked, counts, np.ascontiguousarray(within(items, len(weights))), out)
        out[(liked < 0).all(axis=1)] = -np.inf
        return out

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items that add to each item's score, strongest first."""
        weights, (liked, counts) = self._learnt["weights"], self._read(queries)

        def of(row: Rows, count: Scores, item: int) -> list[Reason]:
            there = row >= 0
            added = np.bincount(row[there], count[there] * weights[row[there], item], minlength=1)
            order = np.argsort(-added, kind="stable")
            return [Reason(int(other), float(added[other])) for other in order if added[other] > 0]

        return [
            [of(row, count, item) if item >= 0 else [] for item in wanted]
            for row, count, wanted in zip(liked, counts, within(items, len(weights)), strict=True)
        ]

    def _read(self, queries: Queries) -> tuple[Rows, Scores]:
        """Return the latest liked and known items of each history, -1 elsewhere, and what each counts; (B, H) each."""
        known = np.append(self._learnt["known"], False)
        liked = queries.liked(float(self._learnt["positive_from"]))
        liked = np.where(known[np.where(liked < len(known), liked, -1)], liked, np.int32(-1))
        later = (liked >= 0)[:, ::-1].cumsum(axis=1)[:, ::-1] - (liked >= 0)
        read: Rows = np.where(later <= FAR * self.before, liked, np.int32(-1))
        return read, np.exp(-later / self.before).astype(np.float32)

    def state(self) -> Arrays:
        """Return "weights" (N, N), "known" (N,) and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt = dict(arrays)


def memory_needed(n_items: int) -> int:
    """Return the peak bytes of a fit: two matrices in double precision and the weights in single."""
    return 20 * n_items**2


def _tables(longest: int, before: float, ahead: float) -> tuple[Array, Array, Array]:
    """Return by number of places: what fades, sums of its squares, and how much a pair so far apart counts in S'T."""
    places = np.arange(longest + 1)
    fading, coming = np.exp(-places / before), np.exp(-places / ahead)
    squares = np.append(0, np.cumsum(fading**2))
    counts = np.zeros(longest + 1)
    for apart in range(1, longest + 1):  # all cuts between the two: one is j places before it, the other the rest
        counts[apart] = coming[0] * fading[apart - 1] + coming[1] * counts[apart - 1]
    return fading, squares, counts


def _weights(past: Array, future: Array, l2: float) -> Scores:
    """Return B from S'S and S'T, which are overwritten."""
    if not len(past):
        return np.zeros((0, 0), np.float32)
    past[np.diag_indices(len(past))] += l2
    _, found, info = lapack.dposv(past.T, future.T.copy().T, lower=1, overwrite_a=1, overwrite_b=1)
    assert info == 0, "S'S + l2 I is positive definite"
    return np.ascontiguousarray(found, np.float32)


@njit(cache=True)
def _add_pairs(
    start: Offsets, item: Rows, fading: Array, squares: Array, counts: Array, past: Array, future: Array
) -> None:
    for u in range(len(start) - 1):
        begin, end = start[u], start[u + 1]
        for s in range(begin, end):
            i = item[s]
            past[i, i] += squares[end - 1 - s]
            for r in range(s + 1, end):
                j = item[r]
                both = fading[r - s] * squares[end - 1 - r]
                past[i, j] += both
                past[j, i] += both
                future[i, j] += counts[r - s]


@njit(cache=True, nogil=True)
def _sum(weights: Scores, liked: Rows, counts: Scores, items: Rows, out: Scores) -> None:
    for b in range(items.shape[0]):
        for t in range(liked.shape[1]):
            if liked[b, t] >= 0:
                row = weights[liked[b, t]]
                for j in range(items.shape[1]):
                    if items[b, j] >= 0:
                        out[b, j] += counts[b, t] * row[items[b, j]]
        for j in range(items.shape[1]):
            if items[b, j] < 0:
                out[b, j] = -np.inf
