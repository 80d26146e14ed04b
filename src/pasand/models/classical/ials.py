"""Implicit ALS (Hu et al. 2008, in the form of Rendle et al. 2021, "iALS revisited")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from numba import njit, prange
from numpy.random import Generator

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.features.strengths import Weighting, check_weighting, median, of_histories, summed, weights
from pasand.features.training_weights import pair_weights, weighted
from pasand.layouts import Entry, check
from pasand.models.classical.neighbours import distinct_liked
from pasand.models.dimensions import chosen_dimensions
from pasand.models.hyperparameters import check_numbers
from pasand.progress import track
from pasand.types import Array, Arrays, Mask, Offsets, Queries, Rows, Scores, Vectors, within

LAYOUT = {
    "known": Entry("bool", "N"),
    "gram": Entry("float32", "D D"),
    "items": Entry("float32", "N D"),
    "positive_from": Entry("number", infinite=True),
    "strength_unit": Entry("number", lowest=0, optional=True),
}


@dataclass(kw_only=True)
class IALS:
    """Scores an item by the inner product of its factors with those of the query, which are solved from its history.

    Minimises sum over positives of w (1 - x.y)^2 + unobserved_weight * sum over all pairs of (x.y)^2
    + l2 * sum of (n + unobserved_weight * m)^l2_exponent * |x|^2 over users and items alike, where n is the sum of w
    over the row's positives and m the number of rows on the other side (those with any positive). The weight w is 1
    for ratings and plain events, and grows with the summed strength of a pair by `weighting`. No user factors are
    stored: each query is folded in exactly, so that new users and new events are treated like those of training.
    """

    uses_training_weights: ClassVar[bool] = True
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
    weighting: Weighting = "log"
    """Weight of a positive by its strength r, such as plays, with m the median: "linear" r / m, "log" log2(1 + r / m),
    "none" 1; data without strengths have weights of 1."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.dimensions is not None and self.dimensions < 1:
            raise ValueError(f"dimensions must be positive, got {self.dimensions}")
        if self.epochs < 1:
            raise ValueError(f"epochs must be positive, got {self.epochs}")
        for name in ("unobserved_weight", "l2", "init_norm"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name in ("conjugate_steps", "l2_exponent"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must not be negative or infinite, got {getattr(self, name)}")
        check_weighting(self.weighting)
        check_numbers(self)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn the factors of the items; those of items without positives are 0.

        Raises InputError if a system of equations has no solution in single precision.
        """
        by_user = data.matrix()
        unit, strength = 0.0, summed(data)
        if strength is not None and self.weighting != "none":
            unit, by_user = median(strength.data), strength
            by_user.data = weights(strength.data, unit, self.weighting)
        by_user, is_weighted = weighted(by_user, data, root=False), pair_weights(data) is not None
        by_item = by_user.T.tocsr()
        sides = [(m.indptr.astype(np.int64), m.indices.astype(np.int32), m.data) for m in (by_user, by_item)]
        counts = [np.diff(start) for start, _, _ in sides]
        totals = counts if unit == 0 else [np.asarray(by_user.sum(axis=axis)) for axis in (1, 0)]
        if is_weighted:
            totals = [np.asarray(by_user.sum(axis=axis, dtype=np.float64)) for axis in (1, 0)]
        active = [int((count > 0).sum()) for count in counts]
        dimensions = chosen_dimensions(self.dimensions, active[1])
        users = np.zeros((data.n_users, dimensions), np.float32)
        initial = rng.normal(0, self.init_norm / np.sqrt(dimensions), (data.n_items, dimensions))
        items: Vectors = (initial * (counts[1] > 0)[:, None]).astype(np.float32)
        penalties = [self._penalty(total, n) for total, n in zip(totals, reversed(active), strict=True)]
        for _ in track(range(self.epochs), "ials"):
            failed = _solve_all(*sides[0], items, self._gram(items), penalties[0], self.conjugate_steps, users)
            failed += _solve_all(*sides[1], users, self._gram(users), penalties[1], self.conjugate_steps, items)
            if failed:
                cause = f"{failed} systems of equations have no solution in single precision"
                cure = "raise l2, for example to 0.01, or set conjugate_steps = 3"
                raise InputError(f"{data.name}: ials.l2", value=self.l2, cause=cause, cure=cure)
        if not np.isfinite(items).all():
            cause, cure = "the factors overflow single precision", "choose l2 near 0.01"
            raise InputError(f"{data.name}: ials.l2", value=self.l2, cause=cause, cure=cure)
        self._learnt = {
            "items": items,
            "gram": self._gram(items),
            "known": counts[1] > 0,
            "positive_from": np.array(data.positive_from),
            "strength_unit": np.array(unit),
        }
        return self

    def _gram(self, factors: Vectors) -> Vectors:
        gram: Vectors = np.float32(self.unobserved_weight) * (factors.T @ factors)
        return gram

    def _penalty(self, total: Array, n_other: int) -> Scores:
        """Return the penalty of rows whose weights sum to `total`, given the number of rows on the other side."""
        weight = total + self.unobserved_weight * n_other
        penalty: Scores = (self.l2 * weight**self.l2_exponent).astype(np.float32)
        return penalty

    def _usable(self, queries: Queries) -> Rows:
        """Return the liked history items that were known at training, -1 elsewhere; (B, H)."""
        known = self._learnt["known"]
        liked = distinct_liked(queries, float(self._learnt["positive_from"]), len(known))
        usable: Rows = np.where((liked >= 0) & known[liked], liked, np.int32(-1)) if len(known) else liked
        return usable

    def _weights(self, usable: Rows, queries: Queries) -> Scores:
        """Return the weights of the usable items, (B, H)."""
        unit = float(self._learnt.get("strength_unit", 0.0))
        return of_histories(usable, queries.history, queries.history_value, unit, self.weighting)

    def _fold_in(self, usable: Rows, weight: Scores) -> Vectors:
        """Return the factors of queries with these histories, (B, D); 0 for an empty one."""
        items, gram, known = self._learnt["items"], self._learnt["gram"], self._learnt["known"]
        out = np.zeros((len(usable), items.shape[1]), np.float32)
        penalty = self._penalty(np.where(usable >= 0, weight, 0).sum(axis=1, dtype=np.float64), int(known.sum()))
        solved = _solve_queries(usable, weight, items, gram, penalty, out)
        for b in np.flatnonzero(~solved):  # singular in single precision: the shortest solution
            row = usable[b] >= 0
            liked, w = items[usable[b][row]].astype(np.float64), weight[b][row]
            system = gram + (liked.T * w) @ liked + penalty[b] * np.eye(len(gram))
            out[b] = np.linalg.lstsq(system, w @ liked, rcond=1e-7)[0]
        return out

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return inner products, about 1 for a certain positive; -inf for a query without liked and known items."""
        usable, factors = self._usable(queries), self._learnt["items"]
        vectors = self._fold_in(usable, self._weights(usable, queries))
        if items is None:
            out: Scores = vectors @ factors.T
        else:
            out = np.empty(items.shape, np.float32)
            _products(vectors, factors, np.ascontiguousarray(within(items, len(factors))), out)
        out[(usable < 0).all(axis=1)] = -np.inf
        return out

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the folded-in factors of the queries; 0 for a query without liked and known items."""
        usable = self._usable(queries)
        return self._fold_in(usable, self._weights(usable, queries))

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

        The query's factors are W sum of w_j y_j, with W the inverse of its system, so item j adds w_j y_i' W y_j.
        """
        usable, factors = self._usable(queries), self._learnt["items"].astype(np.float64)
        weight = self._weights(usable, queries).astype(np.float64)
        gram, n_known = self._learnt["gram"].astype(np.float64), int(self._learnt["known"].sum())
        reasons = []
        for row, row_weight, candidates in zip(usable, weight, items, strict=True):
            history, w = row[row >= 0], row_weight[row >= 0]
            liked = factors[history]
            penalty = float(self._penalty(w.sum(), n_known))
            system = gram + (liked.T * w) @ liked + penalty * np.eye(len(gram))
            shares = w[:, None] * liked @ np.linalg.solve(system, self.embed_items(candidates).T.astype(np.float64))
            reasons.append([_positive(history, share) for share in shares.T])
        return reasons

    def state(self) -> Arrays:
        """Return "items" (N, D), "gram" (D, D), "known" (N,), "positive_from" and "strength_unit" (0: no weights)."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt = dict(arrays)


def _positive(history: Rows, shares: Array) -> list[Reason]:
    order = np.argsort(-shares, kind="stable")
    return [Reason(int(history[i]), float(shares[i])) for i in order if shares[i] > 0]


@njit(cache=True, parallel=True, fastmath=True)
def _solve_all(
    start: Offsets,
    row: Rows,
    weight: Scores,
    others: Vectors,
    gram: Vectors,
    penalty: Scores,
    steps: int,
    out: Vectors,
) -> int:
    """Solve for every row of one side, given the other side; return the number of rows without a solution.

    Rows are interleaved over lanes to balance the work.
    """
    lanes, width, failed = 64, others.shape[1], 0
    for lane in prange(lanes):
        square = np.empty((width, width) if steps == 0 else (3, width), np.float32)
        for u in range(lane, len(out), lanes):
            liked, w = row[start[u] : start[u + 1]], weight[start[u] : start[u + 1]]
            if len(liked) == 0:
                for a in range(width):
                    out[u, a] = 0
            elif steps == 0:
                if not _exact(liked, w, others, gram, penalty[u], square, out[u]):
                    failed += 1
            else:
                _conjugate(liked, w, others, gram, penalty[u], steps, square, out[u])
    return failed


@njit(cache=True, nogil=True)
def _solve_queries(usable: Rows, weight: Scores, items: Vectors, gram: Vectors, penalty: Scores, out: Vectors) -> Mask:
    """Fill `out` by the solution of each query; return which have one, (B,)."""
    liked, w = np.empty(usable.shape[1], np.int32), np.empty(usable.shape[1], np.float32)
    square = np.empty(gram.shape, np.float32)
    solved = np.ones(len(usable), np.bool_)
    for b in range(len(usable)):
        n = 0
        for t in range(usable.shape[1]):
            if usable[b, t] >= 0:
                liked[n], w[n] = usable[b, t], weight[b, t]
                n += 1
        if n:
            solved[b] = _exact(liked[:n], w[:n], items, gram, penalty[b], square, out[b])
    return solved


@njit(cache=True, nogil=True, fastmath=True)
def _exact(
    liked: Rows, weight: Scores, others: Vectors, gram: Vectors, penalty: float, square: Vectors, out: Scores
) -> bool:
    """Solve (gram + sum of w y y' + penalty I) x = sum of w y by Cholesky; return whether it has a solution."""
    width = len(out)
    for a in range(width):
        out[a] = 0
        for b in range(width):
            square[a, b] = gram[a, b]
    n, at = len(liked), 0
    while at + 4 <= n:  # four at a time, or memory traffic on the square is the bound
        y0, y1, y2, y3 = others[liked[at]], others[liked[at + 1]], others[liked[at + 2]], others[liked[at + 3]]
        w0, w1, w2, w3 = weight[at], weight[at + 1], weight[at + 2], weight[at + 3]
        for a in range(width):
            a0, a1, a2, a3 = w0 * y0[a], w1 * y1[a], w2 * y2[a], w3 * y3[a]
            out[a] += a0 + a1 + a2 + a3
            for b in range(a + 1):
                square[a, b] += a0 * y0[b] + a1 * y1[b] + a2 * y2[b] + a3 * y3[b]
        at += 4
    for rest in range(at, n):
        y = others[liked[rest]]
        for a in range(width):
            own = weight[rest] * y[a]
            out[a] += own
            for b in range(a + 1):
                square[a, b] += own * y[b]
    for a in range(width):
        square[a, a] += penalty
    for a in range(width):
        for b in range(a):
            square[a, b] = (square[a, b] - _dot(square[a], square[b], b)) / square[b, b]
        pivot = square[a, a] - _dot(square[a], square[a], a)
        if pivot <= np.float32(1e-7) * square[a, a]:
            return False
        square[a, a] = np.sqrt(pivot)
    for a in range(width):
        out[a] = (out[a] - _dot(square[a], out, a)) / square[a, a]
    for a in range(width - 1, -1, -1):
        out[a] /= square[a, a]
        for b in range(a):
            out[b] -= out[a] * square[a, b]
    return True


@njit(cache=True, nogil=True, fastmath=True)
def _dot(first: Scores, second: Scores, n: int) -> float:
    total = np.float32(0)
    for i in range(n):
        total += first[i] * second[i]
    return total  # type: ignore[return-value]  # float32 to numba


@njit(cache=True, nogil=True, fastmath=True)
def _conjugate(
    liked: Rows,
    weight: Scores,
    others: Vectors,
    gram: Vectors,
    penalty: float,
    steps: int,
    buffers: Vectors,
    out: Scores,
) -> None:
    """Improve x by steps of conjugate gradients on the system that `_exact` solves; buffers are (3, D)."""
    width = len(out)
    residual, direction, image = buffers[0], buffers[1], buffers[2]
    _apply(liked, weight, others, gram, penalty, out, np.float32(1), image)
    for a in range(width):
        residual[a] = image[a]
        direction[a] = image[a]
    error = _dot(residual, residual, width)
    for _ in range(steps):
        if error < 1e-20:
            break
        _apply(liked, weight, others, gram, penalty, direction, np.float32(0), image)
        curvature = _dot(direction, image, width)
        if not curvature < 0:  # by rounding errors: the system is singular in single precision
            break
        length = -error / curvature
        for a in range(width):
            out[a] += length * direction[a]
            residual[a] += length * image[a]
        left = _dot(residual, residual, width)
        for a in range(width):
            direction[a] = residual[a] + left / error * direction[a]
        error = left


@njit(cache=True, nogil=True, fastmath=True)
def _apply(
    liked: Rows,
    weight: Scores,
    others: Vectors,
    gram: Vectors,
    penalty: float,
    x: Scores,
    target: float,
    out: Scores,
) -> None:
    """Set out to target * sum of w y - (gram + sum of w y y' + penalty I) x."""
    width = len(x)
    for a in range(width):
        out[a] = -penalty * x[a]
    for b in range(width):
        scale = x[b]
        for a in range(width):
            out[a] -= scale * gram[b, a]
    for at in range(len(liked)):
        y = others[liked[at]]
        short = weight[at] * (target - _dot(x, y, width))
        for a in range(width):
            out[a] += short * y[a]


@njit(cache=True, nogil=True)
def _products(vectors: Vectors, factors: Vectors, items: Rows, out: Scores) -> None:
    for b in range(items.shape[0]):
        for j in range(items.shape[1]):
            item = items[b, j]
            out[b, j] = _dot(vectors[b], factors[item], factors.shape[1]) if item >= 0 else -np.inf
