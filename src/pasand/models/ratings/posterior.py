"""What models drawn from a posterior share: how they answer, and the exact conditional of a row's parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.features.rating_histories import unchanged, usable
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, within

Floats: TypeAlias = NDArray[np.float64]

BATCH = 512


@dataclass
class Averaged(ABC):
    """Answers r = mu + b_u + b_i + p_u . q_i, averaged over the kept draws.

    Learnt are "items", (N + 1, S, 1 + D): bias and vector of each item in each kept draw, the last row for an unknown
    item; "users", (U, S, 1 + D), for users whose history ends as it did in training; "mean" and "unit", in which the
    ratings were standardised, and their "scale".
    """

    dimensions: int = 10
    """Width of the vectors; 0 leaves the biases alone."""
    epochs: int = 150
    """Sweeps in all."""
    burn_in: int = 50
    """First sweeps, which are thrown away; fewer than `epochs`."""
    samples: int = 50
    """Sweeps kept, evenly spread after the burn-in, or all of these if fewer; memory and answers grow with it."""
    implicit: bool = True
    """Whether the sets of rated items and of raters are evidence."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "samples"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.dimensions < 0:
            raise ValueError(f"dimensions must be at least 0, got {self.dimensions}")
        if not 0 <= self.burn_in < self.epochs:
            raise ValueError(f"burn_in must be at least 0 and less than epochs, got {self.burn_in}")

    @property
    def chosen(self) -> list[int]:
        """The sweeps that are kept."""
        n = min(self.samples, self.epochs - self.burn_in)
        found: list[int] = np.linspace(self.burn_in, self.epochs - 1, n).astype(int).tolist()
        return found

    @abstractmethod
    def _fold_in(self, queries: Queries) -> Scores:
        """Return (bias, vector) of users whom the stored ones do not answer, from their histories; (B, S, 1 + D)."""

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings within the scale seen in training, (B, K) -> (B, K); finite for unknown rows too."""
        low, high = self._learnt["scale"]
        return np.clip(self._raw(queries, items), low, high)

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return expected ratings, not cut to the scale, so that the best do not tie; -inf at item row -1."""
        items = within(items, len(self._learnt["items"]) - 1)
        raw = self._raw(queries, items)
        return raw if items is None else np.where(items < 0, np.float32(-np.inf), raw)

    def state(self) -> Arrays:
        """Return the kept draws, where each user's history ended, and the curve."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt = dict(arrays)

    def curves(self) -> dict[str, list[float]]:
        """Return "train rmse": the root mean squared error of each sweep's draw, which hovers about the noise."""
        return {"train rmse": list(map(float, self._learnt.get("train rmse", ())))}

    def user_parameters(self, queries: Queries) -> Scores:
        """Return each query's (bias, vector) given each kept sweep; (B, S, 1 + D)."""
        learnt = self._learnt
        queries = queries.within(len(learnt["items"]) - 1)
        known = unchanged(queries, learnt)
        out: Scores = learnt["users"][np.where(known, queries.users, 0)]
        fold = np.flatnonzero(~known)
        if len(fold):
            out[fold] = self._fold_in(queries.take(fold))
        return out

    def _rated(self, queries: Queries) -> tuple[Offsets, Rows, Scores]:
        """Return the rated events of the histories one after the other: starts, (B + 1,), items, ratings, (E,)."""
        real = usable(queries)
        start: Offsets = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
        values = (queries.history_value[real] - self._learnt["mean"][0]) / self._learnt["unit"][0]
        return start, queries.history[real], values.astype(np.float32)

    def _raw(self, queries: Queries, items: Rows | None) -> Scores:
        learnt = self._learnt
        tables = learnt["items"]
        long = tables.shape[1] * tables.shape[2]
        items = within(items, len(tables) - 1)
        mean, unit = np.float32(learnt["mean"][0]), np.float32(learnt["unit"][0])
        out = np.empty((len(queries), len(tables) - 1) if items is None else items.shape, np.float32)
        for first in range(0, len(queries), BATCH):
            part = slice(first, first + BATCH)
            users = self.user_parameters(queries.take(np.arange(*part.indices(len(queries)))))
            if items is not None:
                out[part] = mean + unit * _pairs(users, tables, items[part])
                continue
            # a product of long vectors: (B, S (1 + D)) by (S (1 + D), N), with 1 in the place of the other's bias
            left, right = users.copy(), tables[:-1].copy()
            left[:, :, 0], right[:, :, 0] = 1, 1
            shared = left.reshape(-1, long) @ right.reshape(-1, long).T / tables.shape[1] - 1
            out[part] = mean + unit * (users[:, :, 0].mean(axis=1)[:, None] + tables[:-1, :, 0].mean(axis=1) + shared)
        return out


@njit(cache=True)
def bags(start: Offsets, items: Rows, implicit: Floats) -> Floats:
    """Return for each row the sum of `implicit` over its items, divided by the root of their number; (B, 1 + D)."""
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
    diag(precision) + alpha sum x x' and mean P^-1 (precision * prior mean + alpha sum y x), precision (B, 1 + D) and
    alpha (B,) its own; the draw adds
    L'^-1 normals, P = L L'. Row b's ratings stand at start[b]:start[b + 1], less mu.
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
def _pairs(users: Scores, items: Scores, rows: Rows) -> Scores:
    """Return the mean over the samples of b_u + b_i + p . q, (B, K); row -1 is the last of `items`."""
    out = np.empty(rows.shape, np.float32)
    for b in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            u, i = users[b], items[rows[b, k]]
            whole = 0.0
            for s in range(u.shape[0]):
                whole += u[s, 0] + i[s, 0]
                for d in range(1, u.shape[1]):
                    whole += u[s, d] * i[s, d]
            out[b, k] = whole / u.shape[0]
    return out


@njit(cache=True, fastmath=True)
def squared_errors(start: Offsets, others: Rows, values: Scores, own: Floats, table: Floats) -> Floats:
    """Return the sum of squared errors of each row's ratings, (B,), by its (bias, vector) and those of the others."""
    out = np.zeros(len(start) - 1)
    for b in range(len(out)):
        for e in range(start[b], start[b + 1]):
            other = table[others[e]]
            error = values[e] - own[b, 0] - other[0]
            for d in range(1, len(other)):
                error -= own[b, d] * other[d]
            out[b] += error * error
    return out
