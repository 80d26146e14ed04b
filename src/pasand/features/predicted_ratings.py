"""Predicts a user's rating of an item from the history's ratings, as a feature of rankers. Plain arrays, no torch.

A rating is mean + b_u + b_i + p_u . q_i. No parameters of users are stored: b_u and p_u are the ridge regression of the
history on the items' parameters, so that the prediction is up to date and exists for new users too. Predictions of
ratings from which the items' parameters were learnt would be too good, and a ranker trained on them would trust them
too much (train / test leakage). Users are therefore split into `FOLDS` folds, and the ratings of a fold are predicted
with item parameters learnt from the other folds alone, in training and in serving. New users get the parameters learnt
from all folds (Wolpert, "Stacked generalization", Neural Networks 5, 1992).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.features.rating_histories import add_observation, rated_events, solve, user_prior
from pasand.layouts import Entry
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores

PREFIX = "predicted_rating."
"""How the names of the learnt arrays begin."""
FOLDS = 5
DIMENSIONS = 16
ROUNDS = 10
"""Rounds of alternating regressions, of items and then of users."""
RIDGE, RIDGE_BIAS = 11.0, 3.0
"""Ridge penalty of vectors and of biases, for ratings whose deviation is 1."""

LAYOUT = {
    PREFIX + name: entry
    for name, entry in {
        "item": Entry("float32", f"N {FOLDS + 1} {1 + DIMENSIONS}", optional=True),
        "fold": Entry("int64", "*", lowest=0, below=FOLDS + 1, optional=True),
        "prior": Entry("float64", f"{FOLDS + 1} {1 + DIMENSIONS} {1 + DIMENSIONS}", optional=True),
        "scale": Entry("float32", "2", optional=True),
    }.items()
}
"""Layout of the arrays of `learn`, which may be absent."""


def learn(data: Dataset) -> dict[str, Array]:
    """Return the item parameters of each fold and the users' folds, as arrays for `of_pairs`.

    "predicted_rating.item" (N, FOLDS + 1, 1 + D): bias and vector of each item as learnt for each fold, zeros for items
    without ratings. "predicted_rating.fold" (U,): fold of each user, `FOLDS` for users without ratings.
    "predicted_rating.prior" (FOLDS + 1, 1 + D, 1 + D): ridge matrix of users. "predicted_rating.scale" (2,): mean and
    deviation of the ratings. Raises InputError where there are no ratings.
    """
    rated = rated_events(data)
    assert rated.value is not None
    mean, spread = float(rated.value.mean(dtype=np.float64)), float(rated.value.std(dtype=np.float64)) or 1.0
    value = (rated.value.astype(np.float64) - mean) / spread
    seen = np.bincount(rated.user, minlength=data.n_users) > 0
    fold = np.where(seen, np.random.default_rng(0).permutation(data.n_users) % FOLDS, FOLDS)
    table = np.empty((data.n_items, FOLDS + 1, 1 + DIMENSIONS), np.float32)
    prior = np.empty((FOLDS + 1, 1 + DIMENSIONS, 1 + DIMENSIONS))
    for left_out in range(FOLDS + 1):
        others = fold[rated.user] != left_out
        shape = (data.n_users, data.n_items)
        table[:, left_out], prior[left_out] = _factors(rated.user[others], rated.item[others], value[others], shape)
    scale = np.array([mean, spread], np.float32)
    arrays: dict[str, Array] = {"item": table, "prior": prior, "fold": fold, "scale": scale}
    return {PREFIX + name: values for name, values in arrays.items()}


def of_pairs(learnt: Arrays, queries: Queries, items: Rows) -> Scores:
    """Return the predicted rating of each pair, nan for row -1 and items without ratings; (B, K) -> (B, K) float32."""
    table, prior, fold, scale = (learnt[PREFIX + name] for name in ("item", "prior", "fold", "scale"))
    known = (queries.users >= 0) & (queries.users < len(fold))
    folds = np.full(len(queries), FOLDS, np.int64)
    folds[known] = fold[queries.users[known]]
    mean, spread = scale.tolist()
    history = np.where(queries.history < len(table), queries.history, np.int32(-1)).astype(np.int32)
    standardised: Scores = _predict(
        np.ascontiguousarray(history),
        ((queries.history_value - mean) / spread).astype(np.float32),
        np.where(items < len(table), items, np.int32(-1)).astype(np.int32),
        folds,
        table,
        prior,
    )
    predicted: Scores = (mean + spread * standardised).astype(np.float32)
    return predicted


def _factors(user: Rows, item: Rows, value: Array, shape: tuple[int, int]) -> tuple[Scores, NDArray[np.float64]]:
    """Return biases and vectors of items, (N, 1 + D), learnt by alternating ridge regressions, and the users' prior.

    `shape`: numbers of users and of items.
    """
    by_user, by_item = _grouped(user, item, value, shape[0]), _grouped(item, user, value, shape[1])
    items = 0.1 * np.random.default_rng(0).standard_normal((shape[1], 1 + DIMENSIONS), np.float32)
    items[:, 0] = 0
    ridge = np.diag([RIDGE_BIAS] + [RIDGE] * DIMENSIONS)
    users = _regress(*by_user, items, ridge)
    for _ in range(ROUNDS):
        items = _regress(*by_item, users, ridge)
        users = _regress(*by_user, items, ridge)
    active = np.diff(by_user[0]) > 0
    residual = value - users[user, 0] - items[item, 0] - np.einsum("nd,nd->n", users[user, 1:], items[item, 1:])
    noise = float(np.mean(residual**2)) if len(residual) else 1.0
    return items, user_prior(users[active, 0], users[active, 1:], noise)


def _grouped(by: Rows, other: Rows, value: Array, n: int) -> tuple[Offsets, Rows, Array]:
    """Return the offsets of each row's ratings, (n + 1,), and the ratings in that order."""
    order = np.argsort(by, kind="stable")
    return np.searchsorted(by[order], np.arange(n + 1)), other[order], value[order]


@njit(cache=True)
def _regress(start: Offsets, other: Rows, value: Array, fixed: Scores, ridge: Array) -> Scores:
    """Return bias and vector of each row, (n, 1 + D), given the fixed ones of the other side; zeros without ratings."""
    n = len(ridge)
    out = np.zeros((len(start) - 1, n), np.float32)
    x = np.ones(n)
    for b in range(len(out)):
        left, right = ridge.copy(), np.zeros(n)
        for e in range(start[b], start[b + 1]):
            x[1:] = fixed[other[e], 1:]
            y = value[e] - fixed[other[e], 0]
            add_observation(left, right, x, y)
        solve(left, right)
        out[b] = right
    return out


@njit(cache=True)
def _predict(history: Rows, values: Scores, items: Rows, folds: Array, table: Scores, prior: Array) -> Scores:
    """Return the predicted standardised ratings, (B, K), by the parameters of each query's fold, (B,)."""
    n = table.shape[2]
    out = np.full(items.shape, np.nan, np.float32)
    x = np.ones(n)
    for b in range(len(items)):
        left, right = prior[folds[b]].copy(), np.zeros(n)
        for h in range(history.shape[1]):
            if history[b, h] < 0 or np.isnan(values[b, h]):
                continue
            item = table[history[b, h], folds[b]]
            x[1:] = item[1:]
            y = values[b, h] - item[0]
            add_observation(left, right, x, y)
        solve(left, right)
        for k in range(items.shape[1]):
            if items[b, k] < 0:
                continue
            item = table[items[b, k], folds[b]]
            if not item.any():
                continue
            rating = right[0] + item[0]
            for d in range(1, n):
                rating += right[d] * item[d]
            out[b, k] = rating
    return out
