"""`ItemFoldIn`: moves the predicted vector of an item towards the learnt one, from the users who interacted with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse

from pasand.contracts import TowerModel
from pasand.data.dataset import Dataset
from pasand.layouts import Entry
from pasand.types import Array, Arrays, Mask, Vectors

LAYOUT = {
    "fold_in.root": Entry("float64", "D D"),
    "fold_in.growth": Entry("float64", "D", lowest=0),
    "fold_in.spread": Entry("float64", "D D"),
    "fold_in.mean": Entry("float64", "D"),
}


STRENGTHS, FOLDED = (1.0, 0.5, 2.0, 4.0, 8.0), 5
"""Factors of the prior's covariance that are tried, and users of a held-out item who are folded in to compare them."""
MOST_USERS, CHUNK = 4000, 500
"""Most users from which a fold-in is learnt, and users whose vectors are computed at a time."""


@dataclass(frozen=True, kw_only=True)
class ItemFoldIn:
    """Solves for an item's vector y from its predicted vector y0 and the n users who interacted with it, x_1 to x_n.

    A user likes the item with probability softmax over users of b x'y. With m and C the mean and the covariance of the
    users' vectors, the log-partition function is b m'y + b^2 y'Cy / 2 to second order, and the likelihood is largest
    at d = C^-1 (x - m) / b, with x the mean of x_1 to x_n: Fisher's discriminant between the users of the item and all
    users. The vector minimises, in closed form,

        (y - y0)' R^-1 (y - y0) + n (y - d)' bC (y - d),

    so that it is y0 without users, and goes to d with many. R is the covariance of the learnt vectors around the
    predicted ones, times a factor that held-out items choose (`best_factor`): the prior is weak in those directions in
    which features predict badly. b is the factor with which learnt vectors agree with d best.
    """

    root: NDArray[np.float64]
    """(D, D) L, with LL' = R and L'bCL = diag(l)."""
    growth: NDArray[np.float64]
    """(D,) l."""
    spread: NDArray[np.float64]
    """(D, D) bC."""
    mean: NDArray[np.float64]
    """(D,) m."""

    @classmethod
    def learn(cls, queries: Vectors, liked: sparse.csr_array, items: Vectors, predicted: Vectors) -> Self:
        """Return the fold-in learnt from U users and n items with positives.

        `queries` (U, D) are the users' vectors, `liked` (n, U) holds 1 where a user likes an item, `items` (n, D) are
        learnt and `predicted` (n, D) predicted vectors. Without users or items no vector moves.
        """
        width = items.shape[1]
        still = cls(root=np.zeros((width, width)), growth=np.zeros(width), spread=np.eye(width), mean=np.zeros(width))
        if not len(queries) or not len(items):
            return still
        users, learnt = queries.astype(np.float64), items.astype(np.float64)
        mean = users.mean(axis=0)
        centred = users - mean
        covariance = centred.T @ centred / len(users)
        count = np.maximum(np.asarray(liked.sum(axis=1)).reshape(-1), 1)
        apart = (liked @ centred) / count[:, None]
        expected = learnt @ covariance
        scale = float(np.vdot(expected, apart)) / max(float(np.vdot(expected, expected)), 1e-300)
        if scale <= 0:  # the vectors do not separate the users of an item from the others
            return still
        residual, spread = learnt - predicted, scale * covariance
        values, axes = np.linalg.eigh(residual.T @ residual / len(items))
        half = axes * np.sqrt(np.maximum(values, 0))
        growth, turn = np.linalg.eigh(half.T @ spread @ half)
        return cls(root=half @ turn, growth=np.maximum(growth, 0), spread=spread, mean=mean)

    def solve(self, predicted: Array, total: Array, count: Array) -> Vectors:
        """Return the vectors of k items, (k, D), given predicted ones, sums of their users' vectors and numbers.

        A vector is y0 + L (n L'(x - m - bC y0) / (1 + n l)); an item without users keeps its predicted vector.
        """
        start, n = predicted.astype(np.float64), count[:, None].astype(np.float64)
        gap = total - n * (self.mean + start @ self.spread)
        moved: Vectors = (start + (gap @ self.root) / (1 + n * self.growth) @ self.root.T).astype(np.float32)
        return moved

    def scaled(self, factor: float) -> Self:
        """Return the fold-in with R times a factor: with a larger one the users of an item count more."""
        return replace(self, root=np.sqrt(factor) * self.root, growth=factor * self.growth)

    def best_factor(self, predicted: Vectors, queries: Vectors, liked: sparse.csr_array, rng: Generator) -> float:
        """Return the factor of `STRENGTHS` with which held-out items rank their users best; 1 if none has enough users.

        `predicted` (m, D) are the vectors of m items that were held out, `queries` (B, D) those of users, and `liked`
        (B, m) is not 0 where a user likes an item. `FOLDED` users of an item are folded in, all others are ranked, and
        the measure is the mean NDCG without a cutoff of the item's other users.
        """
        relevant = liked.toarray().T > 0  # (m, B)
        usable = np.flatnonzero(relevant.sum(axis=1) >= 2 * FOLDED)
        if not len(usable):
            return 1.0
        relevant, start = relevant[usable], predicted[usable]
        order = np.argsort(np.where(relevant, rng.random(relevant.shape), 2.0), axis=1)[:, :FOLDED]
        total = queries.astype(np.float64)[order].sum(axis=1)
        np.put_along_axis(relevant, order, False, axis=1)
        discount = 1 / np.log2(np.arange(len(queries)) + 2)
        ideal = np.cumsum(discount)[relevant.sum(axis=1) - 1]
        means = []
        for factor in STRENGTHS:
            vectors = self.scaled(factor).solve(start, total, np.full(len(start), FOLDED))
            scores = vectors @ queries.T
            np.put_along_axis(scores, order, -np.inf, axis=1)  # last, below all others
            gains = np.take_along_axis(relevant, np.argsort(-scores, axis=1, kind="stable"), axis=1) @ discount
            means.append(float((gains / ideal).mean()))
        return STRENGTHS[int(np.argmax(means))]

    def state(self) -> dict[str, Array]:
        """Return the arrays of `LAYOUT`."""
        return {f"fold_in.{name}": getattr(self, name) for name in ("root", "growth", "spread", "mean")}

    @classmethod
    def restored(cls, arrays: Arrays) -> Self:
        """Return the fold-in of the arrays of `state`."""
        return cls(**{name: arrays[f"fold_in.{name}"] for name in ("root", "growth", "spread", "mean")})


def fold_in_of(
    model: TowerModel, data: Dataset, known: Mask, items: Vectors, predicted: Vectors, rng: Generator
) -> ItemFoldIn:
    """Return the fold-in of a fitted model, learnt from a sample of the users with positives.

    `known` (N,) are the n items with positives, of which `items` and `predicted` (n, D) hold the vectors.
    """
    users = np.unique(data.user[data.is_positive])
    users = np.sort(rng.permutation(users)[:MOST_USERS]).astype(np.int32)
    parts = [model.embed_queries(data.queries(users[at : at + CHUNK], k=1)) for at in range(0, len(users), CHUNK)]
    queries = np.concatenate([items[:0], *parts])
    able = queries.any(axis=1)
    liked = data.matrix()[users[able]][:, np.flatnonzero(known)].T.tocsr()
    return ItemFoldIn.learn(queries[able], liked, items, predicted)
