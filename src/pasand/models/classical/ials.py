"""Implicit ALS (Hu et al. 2008, in the form of Rendle et al. 2021, "iALS revisited")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numba import njit, prange
from numpy.random import Generator

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.models.classical.neighbours import distinct_liked
from pasand.models.dimensions import chosen_dimensions
from pasand.progress import track
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, Vectors, within


@dataclass(kw_only=True)
class IALS:
    """Scores an item by the inner product of its factors with those of the query, which are solved from its history.

    Minimises sum over positives of (1 - x.y)^2 + unobserved_weight * sum over all pairs of (x.y)^2
    + l2 * sum of (n + unobserved_weight * m)^l2_exponent * |x|^2 over users and items alike, where n is the number of
    the row's positives and m the number of rows on the other side (those with any positive). No user factors are
    stored: each query is folded in exactly, so that new users and new events are treated like those of training.
    """

    dimensions: int | None = None
    """Number of factors; None: a default by the number of items (see `models.dimensions`)."""
    epochs: int = 16
    """Number of passes, each over all users and then all items."""
    unobserved_weight: float = 0.1
    """Weight of a pair without interaction relative to a positive (alpha_0 of the paper); lower for more items."""
    l2: float = 0.01
    """Strength of the regularisation."""
    l2_exponent: float = 1.0
    """Growth of the regularisation with the number of positives (nu of the paper): 0 none, 1 linear as with SGD."""
    init_norm: float = 0.1
    """Root mean square length of the initial item vectors: their standard deviation times the root of `dimensions`."""
    conjugate_steps: int = 3
    """Steps of conjugate gradients from the last solution for each row in training; 0: exact, by Cholesky."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.dimensions is not None and self.dimensions < 1:
            raise ValueError(f"dimensions must be positive, got {self.dimensions}")
        if self.epochs < 1:
            raise ValueError(f"epochs must be positive, got {self.epochs}")
        for name in ("unobserved_weight", "l2", "init_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("conjugate_steps", "l2_exponent"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn the factors of the items; those of items without positives are 0."""
        by_user = data.matrix()
        by_item = by_user.T.tocsr()
        sides = [(m.indptr.astype(np.int64), m.indices.astype(np.int32)) for m in (by_user, by_item)]
        counts = [np.diff(start) for start, _ in sides]
        active = [int((count > 0).sum()) for count in counts]
        dimensions = chosen_dimensions(self.dimensions, active[1])
        users = np.zeros((data.n_users, dimensions), np.float32)
        initial = rng.normal(0, self.init_norm / np.sqrt(dimensions), (data.n_items, dimensions))
        items: Vectors = (initial * (counts[1] > 0)[:, None]).astype(np.float32)
        penalties = [self._penalty(count, n) for count, n in zip(counts, reversed(active), strict=True)]
        for _ in track(range(self.epochs), "ials"):
            _solve_all(*sides[0], items, self._gram(items), penalties[0], self.conjugate_steps, users)
            _solve_all(*sides[1], users, self._gram(users), penalties[1], self.conjugate_steps, items)
        self._learnt = {
            "items": items,
            "gram": self._gram(items),
            "known": counts[1] > 0,
            "positive_from": np.array(data.positive_from),
        }
        return self

    def _gram(self, factors: Vectors) -> Vectors:
        gram: Vectors = np.float32(self.unobserved_weight) * (factors.T @ factors)
        return gram

    def _penalty(self, count: Array, n_other: int) -> Scores:
        """Return the penalty of rows with `count` positives, given the number of rows on the other side."""
        weight = count + self.unobserved_weight * n_other
        penalty: Scores = (self.l2 * weight**self.l2_exponent).astype(np.float32)
        return penalty

    def _usable(self, queries: Queries) -> Rows:
        """Return the liked history items that were known at training, -1 elsewhere; (B, H)."""
        known = self._learnt["known"]
        liked = distinct_liked(queries, float(self._learnt["positive_from"]), len(known))
        usable: Rows = np.where((liked >= 0) & known[liked], liked, np.int32(-1)) if len(known) else liked
        return usable

    def _fold_in(self, usable: Rows) -> Vectors:
        """Return the factors of queries with these histories, (B, D); 0 for an empty one."""
        items, gram, known = self._learnt["items"], self._learnt["gram"], self._learnt["known"]
        out = np.zeros((len(usable), items.shape[1]), np.float32)
        penalty = self._penalty((usable >= 0).sum(axis=1), int(known.sum()))
        _solve_queries(usable, items, gram, penalty, out)
        return out

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return inner products, about 1 for a certain positive; -inf for a query without liked and known items."""
        usable, factors = self._usable(queries), self._learnt["items"]
        vectors = self._fold_in(usable)
        if items is None:
            out: Scores = vectors @ factors.T
        else:
            out = np.empty(items.shape, np.float32)
            _products(vectors, factors, np.ascontiguousarray(within(items, len(factors))), out)
        out[(usable < 0).all(axis=1)] = -np.inf
        return out

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the folded-in factors of the queries; 0 for a query without liked and known items."""
        return self._fold_in(self._usable(queries))

    def embed_items(self, items: Rows) -> Vectors:
        """Return the factors of the items; 0 at row -1 and for items without positives."""
        factors = self._learnt["items"]
        if not len(factors):
            return np.zeros((*items.shape, factors.shape[1]), np.float32)
        items = within(items, len(factors))
        vectors: Vectors = np.where((items >= 0)[..., None], factors[items], np.float32(0))
        return vectors

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items with a positive share of the score, largest first (Hu et al. 2008, section 5).

        The query's factors are W sum of y_j, with W the inverse of its system, so item j adds y_i' W y_j.
        """
        usable, factors = self._usable(queries), self._learnt["items"].astype(np.float64)
        gram, n_known = self._learnt["gram"].astype(np.float64), int(self._learnt["known"].sum())
        reasons = []
        for row, candidates in zip(usable, items, strict=True):
            history = row[row >= 0]
            liked = factors[history]
            penalty = float(self._penalty(np.array(len(history)), n_known))
            system = gram + liked.T @ liked + penalty * np.eye(len(gram))
            shares = liked @ np.linalg.solve(system, self.embed_items(candidates).T.astype(np.float64))
            reasons.append([_positive(history, share) for share in shares.T])
        return reasons

    def state(self) -> Arrays:
        """Return "items" (N, D), "gram" (D, D), "known" (N,) and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned."""
        self._learnt = dict(arrays)


def _positive(history: Rows, shares: Array) -> list[Reason]:
    order = np.argsort(-shares, kind="stable")
    return [Reason(int(history[i]), float(shares[i])) for i in order if shares[i] > 0]


@njit(cache=True, parallel=True, fastmath=True)
def _solve_all(
    start: Offsets, row: Rows, others: Vectors, gram: Vectors, penalty: Scores, steps: int, out: Vectors
) -> None:
    """Solve for every row of one side, given the other side; rows are interleaved over lanes to balance the work."""
    lanes, width = 64, others.shape[1]
    for lane in prange(lanes):
        square = np.empty((width, width) if steps == 0 else (3, width), np.float32)
        for u in range(lane, len(out), lanes):
            liked = row[start[u] : start[u + 1]]
            if len(liked) == 0:
                out[u] = 0
            elif steps == 0:
                _exact(liked, others, gram, penalty[u], square, out[u])
            else:
                _conjugate(liked, others, gram, penalty[u], steps, square, out[u])


@njit(cache=True, nogil=True)
def _solve_queries(usable: Rows, items: Vectors, gram: Vectors, penalty: Scores, out: Vectors) -> None:
    liked = np.empty(usable.shape[1], np.int32)
    square = np.empty(gram.shape, np.float32)
    for b in range(len(usable)):
        n = 0
        for t in range(usable.shape[1]):
            if usable[b, t] >= 0:
                liked[n] = usable[b, t]
                n += 1
        if n:
            _exact(liked[:n], items, gram, penalty[b], square, out[b])


@njit(cache=True, nogil=True, fastmath=True)
def _exact(liked: Rows, others: Vectors, gram: Vectors, penalty: float, square: Vectors, out: Scores) -> None:
    """Solve (gram + sum of y y' + penalty I) x = sum of y by Cholesky."""
    width = len(out)
    square[:] = gram
    out[:] = 0
    n, at = len(liked), 0
    while at + 4 <= n:  # four at a time, or memory traffic on the square is the bound
        y0, y1, y2, y3 = others[liked[at]], others[liked[at + 1]], others[liked[at + 2]], others[liked[at + 3]]
        for a in range(width):
            out[a] += y0[a] + y1[a] + y2[a] + y3[a]
            a0, a1, a2, a3 = y0[a], y1[a], y2[a], y3[a]
            for b in range(a + 1):
                square[a, b] += a0 * y0[b] + a1 * y1[b] + a2 * y2[b] + a3 * y3[b]
        at += 4
    for rest in range(at, n):
        y = others[liked[rest]]
        for a in range(width):
            out[a] += y[a]
            for b in range(a + 1):
                square[a, b] += y[a] * y[b]
    for a in range(width):
        square[a, a] += penalty
    for a in range(width):
        for b in range(a):
            square[a, b] = (square[a, b] - _dot(square[a], square[b], b)) / square[b, b]
        square[a, a] = np.sqrt(square[a, a] - _dot(square[a], square[a], a))
    for a in range(width):
        out[a] = (out[a] - _dot(square[a], out, a)) / square[a, a]
    for a in range(width - 1, -1, -1):
        out[a] /= square[a, a]
        for b in range(a):
            out[b] -= out[a] * square[a, b]


@njit(cache=True, nogil=True, fastmath=True)
def _dot(first: Scores, second: Scores, n: int) -> float:
    total = np.float32(0)
    for i in range(n):
        total += first[i] * second[i]
    return total  # type: ignore[return-value]  # float32 to numba


@njit(cache=True, nogil=True, fastmath=True)
def _conjugate(
    liked: Rows, others: Vectors, gram: Vectors, penalty: float, steps: int, buffers: Vectors, out: Scores
) -> None:
    """Improve x by steps of conjugate gradients on the system that `_exact` solves; buffers are (3, D)."""
    width = len(out)
    residual, direction, image = buffers[0], buffers[1], buffers[2]
    _apply(liked, others, gram, penalty, out, np.float32(1), image)
    for a in range(width):
        residual[a] = image[a]
        direction[a] = image[a]
    error = _dot(residual, residual, width)
    for _ in range(steps):
        if error < 1e-20:
            break
        _apply(liked, others, gram, penalty, direction, np.float32(0), image)
        length = -error / _dot(direction, image, width)
        for a in range(width):
            out[a] += length * direction[a]
            residual[a] += length * image[a]
        left = _dot(residual, residual, width)
        for a in range(width):
            direction[a] = residual[a] + left / error * direction[a]
        error = left


@njit(cache=True, nogil=True, fastmath=True)
def _apply(liked: Rows, others: Vectors, gram: Vectors, penalty: float, x: Scores, target: float, out: Scores) -> None:
    """Set out to target * sum of y - (gram + sum of y y' + penalty I) x."""
    width = len(x)
    for a in range(width):
        out[a] = -penalty * x[a]
    for b in range(width):
        scale = x[b]
        for a in range(width):
            out[a] -= scale * gram[b, a]
    for at in range(len(liked)):
        y = others[liked[at]]
        short = target - _dot(x, y, width)
        for a in range(width):
            out[a] += short * y[a]


@njit(cache=True, nogil=True)
def _products(vectors: Vectors, factors: Vectors, items: Rows, out: Scores) -> None:
    for b in range(items.shape[0]):
        for j in range(items.shape[1]):
            item = items[b, j]
            out[b, j] = _dot(vectors[b], factors[item], factors.shape[1]) if item >= 0 else -np.inf
