"""Bayesian factorisation machine for ratings: ids, features and sets of the rated, averaged over its posterior."""

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
from pasand.features.rating_histories import last_events, ratings
from pasand.models.ratings.fm_sampler import Ratings, Side, coded, draw_priors, sets, side, squared_by_user, sweep
from pasand.models.ratings.posterior import Averaged, Floats, bags, conditional, squared_errors
from pasand.progress import track
from pasand.types import Array, Arrays, Mask, Queries, Scores

ROUNDS = 4
"""Times that a newcomer's parameters and noise are found from each other."""


@dataclass
class BayesianFM(Averaged):
    """Predicts ratings by a factorisation machine's mean under the posterior, drawn from by Gibbs sampling.

    A user is a block of groups of columns: his id, a group for each feature, and the set of items that he rated (each
    1 / root of their number); an item likewise, with the set of its raters. Every column has a weight and a vector;
    summed over the block they make the bias and the vector of a user, or of an item, and

        r ~ N(mu + b_u + b_i + p_u . q_i, 1 / (alpha tau_u)).

    Each group has for each dimension a normal prior whose mean and precision are drawn too, so that a feature counts
    as much as it explains and nothing but `dimensions` needs tuning. tau_u ~ gamma(noise / 2, noise / 2): whose
    ratings follow no taste counts for less (Lakshminarayanan, Bouchard & Archambeau, "Robust Bayesian matrix
    factorisation", AISTATS 2011). See `columns` for the sampling.

    Freudenthaler, Schmidt-Thieme & Rendle, "Bayesian factorization machines", 2011; Rendle, "Factorization machines
    with libFM", ACM TIST 3(3), 2012; the sets: Rendle, Zhang & Koren, "On the difficulty of evaluating baselines",
    2019. It differs in that only columns of a user and an item interact: products within a block say something about a
    user or an item alone, whose bias is there already.

    Answers average over `samples` sweeps the product of the item's draw and the user's conditional mean given it. That
    mean needs history and features alone, so newcomers and users who rated since training are answered too, without
    history from their features; their tau is found by turns with it. Items added later are known by their features.
    """

    epochs: int = 250
    """Sweeps in all."""
    noise: float = 8
    """Degrees of freedom of the users' own noise; the fewer, the more users may differ. 0: one noise for all."""
    user_features: tuple[str, ...] | None = None
    """Features of users that are read; None: all that can be. Texts and times cannot."""
    item_features: tuple[str, ...] | None = None
    """Features of items that are read; None: all that can be."""
    bands: int = 0
    """Number of bands, equally full in training, that numbers are cut into; 0: standardised numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise < 0:
            raise ValueError(f"noise must be at least 0, got {self.noise}")
        if self.bands < 0 or self.bands == 1:
            raise ValueError(f"bands must be 0 or at least 2, got {self.bands}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Draw from the posterior given every rating of the data; raises InputError where there is none."""
        rated = ratings(data)
        assert rated.value is not None
        mean = float(np.mean(rated.value, dtype=np.float64))
        unit = float(np.std(rated.value, dtype=np.float64)) or 1.0
        read = self.reads(rated)
        kept, errors = self._sample(rated, ((rated.value - mean) / unit).astype(np.float32), read, rng)
        self._learnt = {
            "mean": np.array([mean]),
            "unit": np.array([unit]),
            "scale": np.array([rated.value.min(), rated.value.max()], np.float32),
            **{
                name: np.stack([draw[name] for draw in kept], 1 if name in ("users", "items") else 0)
                for name in kept[0]
            },
            "train rmse": unit * np.array(errors),
            **read,
            **last_events(rated),
        }
        return self

    def add_items(self, features: Features) -> None:
        """Append items, of which the features tell what is known; nobody has rated them."""
        learnt = self._learnt
        more = len(next(iter(features.values()))) if features else 0
        told = _matrix("item", learnt, {name: feature.values for name, feature in features.items()}, more)
        new = learnt["item_mean"] + np.stack([told @ weights for weights in learnt["item_weights"]], axis=1)
        items = learnt["items"]
        blank = np.zeros((len(learnt["implicit"]), more, self.dimensions + 1), np.float32)
        self._learnt = {
            **learnt,
            "items": np.concatenate([items[:-1], new.astype(np.float32), items[-1:]]),
            "implicit": np.concatenate([learnt["implicit"], blank], axis=1),
        }

    def reads(self, rated: Dataset) -> dict[str, Array]:
        """Return what features are read by, learnt from the users and items with ratings; see `inputs`."""
        people = encoding.chosen(rated.user_features, self.user_features, "user_features")
        things = encoding.chosen(rated.item_features, self.item_features, "item_features")
        users = encoding.learn("user", people, np.unique(rated.user), self.bands)
        return users | encoding.learn("item", things, np.unique(rated.item), self.bands)

    def groups(self, rated: Dataset, read: Arrays) -> tuple[list[sparse.csr_array], list[sparse.csr_array]]:
        """Return the groups of columns of users, (U, C_g) each, and of items, (N, C_g), all but the ids."""
        users, items = (
            _columns(name, read, {key: f.take(np.arange(n, dtype=np.int32)) for key, f in features.items()}, n)
            for name, features, n in (
                ("user", rated.user_features, rated.n_users),
                ("item", rated.item_features, rated.n_items),
            )
        )
        if self.implicit:
            users.append(sets(rated.user, rated.item, rated.n_users, rated.n_items))
            items.append(sets(rated.item, rated.user, rated.n_items, rated.n_users))
        return users, items

    def _sample(
        self, rated: Dataset, values: Scores, read: Arrays, rng: Generator
    ) -> tuple[list[dict[str, Array]], list[float]]:
        """Return the kept draws and the errors of all; values are standardised."""
        order, start = rated.by_user.event, rated.by_user.start
        user, item, values = rated.user[order], rated.item[order], values[order]
        users, items = (
            side(np.bincount(own, minlength=n) > 0, parts, self.dimensions, rng, centred=self.implicit)
            for own, n, parts in zip(
                (user, item), (rated.n_users, rated.n_items), self.groups(rated, read), strict=True
            )
        )
        explained = users.total[0, user] + items.total[0, item]
        for d in range(1, self.dimensions + 1):
            explained += users.total[d, user] * items.total[d, item]
        events = Ratings(start, item, values - explained)
        count, tau, alpha = np.diff(start), np.ones(rated.n_users), 1.0
        kept, errors = [], []
        for epoch in track(range(self.epochs), "drawing from the posterior"):
            # what nobody has stays at the mean of its group
            normals = [rng.standard_normal(side.weight.shape) * side.used for side in (users, items)]
            sweep(events, users, items, alpha * tau, *normals)
            draw_priors(users, rng)
            draw_priors(items, rng)
            squares = squared_by_user(events)
            if self.noise:
                tau = rng.gamma((self.noise + count) / 2, 2 / (self.noise + alpha * squares))
            alpha = rng.gamma(1 + len(values) / 2, 1 / (1 + tau @ squares / 2))
            errors.append(float(np.sqrt(squares.sum() / len(values))))
            if epoch in self.chosen:
                kept.append(self._kept(events, values, users, items, alpha, tau))
        return kept, errors

    def _kept(
        self, events: Ratings, values: Scores, users: Side, items: Side, alpha: float, tau: Floats
    ) -> dict[str, Array]:
        """Return what answers need of a draw."""
        rated, prior = items.used[: items.total.shape[1]], _without_id(users)
        table = items.total.T.copy()
        table[~rated] = _without_id(items)[~rated]
        table = np.vstack([table, table[rated].mean(axis=0)])
        precision = np.tile(users.precision[:, 0], (len(prior), 1))
        blank = np.zeros(prior.shape)
        means = conditional(events.start, events.item, values, table, prior, precision, alpha * tau, blank)[0]
        (told, rated_sets), (told_of_items, _) = (_told(block, self.implicit) for block in (users, items))
        implicit = users.weight.T[rated_sets] if self.implicit else np.zeros((len(rated), self.dimensions + 1))
        return {
            "items": table.astype(np.float32),
            "users": means.astype(np.float32),
            "user_mean": users.mean[:, 0].copy(),
            "user_variance": 1 / users.precision[:, 0],
            "user_weights": users.weight.T[told].astype(np.float32),
            "user_weights_variance": (~users.used / users.precision[:, users.group]).T[told].astype(np.float32),
            "item_mean": items.mean[:, 0].copy(),
            "item_weights": items.weight.T[told_of_items].astype(np.float32),
            "implicit": implicit.astype(np.float32),
            "alpha": np.array(alpha),
        }

    def _fold_in(self, queries: Queries) -> Scores:
        learnt = self._learnt
        start, items, values = self._rated(queries)
        told = _matrix("user", learnt, queries.features, len(queries))
        squared = told.power(2)
        out = np.empty((len(queries), len(learnt["alpha"]), self.dimensions + 1), np.float32)
        count, blank = np.diff(start), np.zeros((len(queries), self.dimensions + 1))
        for s, alpha in enumerate(learnt["alpha"]):
            table = learnt["items"][:, s].astype(np.float64)
            # nobody in training had it: its weight is as uncertain as its group says
            precision = 1 / (learnt["user_variance"][s] + squared @ learnt["user_weights_variance"][s])
            prior = learnt["user_mean"][s] + told @ learnt["user_weights"][s]
            prior += bags(start, items, learnt["implicit"][s])
            tau = np.ones(len(queries))
            for _ in range(ROUNDS if self.noise else 1):
                found = conditional(start, items, values, table, prior, precision, alpha * tau, blank)[0]
                squares = squared_errors(start, items, values, found, table)
                tau = (self.noise + count) / (self.noise + alpha * squares)
            out[:, s] = found
        return out


def _columns(name: str, read: Arrays, features: Mapping[str, Array], n: int) -> list[sparse.csr_array]:
    """Return the features of n users or items as groups of columns, those of no feature left out."""
    widths = [1 + most if most >= 0 else -most for most in encoding.parts(name, read).values()]
    return coded(encoding.read(name, read, features, n), widths, n)


def _matrix(name: str, read: Arrays, features: Mapping[str, Array], n: int) -> sparse.csr_array:
    """Return the groups of `_columns` side by side, (n, C); C is 0 where no feature is read."""
    return sparse.csr_array(sparse.hstack([sparse.csr_array((n, 0)), *_columns(name, read, features, n)]))


def _told(block: Side, implicit: bool) -> tuple[Mask, Mask]:
    """Return which columns are features, and which the sets; (C,) both."""
    last = block.group == (block.group[-1] if implicit else -1)
    return (block.group > 0) & ~last, last


def _without_id(block: Side) -> Floats:
    """Return the totals with the mean of the ids' weights in the place of the own one, (n, 1 + D)."""
    n = block.total.shape[1]
    rest: Floats = block.total - block.weight[:, :n] * block.used[:n] + block.mean[:, :1]
    return rest.T.copy()
