"""Biased matrix factorisation: a rating is the mean plus biases of user and item plus the product of their vectors."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.features.rating_histories import (
    fold_in,
    hold_out,
    last_events,
    rated_events,
    rated_mask,
    unchanged,
    user_prior,
)
from pasand.layouts import Entry, Layout
from pasand.models.dimensions import chosen_dimensions
from pasand.models.hyperparameters import check_numbers
from pasand.models.ratings.rating_model import RatingModel
from pasand.models.ratings.sgd import (
    GROUPS,
    ITEM_CODES,
    USER_CODES,
    Parameters,
    predict_pairs,
    run_parallel_epoch,
    sort_by_block,
)
from pasand.progress import step
from pasand.types import Array, Queries, Rows, Scores, within

CURVES = ("train rmse", "validation rmse")


@dataclass
class BiasedMF(RatingModel):
    """Predicts r = mu + b_u + b_i + p_u . q_i, learnt by stochastic gradient descent on the regularised squared error.

    Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8), 2009,
    equations 4 and 5: the ratings are visited one after the other, in a new random order each epoch, and each visit
    updates two biases and two vectors, as `sgd.update` states. The order is random by blocks: users and items are
    assigned to 16 groups each, again every epoch, and the ratings between two groups are visited together (see
    `sgd.run_parallel_epoch`).

    A user whose history still ends as it did in training is predicted from the learnt bias and vector. Any other user
    with rated history (a new one, or one who rated since) is folded in: item biases and vectors stay as they are, and
    the user's are the ridge regression of the rated history on them, under the Gaussian prior that the learnt users
    form (see `user_prior`). Without rated history the prediction is mu + b_i; for item row -1 it is mu + b_u.
    """

    dimensions: int | None = None
    """Width of the vectors; 0: biases alone; None: a default by the number of items (see `models.dimensions`)."""
    epochs: int = 100
    """Number of passes over the ratings, at most."""
    learning_rate: float = 0.02
    """Step length of the first epoch."""
    learning_rate_decay: float = 0.98
    """Factor on the step length after each epoch, in (0, 1]."""
    l2: float = 0.06
    """L2 penalty of the vectors, per rating."""
    l2_bias: float = 0.03
    """L2 penalty of the biases, per rating."""
    init_std: float = 0.02
    """Standard deviation of the initial vectors; a smaller one needs more epochs before the vectors leave zero."""
    validation_share: float = 0.1
    """Share of the ratings in the validation split for early stopping: the latest ones, or random ones if the data have
    no times; 0: no validation."""
    patience: int = 20
    """Epochs without a better validation error before training stops; must outlast the slow start of the vectors."""
    refit: bool = True
    """Whether to train again on all ratings for the best number of epochs; else that epoch's parameters are kept."""

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "learning_rate", "init_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("dimensions", "l2", "l2_bias"):
            if not (getattr(self, name) or 0) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.learning_rate_decay <= 1:
            raise ValueError(f"learning_rate_decay must be in (0, 1], got {self.learning_rate_decay}")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share must be in [0, 1), got {self.validation_share}")
        check_numbers(self)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn from every rating of the data; raises InputError if there is none, or if training diverges."""
        rated = rated_events(data)
        unit = _unit(rated)
        used, held = hold_out(rated, self.validation_share, rng)
        train, held_out = _divided(used, unit), _divided(held, unit)
        with ThreadPoolExecutor(2) as pool:
            parameters, curves, best_epoch = self._train(pool, train, held_out, self.epochs, rng)
            if len(held_out) and self.refit:
                used, train = rated, _divided(rated, unit)
                parameters, _, _ = self._train(pool, train, held_out.select(slice(0)), best_epoch, rng)
        assert train.value is not None
        if not all(np.isfinite(column).all() for column in parameters):
            cause = f"training diverged at learning_rate {self.learning_rate}, l2 {self.l2} and l2_bias {self.l2_bias}"
            raise InputError(data.name, cause=cause, cure="lower learning_rate or raise l2")
        user_bias, item_bias, user_vectors, item_vectors = parameters
        count = np.bincount(train.user, minlength=data.n_users)
        noise = float(np.mean((train.value - _predict(parameters, self._mean(train), train)) ** 2))
        prior = user_prior(user_bias[count > 0], user_vectors[count > 0], noise)
        if unit != 1:  # biases and products of vectors in units of the ratings again
            root = np.float32(np.sqrt(unit))
            user_bias, item_bias = user_bias * np.float32(unit), item_bias * np.float32(unit)
            user_vectors, item_vectors = user_vectors * root, item_vectors * root
            scaled = np.append(1, np.full(user_vectors.shape[1], root))
            prior = prior * np.outer(scaled, scaled)
            curves = {name: unit * curve for name, curve in curves.items()}
        assert used.value is not None
        self._learnt = {
            "mean": np.array([self._mean(used)]),
            "scale": np.array([used.value.min(), used.value.max()], np.float32),
            "user_bias": user_bias,
            "item_bias": item_bias,
            "user_vectors": user_vectors,
            "item_vectors": item_vectors,
            "prior": prior,
            **curves,
            **last_events(used),
        }
        return self

    def curves(self) -> dict[str, list[float]]:
        """Return the root mean squared errors by epoch: "train rmse" and, with validation, "validation rmse".

        The training error of each rating is measured just before its update.
        """
        return {name: list(map(float, self._learnt[name])) for name in CURVES if len(self._learnt.get(name, ()))}

    def user_parameters(self, queries: Queries) -> tuple[Scores, Scores]:
        """Return the bias, (B,), and the vector, (B, D), of each query; 0 for a query without rated history."""
        learnt = self._learnt
        queries = queries.within(len(learnt["item_bias"]))
        known = unchanged(queries, learnt)
        rows = np.where(known, queries.users, 0)
        bias = np.where(known, learnt["user_bias"][rows], np.float32(0))
        vectors = np.where(known[:, None], learnt["user_vectors"][rows], np.float32(0))
        new = np.flatnonzero(~known & (rated_mask(queries).any(axis=1)))
        if len(new):
            new_queries = queries.take(new)
            bias[new], vectors[new] = fold_in(
                np.where(rated_mask(new_queries), new_queries.history, np.int32(-1)),
                new_queries.history_value,
                float(learnt["mean"][0]),
                learnt["item_bias"],
                learnt["item_vectors"],
                learnt["prior"],
            )
        return bias, vectors

    @property
    def _n_items(self) -> int:
        return len(self._learnt["item_bias"])

    def _layout(self) -> Layout:
        return {
            "user_bias": Entry("float32", "U"),
            "item_bias": Entry("float32", "N"),
            "user_vectors": Entry("float32", "U D"),
            "item_vectors": Entry("float32", "N D"),
            "prior": Entry("float64", "D+1 D+1"),
        }

    def _expected(self, queries: Queries, items: Rows | None) -> Scores:
        learnt = self._learnt
        bias, vectors = self.user_parameters(queries)
        base = (np.float32(learnt["mean"][0]) + bias)[:, None]
        if items is None:
            expected: Scores = base + learnt["item_bias"] + vectors @ learnt["item_vectors"].T
            return expected
        items = within(items, self._n_items)
        rows = np.where(items < 0, 0, items)
        product = np.einsum("bd,bkd->bk", vectors, learnt["item_vectors"][rows])
        expected = base + np.where(items < 0, np.float32(0), learnt["item_bias"][rows] + product)
        return expected.astype(np.float32, copy=False)

    @staticmethod
    def _mean(rated: Dataset) -> float:
        assert rated.value is not None
        return float(np.mean(rated.value, dtype=np.float64))

    def _train(
        self, pool: Executor, train: Dataset, held_out: Dataset, epochs: int, rng: Generator
    ) -> tuple[Parameters, dict[str, Array], int]:
        """Return the best epoch's parameters (the last one's without held-out ratings), the curves, and its number."""
        assert train.value is not None
        assert held_out.value is not None
        mean = self._mean(train)
        parameters = self._initial(train, rng)
        best, best_error = parameters, np.inf
        train_curve, validation_curve, best_epoch = [], [], epochs
        order = rng.permutation(len(train))
        ratings = train.user[order], train.item[order], train.value[order]
        for epoch in range(epochs):
            rate = self.learning_rate * self.learning_rate_decay**epoch
            settings = (np.float32(mean), np.float32(rate), np.float32(self.l2), np.float32(self.l2_bias))
            user_code = USER_CODES[rng.integers(0, GROUPS, train.n_users)]
            item_code = ITEM_CODES[rng.integers(0, GROUPS, train.n_items)]
            ratings, ends = sort_by_block(pool, ratings, user_code, item_code)
            total = run_parallel_epoch(pool, parameters, ratings, ends, settings)
            train_curve.append(np.sqrt(total / len(train)))
            step("learning ratings", epoch + 1, epochs)
            if not len(held_out):
                continue
            errors = held_out.value - _predict(parameters, mean, held_out)
            validation_curve.append(np.sqrt(np.mean(errors**2, dtype=np.float64)))
            if validation_curve[-1] < best_error:
                best_error, best_epoch = validation_curve[-1], epoch + 1
                best = tuple(column.copy() for column in parameters)  # type: ignore[assignment]
            elif epoch + 1 - best_epoch >= self.patience or not np.isfinite(validation_curve[-1]):
                step("learning ratings", epochs, epochs)
                break
        curves = dict(zip(CURVES, (np.array(train_curve), np.array(validation_curve)), strict=True))
        return best, curves, best_epoch

    def _initial(self, train: Dataset, rng: Generator) -> Parameters:
        """Return biases of 0 and normal vectors, 0 for users and items without ratings."""
        std, dimensions = np.float32(self.init_std), chosen_dimensions(self.dimensions, train.n_items)
        users = rng.standard_normal((train.n_users, dimensions), np.float32) * std
        items = rng.standard_normal((train.n_items, dimensions), np.float32) * std
        # a row without ratings is never updated, and its random vector would be noise
        users[np.bincount(train.user, minlength=train.n_users) == 0] = 0
        items[np.bincount(train.item, minlength=train.n_items) == 0] = 0
        return np.zeros(train.n_users, np.float32), np.zeros(train.n_items, np.float32), users, items


def _unit(rated: Dataset) -> float:
    """Return what ratings are divided by in training: 1 for a range from 2 to 20, as of stars, else a quarter of it.

    The default step length diverges on a scale from 0 to 100, and learns nothing on one from 0 to 0.01.
    """
    assert rated.value is not None
    width = float(rated.value.max()) - float(rated.value.min())
    return 1.0 if width == 0 or 2 <= width <= 20 else width / 4


def _divided(rated: Dataset, unit: float) -> Dataset:
    return rated if unit == 1 or rated.value is None else replace(rated, value=rated.value / np.float32(unit))


def _predict(parameters: Parameters, mean: float, rated: Dataset) -> Scores:
    """Return mu + b_u + b_i + p . q of each rating; (E,)."""
    predicted: Scores = predict_pairs(*parameters, rated.user, rated.item, np.float32(mean))
    return predicted
