"""Bayesian matrix factorisation: SVD++ on both sides, averaged over draws from its posterior."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self, TypeAlias

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.models.rated import last_events, ratings, unchanged, usable
from pasand.progress import track
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, within

Floats: TypeAlias = NDArray[np.float64]

BATCH = 512


@dataclass(slots=True)
class BayesianMF:
    """Predicts r = mu + b_u + b_i + p_u . q_i by its mean under the posterior, drawn from by Gibbs sampling.

    With w = (b, p) for users and (b, q) for items: r ~ N(mu + b_u + b_i + p_u . q_i, 1 / alpha), and

        w_u ~ N(m + sum of y_j over the items j that u rated / sqrt(their number), diag(precision)^-1)
        w_i ~ N(m' + sum of z_v over the users v who rated i / sqrt(their number), diag(precision')^-1)

    with normal priors on m, y, z and gamma(1, 1) priors on all precisions, where ratings are in units of their standard
    deviation; so nothing but `dimensions` needs tuning. A sweep draws every w from its exact conditional, a
    (1 + D)-variate normal, and then the rest. Which items were rated is thus evidence about a user beside the ratings
    (Koren, "Factorization meets the neighborhood", KDD 2008), and who rated it about an item.

    Salakhutdinov & Mnih, "Bayesian probabilistic matrix factorization using MCMC", ICML 2008; Rendle, Zhang & Koren,
    "On the difficulty of evaluating baselines", 2019, "Bayesian SVD++ flipped". It differs from these in diagonal
    precisions and in the implicit terms standing in the prior means.

    Predictions average over `samples` sweeps the product of the item draw and the user's conditional mean given it.
    That mean needs no more than a history, so newcomers and users who rated since training are answered by the same
    formula as those in training; without rated history it is the mean of the population.
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

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Draw from the posterior given every rating of the data; raises InputError where there is none."""
        rated = ratings(data)
        assert rated.value is not None
        mean = float(np.mean(rated.value, dtype=np.float64))
        unit = float(np.std(rated.value, dtype=np.float64)) or 1.0
        values = ((rated.value - mean) / unit).astype(np.float32)
        users = _Side(rated.user, rated.item, values, rated.n_users, rated.n_items, self.dimensions, rng)
        items = _Side(rated.item, rated.user, values, rated.n_items, rated.n_users, self.dimensions, rng)
        alpha = 1.0
        train: list[float] = []
        kept: list[tuple[Floats, Floats, Floats, Floats, float, Floats]] = []
        n_kept = min(self.samples, self.epochs - self.burn_in)
        chosen = set(np.linspace(self.burn_in, self.epochs - 1, n_kept).astype(int))
        for epoch in track(range(self.epochs), "drawing from the posterior"):
            given = items.draws.copy()
            prior = items.prior()
            given[~items.active] = prior[~items.active]
            users.draw(items.draws, alpha, rng)
            if epoch in chosen:
                nobody = np.zeros((1, self.dimensions + 1)) + items.mean
                implicit = users.implicit.copy()
                drawn = (np.vstack([given, nobody]), implicit, users.mean, users.precision, alpha, users.means)
                kept.append(drawn)
            items.draw(users.draws, alpha, rng)
            for side in (users, items):
                side.draw_prior(self.implicit, rng)
            squares = users.squares(items.draws)
            alpha = rng.gamma(1 + len(rated) / 2, 1 / (1 + squares / 2))
            train.append(unit * float(np.sqrt(squares / len(rated))))
        item_draws, implicits, prior_means, precisions, alphas, user_means = zip(*kept, strict=True)
        self._learnt = {
            "mean": np.array([mean]),
            "unit": np.array([unit]),
            "scale": np.array([rated.value.min(), rated.value.max()], np.float32),
            "items": np.stack(item_draws, axis=1).astype(np.float32),
            "users": np.stack(user_means, axis=1).astype(np.float32),
            "implicit": np.stack(implicits).astype(np.float32),
            "prior_mean": np.stack(prior_means),
            "precision": np.stack(precisions),
            "alpha": np.array(alphas),
            "train rmse": np.array(train),
            **last_events(rated),
        }
        return self

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
            asked = queries.take(fold)
            real = usable(asked)
            start = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
            values = ((asked.history_value[real] - learnt["mean"][0]) / learnt["unit"][0]).astype(np.float32)
            for s in range(len(learnt["alpha"])):
                out[fold, s] = conditional(
                    start,
                    asked.history[real],
                    values,
                    learnt["items"][:, s].astype(np.float64),
                    learnt["prior_mean"][s] + bags(start, asked.history[real], learnt["implicit"][s]),
                    learnt["precision"][s],
                    float(learnt["alpha"][s]),
                    np.zeros((len(fold), self.dimensions + 1)),
                )[0]
        return out

    def _raw(self, queries: Queries, items: Rows | None) -> Scores:
        learnt = self._learnt
        tables, n_samples, n = learnt["items"], len(learnt["alpha"]), self.dimensions + 1
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
            shared = left.reshape(-1, n_samples * n) @ right.reshape(-1, n_samples * n).T / n_samples - 1
            out[part] = mean + unit * (users[:, :, 0].mean(axis=1)[:, None] + tables[:-1, :, 0].mean(axis=1) + shared)
        return out


class _Side:
    """The users, or the items: their parameters w, and the prior these come from."""

    def __init__(
        self, own: Rows, other: Rows, values: Scores, n: int, n_other: int, width: int, rng: Generator
    ) -> None:
        order = np.argsort(own, kind="stable")
        self.start: Offsets = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=n))])
        self.other, self.values = other[order], values[order]
        by_other = np.argsort(other, kind="stable")
        self.other_start: Offsets = np.concatenate([[0], np.cumsum(np.bincount(other, minlength=n_other))])
        self.own = own[by_other]
        self.active = np.diff(self.start) > 0
        self.weight = 1 / np.sqrt(np.maximum(np.diff(self.start), 1))
        self.draws = rng.normal(0, 0.1, (n, width + 1))
        self.means = self.draws
        self.mean = np.zeros(width + 1)
        self.precision = np.ones(width + 1)
        self.implicit = np.zeros((n_other, width + 1))
        self.implicit_precision = np.full(width + 1, 10.0)

    def prior(self) -> Floats:
        """Return the prior mean of every w, (n, 1 + D)."""
        prior: Floats = self.mean + bags(self.start, self.other, self.implicit)
        return prior

    def draw(self, others: Floats, alpha: float, rng: Generator) -> None:
        """Draw every w given the other side."""
        normals = rng.standard_normal(self.draws.shape)
        self.means, self.draws = conditional(
            self.start, self.other, self.values, others, self.prior(), self.precision, alpha, normals
        )

    def draw_prior(self, implicit: bool, rng: Generator) -> None:
        """Draw what the prior is made of, given every w of a row with ratings."""
        width = len(self.mean)
        n = int(self.active.sum())
        rest = self.draws - self.prior() + self.mean
        middle = rest[self.active].sum(axis=0) / (n + 1)
        self.mean = middle + rng.standard_normal(width) / np.sqrt(self.precision * (n + 1))
        rest -= self.mean
        squares = (rest[self.active] ** 2).sum(axis=0) + self.mean**2
        self.precision = rng.gamma(1 + (n + 1) / 2, 1 / (1 + squares / 2))
        if not implicit:
            return
        normals = rng.standard_normal(self.implicit.shape)
        _draw_implicit(
            self.implicit,
            rest,
            self.other_start,
            self.own,
            self.weight,
            self.precision,
            self.implicit_precision,
            normals,
        )
        used = np.diff(self.other_start) > 0
        squares = (self.implicit[used] ** 2).sum(axis=0)
        self.implicit_precision = rng.gamma(1 + used.sum() / 2, 1 / (1 + squares / 2))

    def squares(self, others: Floats) -> float:
        """Return the sum of squared errors of the draws."""
        total: float = _squares(self.start, self.other, self.values, self.draws, others)
        return total


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
    alpha: float,
    normals: Floats,
) -> tuple[Floats, Floats]:
    """Return the mean of each row's w given its ratings and the other side's w, and a draw; both (B, 1 + D).

    With x = (1, vector of the other) and y = rating - mu - bias of the other, w is normal of precision P =
    diag(precision) + alpha sum x x' and mean P^-1 (precision * prior mean + alpha sum y x); the draw adds
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
                left[i, j] *= alpha
            left[i, i] += precision[i]
            right[i] = alpha * right[i] + precision[i] * prior_mean[b, i]
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
def _draw_implicit(
    implicit: Floats,
    rest: Floats,
    start: Offsets,
    own: Rows,
    weight: Floats,
    precision: Floats,
    implicit_precision: Floats,
    normals: Floats,
) -> None:
    """Draw each row of `implicit` given all others; `rest` (w less its prior mean) is kept in step."""
    n = implicit.shape[1]
    pulled, old = np.empty(n), np.empty(n)
    for j in range(len(implicit)):
        pulled[:] = 0
        heavy = 0.0
        for e in range(start[j], start[j + 1]):
            share = weight[own[e]]
            heavy += share * share
            for d in range(n):
                pulled[d] += share * rest[own[e], d]
        for d in range(n):
            old[d] = implicit[j, d]
            whole = precision[d] * heavy + implicit_precision[d]
            middle = precision[d] * (pulled[d] + heavy * old[d]) / whole
            implicit[j, d] = middle + normals[j, d] / np.sqrt(whole)
            old[d] -= implicit[j, d]
        for e in range(start[j], start[j + 1]):
            for d in range(n):
                rest[own[e], d] += weight[own[e]] * old[d]


@njit(cache=True, fastmath=True)
def _squares(start: Offsets, others: Rows, values: Scores, own: Floats, table: Floats) -> float:
    total = 0.0
    for b in range(len(start) - 1):
        for e in range(start[b], start[b + 1]):
            other = table[others[e]]
            error = values[e] - own[b, 0] - other[0]
            for d in range(1, len(other)):
                error -= own[b, d] * other[d]
            total += error * error
    return total


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
