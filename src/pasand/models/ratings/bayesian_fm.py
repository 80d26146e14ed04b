"""Bayesian factorisation machine for ratings: ids, features and sets of rated items, averaged over posterior draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.random import Generator
from scipy import sparse

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.features import encoding
from pasand.features.rating_histories import last_events, rated_events
from pasand.layouts import Entry, Layout
from pasand.models.ratings.fm_sampler import (
    Block,
    Ratings,
    co_rated_sets,
    draw_priors,
    encoded_columns,
    initial_block,
    squared_by_user,
    sweep,
)
from pasand.models.ratings.posterior import (
    Floats,
    PosteriorMean,
    conditional,
    scaled_sums,
    squared_errors,
    standardise,
)
from pasand.progress import track
from pasand.types import Array, Arrays, Mask, Queries, Scores

ROUNDS = 4
"""Iterations in which the parameters and the noise level of a new user are computed from each other."""


@dataclass
class BayesianFM(PosteriorMean):
    """Predicts ratings by the posterior mean of a factorisation machine, computed by Gibbs sampling.

    A user is a block of groups of columns: the id, a group for each feature, and the set of rated items (each
    1 / root of their number); an item likewise, with the set of its raters. Every column has a weight and a vector,
    whose sums over the block are the bias and the vector of a user, or of an item, and

        r ~ N(mu + b_u + b_i + p_u . q_i, 1 / (alpha tau_u)).

    Each group has for each dimension a normal prior whose mean and precision are drawn too, so that a feature weighs as
    much as it explains and only `dimensions` needs tuning. tau_u ~ gamma(nu / 2, nu / 2) with nu the
    `degrees_of_freedom`: users with erratic ratings weigh less (Lakshminarayanan, Bouchard & Archambeau, "Robust
    Bayesian matrix factorisation", AISTATS 2011). See `fm_sampler` for the sampling.

    Freudenthaler, Schmidt-Thieme & Rendle, "Bayesian factorization machines", 2011; Rendle, "Factorization machines
    with libFM", ACM TIST 3(3), 2012; the sets: Rendle, Zhang & Koren, "On the difficulty of evaluating baselines",
    2019. It differs in that only columns of a user and an item interact: products within a block would describe a user
    or an item alone, which its bias does already.

    Predictions average over `samples` sweeps the product of the item's draw and the user's conditional mean given it.
    That mean needs history and features alone, so that new users and users who rated since training are predicted too,
    those without history from their features. Their tau and their mean are computed in turn. Items added later are
    predicted from their features.
    """

    epochs: int = 250
    degrees_of_freedom: float = 8
    """Degrees of freedom of the noise level of each user; fewer let users differ more. 0: one noise level for all."""
    user_features: tuple[str, ...] | None = None
    """Features of users that are read; None: all of a kind that can be read. Texts and times cannot."""
    item_features: tuple[str, ...] | None = None
    """Features of items that are read; None: all of a kind that can be read."""
    bins: int = 0
    """Number of quantile bins of each number feature; 0: standardised numbers instead of bins."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.degrees_of_freedom < 0:
            raise ValueError(f"degrees_of_freedom must be at least 0, got {self.degrees_of_freedom}")
        if self.bins < 0 or self.bins == 1:
            raise ValueError(f"bins must be 0 or at least 2, got {self.bins}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Draw from the posterior given every rating of the data; raises InputError if there is none."""
        rated = rated_events(data)
        scales, values = standardise(rated)
        encoders = self.learn_encoders(rated)
        kept, errors = self._sample(rated, values, encoders, rng)
        self._learnt = {
            **scales,
            **{
                name: np.stack([draw[name] for draw in kept], 1 if name in ("users", "items") else 0)
                for name in kept[0]
            },
            "train rmse": float(scales["unit"][0]) * np.array(errors),
            **encoders,
            **last_events(rated),
        }
        return self

    def add_items(self, features: Features) -> None:
        """Append items with their features and without ratings."""
        learnt = self._learnt
        n_new = len(next(iter(features.values()))) if features else 0
        new_rows = np.arange(n_new, dtype=np.int32)
        columns = _matrix("item", learnt, {name: feature.take(new_rows) for name, feature in features.items()}, n_new)
        new = learnt["item_mean"] + np.stack([columns @ weights for weights in learnt["item_weights"]], axis=1)
        items = learnt["items"]
        blank = np.zeros((len(learnt["implicit"]), n_new, self.dimensions + 1), np.float32)
        self._learnt = {
            **learnt,
            "items": np.concatenate([items[:-1], new.astype(np.float32), items[-1:]]),
            "implicit": np.concatenate([learnt["implicit"], blank], axis=1),
        }

    def learn_encoders(self, rated: Dataset) -> dict[str, Array]:
        """Return the arrays that encode features, learnt from users and items with ratings; see `encoding.learn`."""
        user_features = encoding.select_features(rated.user_features, self.user_features, "user_features")
        item_features = encoding.select_features(rated.item_features, self.item_features, "item_features")
        users = encoding.learn("user", user_features, np.unique(rated.user), self.bins)
        return users | encoding.learn("item", item_features, np.unique(rated.item), self.bins)

    def groups(self, rated: Dataset, encoders: Arrays) -> tuple[list[sparse.csr_array], list[sparse.csr_array]]:
        """Return the groups of columns of users, (U, C_g) each, and of items, (N, C_g) each, without the ids."""
        users, items = (
            _columns(name, encoders, {key: f.take(np.arange(n, dtype=np.int32)) for key, f in features.items()}, n)
            for name, features, n in (
                ("user", rated.user_features, rated.n_users),
                ("item", rated.item_features, rated.n_items),
            )
        )
        if self.implicit:
            users.append(co_rated_sets(rated.user, rated.item, rated.n_users, rated.n_items))
            items.append(co_rated_sets(rated.item, rated.user, rated.n_items, rated.n_users))
        return users, items

    def _sample(
        self, rated: Dataset, values: Scores, encoders: Arrays, rng: Generator
    ) -> tuple[list[dict[str, Array]], list[float]]:
        """Return the kept draws and the root mean squared error of each sweep; values are standardised."""
        order, start = rated.by_user.event, rated.by_user.start
        user, item, values = rated.user[order], rated.item[order], values[order]
        users, items = (
            initial_block(np.bincount(own, minlength=n) > 0, groups, self.dimensions, rng, centred=self.implicit)
            for own, n, groups in zip(
                (user, item), (rated.n_users, rated.n_items), self.groups(rated, encoders), strict=True
            )
        )
        predicted = users.total[0, user] + items.total[0, item]
        for d in range(1, self.dimensions + 1):
            predicted += users.total[d, user] * items.total[d, item]
        events = Ratings(start, item, values - predicted)
        count, tau, alpha = np.diff(start), np.ones(rated.n_users), 1.0
        kept, errors = [], []
        for epoch in track(range(self.epochs), "drawing from the posterior"):
            # columns without entries in rated rows stay at the mean of their group
            normals = [rng.standard_normal(block.weight.shape) * block.used for block in (users, items)]
            sweep(events, users, items, alpha * tau, *normals)
            draw_priors(users, rng)
            draw_priors(items, rng)
            squares = squared_by_user(events)
            if self.degrees_of_freedom:
                nu = self.degrees_of_freedom
                tau = rng.gamma((nu + count) / 2, 2 / (nu + alpha * squares))
            alpha = rng.gamma(1 + len(values) / 2, 1 / (1 + tau @ squares / 2))
            errors.append(float(np.sqrt(squares.sum() / len(values))))
            if epoch in self.kept_epochs:
                kept.append(self._parameters(events, values, users, items, alpha, tau))
        return kept, errors

    def _parameters(
        self, events: Ratings, values: Scores, users: Block, items: Block, alpha: float, tau: Floats
    ) -> dict[str, Array]:
        """Return the arrays of a draw that predictions need."""
        rated, prior = items.used[: items.total.shape[1]], _without_id(users)
        table = items.total.T.copy()
        table[~rated] = _without_id(items)[~rated]
        table = np.vstack([table, table[rated].mean(axis=0)])
        precision = np.tile(users.precision[:, 0], (len(prior), 1))
        normals = np.zeros(prior.shape)
        means = conditional(events.start, events.item, values, table, prior, precision, alpha * tau, normals)[0]
        (user_columns, rated_sets), (item_columns, _) = (
            _column_kinds(block, self.implicit) for block in (users, items)
        )
        implicit = users.weight.T[rated_sets] if self.implicit else np.zeros((len(rated), self.dimensions + 1))
        return {
            "items": table.astype(np.float32),
            "users": means.astype(np.float32),
            "user_mean": users.mean[:, 0].copy(),
            "user_variance": 1 / users.precision[:, 0],
            "user_weights": users.weight.T[user_columns].astype(np.float32),
            "user_weights_variance": (~users.used / users.precision[:, users.group]).T[user_columns].astype(np.float32),
            "item_mean": items.mean[:, 0].copy(),
            "item_weights": items.weight.T[item_columns].astype(np.float32),
            "implicit": implicit.astype(np.float32),
            "alpha": np.array(alpha),
        }

    def _layout(self) -> Layout:
        width = f"{1 + self.dimensions}"
        own = {
            "user_mean": Entry("float64", f"S {width}"),
            "user_variance": Entry("float64", f"S {width}", above=0),
            "user_weights": Entry("float32", f"S P {width}"),
            "user_weights_variance": Entry("float32", f"S P {width}", lowest=0),
            "item_mean": Entry("float64", f"S {width}"),
            "item_weights": Entry("float32", f"S Q {width}"),
        }
        return {**super()._layout(), **encoding.LAYOUT, **own}

    def _fold_in(self, queries: Queries) -> Scores:
        learnt = self._learnt
        start, items, values = self._rated(queries)
        columns = _matrix("user", learnt, queries.features, len(queries))
        squared_columns = columns.power(2)
        out = np.empty((len(queries), len(learnt["alpha"]), self.dimensions + 1), np.float32)
        count, normals = np.diff(start), np.zeros((len(queries), self.dimensions + 1))
        for s, alpha in enumerate(learnt["alpha"]):
            table = learnt["items"][:, s].astype(np.float64)
            # a column that no user had in training has a weight as uncertain as the prior of its group
            precision = 1 / (learnt["user_variance"][s] + squared_columns @ learnt["user_weights_variance"][s])
            prior = learnt["user_mean"][s] + columns @ learnt["user_weights"][s]
            prior += scaled_sums(start, items, learnt["implicit"][s])
            tau = np.ones(len(queries))
            for _ in range(ROUNDS if self.degrees_of_freedom else 1):
                means = conditional(start, items, values, table, prior, precision, alpha * tau, normals)[0]
                squares = squared_errors(start, items, values, means, table)
                tau = (self.degrees_of_freedom + count) / (self.degrees_of_freedom + alpha * squares)
            out[:, s] = means
        return out


def _columns(side: str, encoders: Arrays, features: Mapping[str, Array], n: int) -> list[sparse.csr_array]:
    """Return the features of n users or items, one group of columns for each feature."""
    widths = [1 + size if size >= 0 else -size for size in encoding.input_sizes(side, encoders).values()]
    return encoded_columns(encoding.encode(side, encoders, features, n), widths, n)


def _matrix(side: str, encoders: Arrays, features: Mapping[str, Array], n: int) -> sparse.csr_array:
    """Return the groups of `_columns` side by side, (n, C); C is 0 if no feature is read."""
    return sparse.csr_array(sparse.hstack([sparse.csr_array((n, 0)), *_columns(side, encoders, features, n)]))


def _column_kinds(block: Block, implicit: bool) -> tuple[Mask, Mask]:
    """Return which columns are features, and which belong to the sets of ratings; (C,) both."""
    last = block.group == (block.group[-1] if implicit else -1)
    return (block.group > 0) & ~last, last


def _without_id(block: Block) -> Floats:
    """Return the totals with the weight of the own id replaced by the mean over ids, (n, 1 + D)."""
    n = block.total.shape[1]
    totals: Floats = block.total - block.weight[:, :n] * block.used[:n] + block.mean[:, :1]
    return totals.T.copy()
