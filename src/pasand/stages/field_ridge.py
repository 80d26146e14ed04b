"""Ridge regression from blocks of item features to vectors, with a weight for each feature learnt on held-out items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pasand.types import Array, Rows, Vectors

Floats = NDArray[np.float64]

DIRECT = 6144
"""Most items whose ridge regression is solved by Cholesky; of more it is solved by conjugate gradients."""
MOST_STEPS = 300
"""Most steps of conjugate gradients."""
TOLERANCE = 1e-4
"""Length of the residual, relative to the target, at which conjugate gradients stop."""
SEARCHED = (-7.0, 7.0)
"""Range of the logarithms of weights and of the penalty."""
PRIOR = 1e-3
"""Penalty on the squares of the logarithms of the weights, in nats for each user."""


@dataclass(frozen=True, kw_only=True)
class FieldWeights:
    """Weights of features, and the penalty of the ridge regression."""

    weight: Floats
    """(F,) weight of each feature's similarity, positive."""
    l2: float
    """Ridge penalty, in the unit of the weights."""

    @classmethod
    def default(cls, n_features: int) -> FieldWeights:
        """Return equal weights, and a penalty equal to the similarity of an item to itself."""
        return cls(weight=np.ones(n_features), l2=float(max(n_features, 1)))


def coefficients(rows: sparse.csr_array, feature: Rows, target: Vectors, chosen: FieldWeights) -> Vectors:
    """Return the coefficients, (C, D), of the ridge regression of targets (n, D) on the rows of n items, (n, C).

    `feature` (C,) is the feature of each column. With S = diag(weight of the column's feature) they are
    S X' (X S X' + l2 I)^-1 Y, the minimum of |Y - X B|^2 + l2 * sum over columns of |B_c|^2 / weight. Zero items give
    coefficients of 0.
    """
    scaled = _scaled(rows, feature, chosen.weight)
    if len(target) <= DIRECT:
        kernel = (scaled @ scaled.T).toarray().astype(np.float64)
        dual = _solve(kernel, chosen.l2, target.astype(np.float64))
    else:
        dual = _conjugate_gradients(scaled, chosen.l2, target.astype(np.float64))
    root = np.sqrt(chosen.weight)[feature][:, None]
    out: Vectors = (root * (scaled.T @ dual)).astype(np.float32)
    return out


@dataclass(frozen=True, kw_only=True)
class HeldOutItems:
    """Items that a model was not fitted to, with users who liked them and the model's vectors of both sides."""

    rows: sparse.csr_array
    """(n + m, C) rows of n items that the model was fitted to, and then of m held-out ones."""
    target: Vectors
    """(n, D) vectors of the items that the model was fitted to, less their mean."""
    mean: Vectors
    """(D,) their mean."""
    queries: Vectors
    """(B, D) vectors of users, from histories without the held-out items."""
    liked: sparse.csr_array
    """(B, m) share of each held-out item in what the user liked of them; each row sums to 1."""

    def learn(self, feature: Rows, n_features: int, steps: int = 25) -> FieldWeights:
        """Return the weights with which held-out items are ranked best for their users.

        They maximise the mean log likelihood of the items that a user liked, under a softmax over all held-out items of
        the inner products of the user's vector and their predicted vectors. `steps` bounds the steps of L-BFGS.
        """
        from scipy.optimize import minimize  # slow to import, and not needed for serving

        kernels: list[Array] = []
        for i in range(n_features):
            block = self.rows[:, np.flatnonzero(feature == i)]
            kernels.append((block @ block.T).toarray().astype(np.float32))
        start = np.append(np.zeros(n_features), [np.log(n_features), np.log(self._sharpness())])
        bounds = [*[SEARCHED] * (n_features + 1), (-np.inf, np.inf)]
        search: Any = minimize  # its types do not infer a lambda
        found = search(
            lambda x: self._loss(x, kernels),
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": steps},
        )
        return FieldWeights(weight=np.exp(found.x[:n_features]), l2=float(np.exp(found.x[n_features])))

    def _sharpness(self) -> float:
        """Return the factor at which the inner products with known items have a standard deviation of 1."""
        spread = float(np.std(self.queries @ self.target.T))
        return 1 / spread if spread > 0 else 1.0

    def _loss(self, x: Floats, kernels: list[Array]) -> tuple[float, Floats]:
        """Return the negative log likelihood and its gradient with respect to x.

        x holds the logarithms of the weights, of the penalty, and of the factor of the inner products in the softmax.
        """
        n, count = len(self.target), len(kernels)
        weight, l2, sharpness = np.exp(x[:count]).astype(np.float32), float(np.exp(x[count])), float(np.exp(x[-1]))
        kernel = sum(w * part for w, part in zip(weight, kernels, strict=True))
        assert isinstance(kernel, np.ndarray)
        among, across = kernel[:n, :n], kernel[n:, :n]
        factor = _factor(among, l2)
        dual = _back(factor, self.target)  # (n, D)
        products = self.queries @ (self.mean + across @ dual).T  # (B, m)
        logits = sharpness * products
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1, keepdims=True)
        chosen = self.liked.multiply(logits - np.log(total)).sum()
        users = len(self.queries)
        slope = (odds / total - self.liked.toarray()) / users  # of the loss by the logits, (B, m)
        of_vectors = sharpness * slope.T @ self.queries  # (m, D)
        back = _back(factor, across.T @ of_vectors)  # (n, D)
        outer, inner = of_vectors @ dual.T, back @ dual.T  # of the loss by `across`, and its negative by `among`
        gradient = np.zeros(len(x))
        for i, part in enumerate(kernels):
            gradient[i] = weight[i] * (np.vdot(outer, part[n:, :n]) - np.vdot(inner, part[:n, :n]))
        gradient[count] = -l2 * np.vdot(back, dual)
        gradient[-1] = np.vdot(slope, sharpness * products)
        penalty = PRIOR * float(x[:count] @ x[:count])
        gradient[:count] += 2 * PRIOR * x[:count]
        return float(-chosen / users + penalty), gradient


def _scaled(rows: sparse.csr_array, feature: Rows, weight: Floats) -> sparse.csr_array:
    """Return the rows times the roots of the weights of their columns, so that inner products are the kernel."""
    data = rows.data * np.sqrt(weight)[feature[rows.indices]]
    return sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)


def _factor(kernel: Array, l2: float) -> Array:
    """Return the Cholesky factor of kernel + l2 I, of which the lower triangle counts."""
    from scipy.linalg import cholesky  # slow to import, and not needed for serving

    system = kernel + np.asarray(l2 + 1e-6 * float(np.trace(kernel)) / max(len(kernel), 1), kernel.dtype) * np.eye(
        len(kernel), dtype=kernel.dtype
    )
    factor: Array = cholesky(system, lower=True, overwrite_a=True, check_finite=False)
    return factor


def _back(factor: Array, target: Array) -> Array:
    """Return the solution of the system with this Cholesky factor, (n, D)."""
    from scipy.linalg import cho_solve

    solved: Array = cho_solve((factor, True), np.asarray(target, factor.dtype), check_finite=False)
    return solved


def _solve(kernel: Array, l2: float, target: Array) -> Array:
    return _back(_factor(kernel, l2), target)


def _conjugate_gradients(scaled: sparse.csr_array, l2: float, target: Floats) -> Floats:
    """Return the solution of (X X' + l2 I) A = Y by conjugate gradients on all columns at once; (n, D)."""
    transposed = scaled.T.tocsr()
    solution = np.zeros_like(target)
    residual, direction = target.copy(), target.copy()
    error = (residual**2).sum(axis=0)
    enough = TOLERANCE**2 * error
    for _ in range(MOST_STEPS):
        if (error <= enough).all():
            break
        image = scaled @ (transposed @ direction) + l2 * direction
        length = error / np.maximum((direction * image).sum(axis=0), 1e-300)
        solution += length * direction
        residual -= length * image
        left = (residual**2).sum(axis=0)
        direction = residual + left / np.maximum(error, 1e-300) * direction
        error = left
    return solution
