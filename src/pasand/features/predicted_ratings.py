"""What a user's ratings so far foresee of an item: a number that rankers may learn from. Plain arrays, no torch.

A rating is mean + b_u + b_i + p_u . q_i. Of users nothing is kept: b_u and p_u are the ridge regression of the history
on the items' parameters, so that the number is of the moment, and newcomers have it. Of a rating that the items'
parameters were learnt from it would say too much, and a ranker that learns from such numbers would trust them more than
they are worth. So users are dealt to `FOLDS` parts, and each is read by parameters that were learnt from the other
parts alone, in training as in answers; newcomers are read by those learnt from everybody (Wolpert, "Stacked
generalization", Neural Networks 5, 1992).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.features.rating_histories import observe, ratings, solve, user_prior
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores

FOLDS = 5
DIMENSIONS = 16
ROUNDS = 10
"""Times that users and items are solved for in turn."""
PULL, PULL_BIAS = 11.0, 3.0
"""Ridge of vectors and biases, of ratings whose deviation is 1."""


def learn(data: Dataset) -> dict[str, Array]:
    """Return "expected.item" (N, FOLDS + 1, 1 + D), biases and vectors of items as each part reads them, and the rest.

    "expected.fold" (U,) is each user's part, `FOLDS` for newcomers; "expected.prior" (FOLDS + 1, 1 + D, 1 + D) the pull
    on users; "expected.scale" (2,) mean and deviation of the ratings. Items that nobody rated are zeros. Raises
    InputError where nothing is rated.
    """
    rated = ratings(data)
    assert rated.value is not None
    mean, spread = float(rated.value.mean(dtype=np.float64)), float(rated.value.std(dtype=np.float64)) or 1.0
    value = (rated.value.astype(np.float64) - mean) / spread
    seen = np.bincount(rated.user, minlength=data.n_users) > 0
    fold = np.where(seen, np.random.default_rng(0).permutation(data.n_users) % FOLDS, FOLDS)
    table = np.empty((data.n_items, FOLDS + 1, 1 + DIMENSIONS), np.float32)
    prior = np.empty((FOLDS + 1, 1 + DIMENSIONS, 1 + DIMENSIONS))
    for part in range(FOLDS + 1):
        others = fold[rated.user] != part
        shape = (data.n_users, data.n_items)
        table[:, part], prior[part] = _factors(rated.user[others], rated.item[others], value[others], shape)
    scale = np.array([mean, spread], np.float32)
    return {"expected.item": table, "expected.prior": prior, "expected.fold": fold, "expected.scale": scale}


def of_pairs(learnt: Arrays, queries: Queries, items: Rows) -> Scores:
    """Return the rating foreseen of each pair, nan for no item or one that nobody rated; (B, K) -> (B, K) float32."""
    fold, table = learnt["expected.fold"], learnt["expected.item"]
    known = (queries.users >= 0) & (queries.users < len(fold))
    part = np.full(len(queries), FOLDS, np.int64)
    part[known] = fold[queries.users[known]]
    mean, spread = learnt["expected.scale"].tolist()
    history = np.where(queries.history < len(table), queries.history, np.int32(-1)).astype(np.int32)
    told: Scores = _foresee(
        np.ascontiguousarray(history),
        ((queries.history_value - mean) / spread).astype(np.float32),
        np.where(items < len(table), items, np.int32(-1)).astype(np.int32),
        part,
        table,
        learnt["expected.prior"],
    )
    rated: Scores = (mean + spread * told).astype(np.float32)
    return rated


def _factors(user: Rows, item: Rows, value: Array, shape: tuple[int, int]) -> tuple[Scores, NDArray[np.float64]]:
    """Return biases and vectors of items, (N, 1 + D), learnt by alternating ridge regressions, and the users' prior."""
    by_user, by_item = _grouped(user, item, value, shape[0]), _grouped(item, user, value, shape[1])
    items = 0.1 * np.random.default_rng(0).standard_normal((shape[1], 1 + DIMENSIONS), np.float32)
    items[:, 0] = 0
    pull = np.diag([PULL_BIAS] + [PULL] * DIMENSIONS)
    users = _regress(*by_user, items, pull)
    for _ in range(ROUNDS):
        items = _regress(*by_item, users, pull)
        users = _regress(*by_user, items, pull)
    there = np.diff(by_user[0]) > 0
    left = value - users[user, 0] - items[item, 0] - np.einsum("nd,nd->n", users[user, 1:], items[item, 1:])
    noise = float(np.mean(left**2)) if len(left) else 1.0
    return items, user_prior(users[there, 0], users[there, 1:], noise)


def _grouped(by: Rows, other: Rows, value: Array, n: int) -> tuple[Offsets, Rows, Array]:
    """Return where each row's ratings begin, (n + 1,), and the ratings in that order."""
    order = np.argsort(by, kind="stable")
    return np.searchsorted(by[order], np.arange(n + 1)), other[order], value[order]


@njit(cache=True)
def _regress(start: Offsets, other: Rows, value: Array, known: Scores, pull: Array) -> Scores:
    """Return bias and vector of each row, (n, 1 + D), given those of the other side; zeros without ratings."""
    n = len(pull)
    out = np.zeros((len(start) - 1, n), np.float32)
    x = np.ones(n)
    for b in range(len(out)):
        left, right = pull.copy(), np.zeros(n)
        for e in range(start[b], start[b + 1]):
            x[1:] = known[other[e], 1:]
            y = value[e] - known[other[e], 0]
            observe(left, right, x, y)
        solve(left, right)
        out[b] = right
    return out


@njit(cache=True)
def _foresee(history: Rows, values: Scores, items: Rows, part: Array, table: Scores, prior: Array) -> Scores:
    n = table.shape[2]
    out = np.full(items.shape, np.nan, np.float32)
    x = np.ones(n)
    for b in range(len(items)):
        left, right = prior[part[b]].copy(), np.zeros(n)
        for h in range(history.shape[1]):
            if history[b, h] < 0 or np.isnan(values[b, h]):
                continue
            own = table[history[b, h], part[b]]
            x[1:] = own[1:]
            y = values[b, h] - own[0]
            observe(left, right, x, y)
        solve(left, right)
        for k in range(items.shape[1]):
            if items[b, k] < 0:
                continue
            own = table[items[b, k], part[b]]
            if not own.any():
                continue
            told = right[0] + own[0]
            for d in range(1, n):
                told += right[d] * own[d]
            out[b, k] = told
    return out
