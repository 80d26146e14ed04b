"""Bayesian matrix factorisation: SVD++ for users and items, averaged over draws from its posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.features.rating_histories import last_events, rated_events
from pasand.layouts import Entry, Layout
from pasand.models.ratings.posterior import (
    Floats,
    PosteriorMean,
    conditional,
    scaled_sums,
    squared_errors,
    standardise,
)
from pasand.progress import track
from pasand.types import Offsets, Queries, Rows, Scores


@dataclass
class BayesianMF(PosteriorMean):
    """Predicts r = mu + b_u + b_i + p_u . q_i by its posterior mean, computed by Gibbs sampling.

    With w = (b, p) for users and (b, q) for items: r ~ N(mu + b_u + b_i + p_u . q_i, 1 / alpha), and

        w_u ~ N(m + sum of y_j over u's ratings of items j / sqrt(their number), diag(precision)^-1)
        w_i ~ N(m' + sum of z_v over i's ratings by users v / sqrt(their number), diag(precision')^-1)

    with normal priors on m, y, z and gamma(1, 1) priors on all precisions, where ratings are in units of their standard
    deviation, so that only `dimensions` needs tuning. A sweep draws every w from its exact conditional, a
    (1 + D)-variate normal, and then the other parameters. The set of rated items is thus evidence about a user beside
    the ratings (Koren, "Factorization meets the neighborhood", KDD 2008), and the set of raters about an item.

    Salakhutdinov & Mnih, "Bayesian probabilistic matrix factorization using MCMC", ICML 2008; Rendle, Zhang & Koren,
    "On the difficulty of evaluating baselines", 2019, "Bayesian SVD++ flipped". It differs from these in diagonal
    precisions and in the implicit terms being part of the prior means.

    Predictions average over `samples` sweeps the product of the item draw and the user's conditional mean given it.
    That mean needs a history alone, so that new users and users who rated since training are predicted by the same
    formula as those in training; without rated history it is the mean of the population.
    """

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Draw from the posterior given every rating of the data; raises InputError if there is none."""
        rated = rated_events(data)
        scales, values = standardise(rated)
        unit = float(scales["unit"][0])
        users = _Side(rated.user, rated.item, values, rated.n_users, rated.n_items, self.dimensions, rng)
        items = _Side(rated.item, rated.user, values, rated.n_items, rated.n_users, self.dimensions, rng)
        alpha = 1.0
        train: list[float] = []
        kept: list[tuple[Floats, Floats, Floats, Floats, float, Floats]] = []
        for epoch in track(range(self.epochs), "drawing from the posterior"):
            table = items.draws.copy()
            prior = items.prior()
            table[~items.active] = prior[~items.active]
            users.draw(items.draws, alpha, rng)
            if epoch in self.kept_epochs:
                unknown_item = np.zeros((1, self.dimensions + 1)) + items.mean
                implicit = users.implicit.copy()
                draw = (np.vstack([table, unknown_item]), implicit, users.mean, users.precision, alpha, users.means)
                kept.append(draw)
            items.draw(users.draws, alpha, rng)
            for side in (users, items):
                side.draw_prior(self.implicit, rng)
            squares = float(squared_errors(users.start, users.other, users.values, users.draws, items.draws).sum())
            alpha = rng.gamma(1 + len(rated) / 2, 1 / (1 + squares / 2))
            train.append(unit * float(np.sqrt(squares / len(rated))))
        item_draws, implicits, prior_means, precisions, alphas, user_means = zip(*kept, strict=True)
        self._learnt = {
            **scales,
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

    def _layout(self) -> Layout:
        prior = f"S {1 + self.dimensions}"
        own = {"prior_mean": Entry("float64", prior), "precision": Entry("float64", prior, above=0)}
        return {**super()._layout(), **own}

    def _fold_in(self, queries: Queries) -> Scores:
        learnt = self._learnt
        start, items, values = self._rated(queries)
        normals = np.zeros((len(queries), self.dimensions + 1))
        out = np.empty((len(queries), len(learnt["alpha"]), self.dimensions + 1), np.float32)
        for s, alpha in enumerate(np.outer(learnt["alpha"], np.ones(len(queries)))):
            precision = np.tile(learnt["precision"][s], (len(queries), 1))
            prior = learnt["prior_mean"][s] + scaled_sums(start, items, learnt["implicit"][s])
            table = learnt["items"][:, s].astype(np.float64)
            out[:, s] = conditional(start, items, values, table, prior, precision, alpha, normals)[0]
        return out


class _Side:
    """The parameters w of the users, or of the items, and their prior."""

    def __init__(
        self, own: Rows, other: Rows, values: Scores, n: int, n_other: int, width: int, rng: Generator
    ) -> None:
        order = np.argsort(own, kind="stable")
        self.start: Offsets = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=n))])
        self.other, self.values = other[order], values[order]
        self.active = np.diff(self.start) > 0
        # an item that a user rated m times is m times in the user's sum: the pair has the weight m / root
        _, first, times = np.unique(other.astype(np.int64) * n + own, return_index=True, return_counts=True)
        order = np.lexsort((first, other[first]))
        pairs, times = first[order], times[order]
        self.other_start: Offsets = np.concatenate([[0], np.cumsum(np.bincount(other[pairs], minlength=n_other))])
        self.own = own[pairs]
        self.share = times * (1 / np.sqrt(np.maximum(np.diff(self.start), 1)))[self.own]
        self.draws = rng.normal(0, 0.1, (n, width + 1))
        self.means = self.draws
        self.mean = np.zeros(width + 1)
        self.precision = np.ones(width + 1)
        self.implicit = np.zeros((n_other, width + 1))
        self.implicit_precision = np.full(width + 1, 10.0)

    def prior(self) -> Floats:
        """Return the prior mean of every w, (n, 1 + D)."""
        prior: Floats = self.mean + scaled_sums(self.start, self.other, self.implicit)
        return prior

    def draw(self, others: Floats, alpha: float, rng: Generator) -> None:
        """Draw every w given the parameters of the other side."""
        normals, n = rng.standard_normal(self.draws.shape), len(self.draws)
        precision, alphas = np.tile(self.precision, (n, 1)), np.full(n, alpha)
        self.means, self.draws = conditional(
            self.start, self.other, self.values, others, self.prior(), precision, alphas, normals
        )

    def draw_prior(self, implicit: bool, rng: Generator) -> None:
        """Draw the parameters of the prior, given every w of a row with ratings."""
        width = len(self.mean)
        n = int(self.active.sum())
        rest = self.draws - self.prior() + self.mean
        posterior_mean = rest[self.active].sum(axis=0) / (n + 1)
        self.mean = posterior_mean + rng.standard_normal(width) / np.sqrt(self.precision * (n + 1))
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
            self.share,
            self.precision,
            self.implicit_precision,
            normals,
        )
        used = np.diff(self.other_start) > 0
        squares = (self.implicit[used] ** 2).sum(axis=0)
        self.implicit_precision = rng.gamma(1 + used.sum() / 2, 1 / (1 + squares / 2))


@njit(cache=True, fastmath=True)
def _draw_implicit(
    implicit: Floats,
    rest: Floats,
    start: Offsets,
    own: Rows,
    share: Floats,
    precision: Floats,
    implicit_precision: Floats,
    normals: Floats,
) -> None:
    """Draw each row of `implicit` given all others; `rest`, w less its prior mean, is updated along.

    Row j is part of the prior means of `own`, distinct rows, with the weights `share`, both at start[j]:start[j + 1].
    """
    n = implicit.shape[1]
    products, change = np.empty(n), np.empty(n)
    for j in range(len(implicit)):
        products[:] = 0
        squares = 0.0
        for e in range(start[j], start[j + 1]):
            squares += share[e] * share[e]
            for d in range(n):
                products[d] += share[e] * rest[own[e], d]
        for d in range(n):
            change[d] = implicit[j, d]
            posterior = precision[d] * squares + implicit_precision[d]
            mean = precision[d] * (products[d] + squares * change[d]) / posterior
            implicit[j, d] = mean + normals[j, d] / np.sqrt(posterior)
            change[d] -= implicit[j, d]
        for e in range(start[j], start[j + 1]):
            for d in range(n):
                rest[own[e], d] += share[e] * change[d]
