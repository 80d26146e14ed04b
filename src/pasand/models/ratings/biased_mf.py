"""Biased matrix factorisation: a rating is mean plus biases of user and item plus the product of their vectors."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.features.rating_histories import fold_in, hold_out, last_events, ratings, unchanged, usable, user_prior
from pasand.models.dimensions import width
from pasand.progress import step
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, within

Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]


@dataclass(slots=True)
class BiasedMF:
    """Predicts r = mu + b_u + b_i + p_u . q_i, learnt by stochastic gradient descent on the regularised squared error.

    Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8), 2009,
    equations 4 and 5: the ratings are visited one after the other, in another random order each epoch, and each visit
    moves two biases and two vectors, as `update` states. The order is random by blocks: users and items are dealt to 16
    blocks each, anew every epoch, and the ratings of a block of users and a block of items stand together (see
    `descend_in_pairs`).

    A user whose history still ends as it did in training is answered from the learnt bias and vector. Anyone else with
    rated history (a newcomer, or a user who rated since) is folded in: item biases and vectors stay as they are, and
    the user's are the ridge regression of the rated history on them, under the Gaussian prior that the learnt users
    form (see `user_prior`). Without any rated history the prediction is mu + b_i; for item row -1 it is mu + b_u.
    """

    dimensions: int | None = None
    """Width of the vectors, 0: biases alone; None: what the number of items can carry (see `width`)."""
    epochs: int = 100
    """Passes over the ratings, at most."""
    learning_rate: float = 0.02
    """Length of the first epoch's steps."""
    learning_rate_decay: float = 0.98
    """Factor on the step length after each epoch, in (0, 1]."""
    l2: float = 0.06
    """Pull of the vectors to zero, per rating."""
    l2_bias: float = 0.03
    """Pull of the biases to zero, per rating."""
    init_std: float = 0.02
    """Standard deviation of the vectors' normal start; the smaller, the more epochs before the vectors leave zero."""
    validation: float = 0.1
    """Share of the ratings that decides when to stop: the last in time, or random where there is no time; 0: none."""
    patience: int = 20
    """Epochs without a better validation error before learning stops; must outlast the vectors' slow start."""
    refit: bool = True
    """Learn again from all ratings, for the number of epochs that was best; else keep that epoch's parameters."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "learning_rate", "init_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("dimensions", "l2", "l2_bias"):
            if not (getattr(self, name) or 0) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.learning_rate_decay <= 1:
            raise ValueError(f"learning_rate_decay must be in (0, 1], got {self.learning_rate_decay}")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation must be in [0, 1), got {self.validation}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn from every rating of the data; raises InputError where there is none, or where learning diverges."""
        rated = ratings(data)
        kept, held = hold_out(rated, self.validation, rng)
        with ThreadPoolExecutor(2) as pool:
            learnt, curves, best = self._descend(pool, kept, held, self.epochs, rng)
            if len(held) and self.refit:
                learnt, _, _ = self._descend(pool, rated, held.select(slice(0)), best, rng)
                kept = rated
        assert kept.value is not None
        if not all(np.isfinite(column).all() for column in learnt):
            raise InputError(data.name, cause="learning diverged", cure="lower learning_rate or raise l2")
        user_bias, item_bias, user_vectors, item_vectors = learnt
        users = np.bincount(kept.user, minlength=data.n_users)
        noise = float(np.mean((kept.value - _at(learnt, self._mean(kept), kept.user, kept.item)) ** 2))
        self._learnt = {
            "mean": np.array([self._mean(kept)]),
            "scale": np.array([kept.value.min(), kept.value.max()], np.float32),
            "user_bias": user_bias,
            "item_bias": item_bias,
            "user_vectors": user_vectors,
            "item_vectors": item_vectors,
            "prior": user_prior(user_bias[users > 0], user_vectors[users > 0], noise),
            **curves,
            **last_events(kept),
        }
        return self

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings within the scale seen in training, (B, K) -> (B, K); finite for unknown rows too."""
        raw = self._raw(queries, items)
        low, high = self._learnt["scale"]
        return np.clip(raw, low, high)

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return predicted ratings, not cut to the scale, so that the best do not tie; -inf at item row -1."""
        items = within(items, len(self._learnt["item_bias"]))
        raw = self._raw(queries, items)
        return raw if items is None else np.where(items < 0, np.float32(-np.inf), raw)

    def state(self) -> Arrays:
        """Return the parameters, the prior for newcomers, where each user's history ended, and the curves."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt = dict(arrays)

    def curves(self) -> dict[str, list[float]]:
        """Return the root mean squared errors by epoch: "train rmse" and, with validation, "validation rmse".

        The training error is taken as learning goes: of each rating just before its update.
        """
        return {name: list(map(float, self._learnt[name])) for name in CURVES if len(self._learnt.get(name, ()))}

    def user_parameters(self, queries: Queries) -> tuple[Scores, Scores]:
        """Return the bias, (B,), and the vector, (B, D), by which each query is answered; 0: unknown."""
        learnt = self._learnt
        queries = queries.within(len(learnt["item_bias"]))
        known = unchanged(queries, learnt)
        rows = np.where(known, queries.users, 0)
        bias = np.where(known, learnt["user_bias"][rows], np.float32(0))
        vectors = np.where(known[:, None], learnt["user_vectors"][rows], np.float32(0))
        fold = np.flatnonzero(~known & (usable(queries).any(axis=1)))
        if len(fold):
            asked = queries.take(fold)
            bias[fold], vectors[fold] = fold_in(
                np.where(usable(asked), asked.history, np.int32(-1)),
                asked.history_value,
                float(learnt["mean"][0]),
                learnt["item_bias"],
                learnt["item_vectors"],
                learnt["prior"],
            )
        return bias, vectors

    def _raw(self, queries: Queries, items: Rows | None) -> Scores:
        learnt = self._learnt
        bias, vectors = self.user_parameters(queries)
        base = (np.float32(learnt["mean"][0]) + bias)[:, None]
        if items is None:
            whole: Scores = base + learnt["item_bias"] + vectors @ learnt["item_vectors"].T
            return whole
        items = within(items, len(learnt["item_bias"]))
        rows = np.where(items < 0, 0, items)
        shared = np.einsum("bd,bkd->bk", vectors, learnt["item_vectors"][rows])
        out: Scores = base + np.where(items < 0, np.float32(0), learnt["item_bias"][rows] + shared)
        return out.astype(np.float32, copy=False)

    @staticmethod
    def _mean(rated: Dataset) -> float:
        assert rated.value is not None
        return float(np.mean(rated.value, dtype=np.float64))

    def _descend(
        self, pool: Executor, kept: Dataset, held: Dataset, epochs: int, rng: Generator
    ) -> tuple[tuple[Array, Array, Array, Array], dict[str, Array], int]:
        """Return the best epoch's parameters (the last one's without held-out ratings), the curves, and its number."""
        assert kept.value is not None
        assert held.value is not None
        mean = self._mean(kept)
        spread, dimensions = np.float32(self.init_std), width(self.dimensions, kept.n_items)
        parameters = (
            np.zeros(kept.n_users, np.float32),
            np.zeros(kept.n_items, np.float32),
            rng.standard_normal((kept.n_users, dimensions), np.float32) * spread,
            rng.standard_normal((kept.n_items, dimensions), np.float32) * spread,
        )
        # a row without ratings never moves, and its random start means nothing
        parameters[2][np.bincount(kept.user, minlength=kept.n_users) == 0] = 0
        parameters[3][np.bincount(kept.item, minlength=kept.n_items) == 0] = 0
        best, best_error = parameters, np.inf
        train, validation, best_epoch = [], [], epochs
        order = rng.permutation(len(kept))
        visits = kept.user[order], kept.item[order], kept.value[order]
        for epoch in range(epochs):
            rate = self.learning_rate * self.learning_rate_decay**epoch
            steps = (np.float32(mean), np.float32(rate), np.float32(self.l2), np.float32(self.l2_bias))
            user_code = USER_CODES[rng.integers(0, BLOCKS, kept.n_users)]
            item_code = ITEM_CODES[rng.integers(0, BLOCKS, kept.n_items)]
            visits, ends = deal(pool, visits, user_code, item_code)
            total = descend_in_pairs(pool, parameters, visits, ends, steps)
            train.append(np.sqrt(total / len(kept)))
            step("learning ratings", epoch + 1, epochs)
            if not len(held):
                continue
            errors = held.value - _at(parameters, mean, held.user, held.item)
            validation.append(np.sqrt(np.mean(errors**2, dtype=np.float64)))
            if validation[-1] < best_error:
                best_error, best_epoch = validation[-1], epoch + 1
                best = tuple(column.copy() for column in parameters)  # type: ignore[assignment]
            elif epoch + 1 - best_epoch >= self.patience or not np.isfinite(validation[-1]):
                step("learning ratings", epochs, epochs)
                break
        curves = dict(zip(CURVES, (np.array(train), np.array(validation)), strict=True))
        return best, curves, best_epoch


CURVES = ("train rmse", "validation rmse")
BLOCKS = 16
USER_CODES = (np.arange(BLOCKS) // 8 * 128 + np.arange(BLOCKS) % 8 * 8).astype(np.uint8)
ITEM_CODES = (np.arange(BLOCKS) // 8 * 64 + np.arange(BLOCKS) % 8).astype(np.uint8)
"""The pile of a rating is the sum of the codes of its user's block and its item's: 64 to each pair of halves."""


@njit(cache=True, fastmath=True, inline="always")
def update(
    user_bias: Floats,
    item_bias: Floats,
    user_vectors: Floats,
    item_vectors: Floats,
    user: int,
    item: int,
    rating: float,
    mean: float,
    learning_rate: float,
    l2: float,
    l2_bias: float,
) -> float:
    """Move the parameters of one rating in place and return its error before the move, e = r - mu - b_u - b_i - p . q.

    b += rate (e - l2_bias b) for both biases; p += rate (e q - l2 p) and q += rate (e p - l2 q), where each vector
    moves by the old value of the other: the step down the gradient of (e^2 + l2 (p^2 + q^2) + l2_bias (b_u^2 +
    b_i^2)) / 2.
    """
    p, q = user_vectors[user], item_vectors[item]
    error: float = rating - mean - user_bias[user] - item_bias[item]
    for d in range(len(p)):
        error -= p[d] * q[d]
    user_bias[user] += learning_rate * (error - l2_bias * user_bias[user])
    item_bias[item] += learning_rate * (error - l2_bias * item_bias[item])
    toward, shrink = learning_rate * error, learning_rate * l2
    for d in range(len(p)):
        old_p, old_q = p[d], q[d]
        p[d] = old_p + (toward * old_q - shrink * old_p)
        q[d] = old_q + (toward * old_p - shrink * old_q)
    return error


@njit(cache=True, fastmath=True, nogil=True)
def descend(
    user_bias: Floats,
    item_bias: Floats,
    user_vectors: Floats,
    item_vectors: Floats,
    users: Rows,
    items: Rows,
    values: Scores,
    mean: float,
    learning_rate: float,
    l2: float,
    l2_bias: float,
) -> float:
    """Do one epoch: `update` for each rating, one after the other; return the sum of the squared errors."""
    total = 0.0
    for n in range(len(users)):
        error = update(
            user_bias,
            item_bias,
            user_vectors,
            item_vectors,
            users[n],
            items[n],
            values[n],
            mean,
            learning_rate,
            l2,
            l2_bias,
        )
        total += error * error
    return total


def descend_in_pairs(
    pool: Executor,
    parameters: tuple[Array, Array, Array, Array],
    visits: tuple[Rows, Rows, Scores],
    ends: Offsets,
    steps: tuple[np.float32, ...],
) -> float:
    """Do one epoch over dealt ratings on two threads; return the sum of the squared errors.

    Users and items are in two halves each. The ratings between the first halves and those between the second halves
    have no parameter in common, so that two threads at once give the same bits as one after the other; then come the
    ratings across. Within a thread it goes pile by pile, whose few vectors stay in the cache. Gemulla et al.,
    "Large-scale matrix factorization with distributed stochastic gradient descent", KDD 2011.
    """

    def part(quarter: int) -> float:
        here = slice(ends[64 * quarter], ends[64 * quarter + 64])
        total: float = descend(*parameters, *(column[here] for column in visits), *steps)
        return total

    straight = list(pool.map(part, (0, 3)))
    across = list(pool.map(part, (1, 2)))
    return sum(straight + across)


def deal(
    pool: Executor, visits: tuple[Rows, Rows, Scores], user_code: NDArray[np.uint8], item_code: NDArray[np.uint8]
) -> tuple[tuple[Rows, Rows, Scores], Offsets]:
    """Return the ratings dealt one by one to 256 piles, the piles end to end, (E,), and pile p at ends[p]:ends[p + 1].

    A rating goes to the pile user_code + item_code, (U,) and (N,). Piles keep the order they are dealt in. Two threads
    deal a half each, with the result of one.
    """
    n = len(visits[0])
    halves = [slice(0, n // 2), slice(n // 2, n)]
    dealt: tuple[Rows, Rows, Scores] = tuple(np.empty_like(column) for column in visits)  # type: ignore[assignment]
    counts = list(pool.map(lambda half: _counts(visits[0][half], visits[1][half], user_code, item_code), halves))
    ends = np.concatenate([[0], np.cumsum(counts[0] + counts[1])])
    places = [ends[:-1].copy(), ends[:-1] + counts[0]]

    def place(part: int) -> None:
        _deal(*(column[halves[part]] for column in visits), user_code, item_code, places[part], *dealt)

    list(pool.map(place, (0, 1)))
    return dealt, ends


@njit(cache=True, nogil=True)
def _counts(users: Rows, items: Rows, user_code: NDArray[np.uint8], item_code: NDArray[np.uint8]) -> Offsets:
    counts = np.zeros(BLOCKS * BLOCKS, np.int64)
    for n in range(len(users)):
        counts[user_code[users[n]] + item_code[items[n]]] += 1
    return counts


@njit(cache=True, nogil=True)
def _deal(
    users: Rows,
    items: Rows,
    values: Scores,
    user_code: NDArray[np.uint8],
    item_code: NDArray[np.uint8],
    place: Offsets,
    new_users: Rows,
    new_items: Rows,
    new_values: Scores,
) -> None:
    for n in range(len(users)):
        pile = user_code[users[n]] + item_code[items[n]]
        at = place[pile]
        place[pile] += 1
        new_users[at], new_items[at], new_values[at] = users[n], items[n], values[n]


def _at(parameters: tuple[Array, Array, Array, Array], mean: float, users: Rows, items: Rows) -> Scores:
    """Return mu + b_u + b_i + p . q of each pair; (n,)."""
    user_bias, item_bias, user_vectors, item_vectors = parameters
    out: Scores = _pairs(user_bias, item_bias, user_vectors, item_vectors, users, items, np.float32(mean))
    return out


@njit(cache=True, fastmath=True)
def _pairs(
    user_bias: Scores,
    item_bias: Scores,
    user_vectors: Scores,
    item_vectors: Scores,
    users: Rows,
    items: Rows,
    mean: float,
) -> Scores:
    out = np.empty(len(users), np.float32)
    for n in range(len(users)):
        p, q = user_vectors[users[n]], item_vectors[items[n]]
        whole = mean + user_bias[users[n]] + item_bias[items[n]]
        for d in range(len(p)):
            whole += p[d] * q[d]
        out[n] = whole
    return out
