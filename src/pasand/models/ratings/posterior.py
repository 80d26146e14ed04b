"""Base class of the Bayesian rating models: predictions averaged over posterior draws, and the exact conditional."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.features.rating_histories import rated_mask, unchanged
from pasand.layouts import Entry, Layout
from pasand.models.hyperparameters import check_numbers
from pasand.models.ratings.rating_model import RatingModel
from pasand.types import Array, Offsets, Queries, Rows, Scores, within

Floats: TypeAlias = NDArray[np.float64]

BATCH = 512
"""Queries predicted at once."""


@dataclass
class PosteriorMean(RatingModel, ABC):
    """Predicts r = mu + b_u + b_i + p_u . q_i, averaged over S draws of the parameters from their posterior.

    Learnt are "items", (N + 1, S, 1 + D): bias and vector of each item in each draw, the last row for an unknown item;
    "users", (U, S, 1 + D), for users whose history ends as it did in training; "mean" and "unit", by which the ratings
    were standardised; and their "scale".
    """

    dimensions: int = 10
    """Width of the vectors; 0: biases alone."""
    epochs: int = 150
    """Number of sweeps of the Gibbs sampler, burn-in included."""
    burn_in: int = 50
    """Number of first sweeps that are discarded; fewer than `epochs`."""
    samples: int = 50
    """Number of sweeps kept, evenly spaced after the burn-in, or all of these if fewer. Memory and prediction time are
    proportional to it."""
    implicit: bool = True
    """Whether the sets of rated items and of raters are evidence beside the values of the ratings."""

    def __post_init__(self) -> None:
        for name in ("epochs", "samples"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.dimensions < 0:
            raise ValueError(f"dimensions must be at least 0, got {self.dimensions}")
        if not 0 <= self.burn_in < self.epochs:
            raise ValueError(f"burn_in must be at least 0 and less than epochs, got {self.burn_in}")
        check_numbers(self)

    @property
    def kept_epochs(self) -> list[int]:
        """The sweeps whose draws are kept."""
        n = min(self.samples, self.epochs - self.burn_in)
        kept: list[int] = np.linspace(self.burn_in, self.epochs - 1, n).astype(int).tolist()
        return kept

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit beside the data: the kept draws, in double precision and stacked."""
        return 16 * len(self.kept_epochs) * (1 + self.dimensions) * (data.n_users + 2 * data.n_items)

    @abstractmethod
    def _fold_in(self, queries: Queries) -> Scores:
        """Return (bias, vector) of queries by their histories, for users without stored parameters; (B, S, 1 + D)."""

    def curves(self) -> dict[str, list[float]]:
        """Return "train rmse": the root mean squared error of each sweep's draw, which settles near the noise level."""
        return {"train rmse": list(map(float, self._learnt.get("train rmse", ())))}

    def user_parameters(self, queries: Queries) -> Scores:
        """Return the (bias, vector) of each query in each draw; (B, S, 1 + D)."""
        learnt = self._learnt
        queries = queries.within(len(learnt["items"]) - 1)
        known = unchanged(queries, learnt)
        out: Scores = learnt["users"][np.where(known, queries.users, 0)]
        new = np.flatnonzero(~known)
        if len(new):
            out[new] = self._fold_in(queries.take(new))
        return out

    def _rated(self, queries: Queries) -> tuple[Offsets, Rows, Scores]:
        """Return the rated events of the histories, concatenated: offsets, (B + 1,), items and ratings, (E,) each."""
        real = rated_mask(queries)
        start: Offsets = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
        values = (queries.history_value[real] - self._learnt["mean"][0]) / self._learnt["unit"][0]
        return start, queries.history[real], values.astype(np.float32)

    @property
    def _n_items(self) -> int:
        return len(self._learnt["items"]) - 1

    def _layout(self) -> Layout:
        width = f"{1 + self.dimensions}"
        return {
            "unit": Entry("float64", "1", above=0),
            "alpha": Entry("float64", "S", above=0),
            "items": Entry("float32", f"N+1 S {width}"),
            "users": Entry("float32", f"U S {width}"),
            "implicit": Entry("float32", f"S N {width}"),
        }

    def _expected(self, queries: Queries, items: Rows | None) -> Scores:
        learnt = self._learnt
        tables = learnt["items"]
        width = tables.shape[1] * tables.shape[2]
        items = within(items, self._n_items)
        mean, unit = np.float32(learnt["mean"][0]), np.float32(learnt["unit"][0])
        out = np.empty((len(queries), self._n_items) if items is None else items.shape, np.float32)
        for first in range(0, len(queries), BATCH):
            part = slice(first, first + BATCH)
            users = self.user_parameters(queries.take(np.arange(*part.indices(len(queries)))))
            if items is not None:
                out[part] = mean + unit * _mean_products(users, tables, items[part])
                continue
            # one product of long vectors, (B, S (1 + D)) by (S (1 + D), N), with the bias replaced by 1 on either side
            left, right = users.copy(), tables[:-1].copy()
            left[:, :, 0], right[:, :, 0] = 1, 1
            product = left.reshape(-1, width) @ right.reshape(-1, width).T / tables.shape[1] - 1
            out[part] = mean + unit * (users[:, :, 0].mean(axis=1)[:, None] + tables[:-1, :, 0].mean(axis=1) + product)
        return out


def standardise(rated: Dataset) -> tuple[dict[str, Array], Scores]:
    """Return "mean", "unit" (standard deviation, 1 if it is 0) and "scale" of ratings, and the standardised ratings."""
    assert rated.value is not None
    mean = float(np.mean(rated.value, dtype=np.float64))
    unit = float(np.std(rated.value, dtype=np.float64)) or 1.0
    scale = np.array([rated.value.min(), rated.value.max()], np.float32)
    learnt = {"mean": np.array([mean]), "unit": np.array([unit]), "scale": scale}
    return learnt, ((rated.value - mean) / unit).astype(np.float32)


@njit(cache=True)
def scaled_sums(start: Offsets, items: Rows, implicit: Floats) -> Floats:
    """Return the sum of `implicit` over the items of each row, divided by the root of their number; (B, 1 + D)."""
    out = np.zeros((len(start) - 1, implicit.shape[1]))
    for b in range(len(out)):
        for e in range(start[b], start[b + 1]):
            out[b] += implicit[items[e]]
        if start[b + 1] > start[b]:
            out[b] /= np.sqrt(start[b + 1] - start[b])
    return out


@njit(cache=True, fastmath=True)
def conditional(
    start: Offsets,
    others: Rows,
    values: Scores,
    table: Floats,
    prior_mean: Floats,
    precision: Floats,
    alpha: Floats,
    normals: Floats,
) -> tuple[Floats, Floats]:
    """Return the mean of each row's w given its ratings and the other side's w, and a draw; both (B, 1 + D).

    With x = (1, vector of the other) and y = rating - mu - bias of the other, w is normal of precision P =
    diag(precision) + alpha sum x x' and mean P^-1 (precision * prior mean + alpha sum y x), where each row has a
    precision, (B, 1 + D), and an alpha, (B,), of its own. The draw adds L'^-1 normals, with P = L L'. The ratings of
    row b, less mu, are start[b]:start[b + 1].
    """
    n = table.shape[1]
    means, draws = np.empty((len(start) - 1, n)), np.empty((len(start) - 1, n))
    left, right, noise, x = np.empty((n, n)), np.empty(n), np.empty(n), np.ones(n)
    for b in range(len(means)):
        left[:] = 0
        right[:] = 0
        for e in range(start[b], start[b + 1]):
            other = table[others[e]]
            y = values[e] - other[0]
            for i in range(1, n):
                x[i] = other[i]
            for i in range(n):
                right[i] += y * x[i]
                xi = x[i]
                for j in range(i + 1):
                    left[i, j] += xi * x[j]
        for i in range(n):
            for j in range(i + 1):
                left[i, j] *= alpha[b]
            left[i, i] += precision[b, i]
            right[i] = alpha[b] * right[i] + precision[b, i] * prior_mean[b, i]
            noise[i] = normals[b, i]
        for i in range(n):
            for j in range(i + 1):
                rest = left[i, j]
                for m in range(j):
                    rest -= left[i, m] * left[j, m]
                left[i, j] = np.sqrt(rest) if i == j else rest / left[j, j]
        for i in range(n):
            for m in range(i):
                right[i] -= left[i, m] * right[m]
            right[i] /= left[i, i]
        for i in range(n - 1, -1, -1):
            right[i] /= left[i, i]
            noise[i] /= left[i, i]
            for m in range(i):
                right[m] -= left[i, m] * right[i]
                noise[m] -= left[i, m] * noise[i]
        means[b] = right
        draws[b] = right + noise
    return means, draws


@njit(cache=True, fastmath=True)
def _mean_products(users: Scores, items: Scores, rows: Rows) -> Scores:
    """Return the mean over the draws of b_u + b_i + p . q, (B, K); row -1 is the last of `items`."""
    out = np.empty(rows.shape, np.float32)
    for b in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            u, i = users[b], items[rows[b, k]]
            total = 0.0
            for s in range(u.shape[0]):
                total += u[s, 0] + i[s, 0]
                for d in range(1, u.shape[1]):
                    total += u[s, d] * i[s, d]
            out[b, k] = total / u.shape[0]
    return out


@njit(cache=True, fastmath=True)
def squared_errors(start: Offsets, others: Rows, values: Scores, own: Floats, table: Floats) -> Floats:
    """Return the sum of squared errors of each row's ratings, (B,), by the (bias, vector) of either side."""
    out = np.zeros(len(start) - 1)
    for b in range(len(out)):
        total = 0.0  # a sum in memory would be in an order that depends on the addresses of the arrays
        for e in range(start[b], start[b + 1]):
            other = table[others[e]]
            error = values[e] - own[b, 0] - other[0]
            for d in range(1, len(other)):
                error -= own[b, d] * other[d]
            total += error * error
        out[b] = total
    return out
