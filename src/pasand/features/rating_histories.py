"""Rated events of a log and of histories, and the regression that folds users into a model of ratings."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores, Times


def rated_events(data: Dataset) -> Dataset:
    """Return the events that have a finite rating; raises InputError where there is none."""
    if data.value is None or data.values == "strength":
        cure = "name the rating column, or choose a model of implicit feedback (ials, item_knn, ease)"
        present = "none" if data.value is None else "strengths, such as counts"
        raise InputError(data.name, cause=f"predicting ratings needs ratings, and these data have {present}", cure=cure)
    finite = np.isfinite(data.value)
    if not finite.any():
        raise InputError(data.name, column="value", cause="no event has a rating", cure="give rated events")
    return data if finite.all() else data.select(finite)


def hold_out(rated: Dataset, share: float, rng: Generator) -> tuple[Dataset, Dataset]:
    """Return the ratings to train on and the held-out ones for early stopping.

    Held out is the last share of each user's ratings in time, or a random share where the log has no order. So every
    user is in the validation: the last share of the whole log would mostly be new users, who are not in training.
    """
    if not share:
        return rated, rated.select(slice(0))
    grouped = rated.by_user
    count = np.diff(grouped.start)
    event = grouped.event
    if rated.order == "none":
        event = event[np.lexsort((rng.random(len(rated)), rated.user[event]))]
    position = np.arange(len(rated)) - np.repeat(grouped.start[:-1], count)
    held = np.zeros(len(rated), np.bool_)
    held[event[position >= np.repeat(count - np.floor(share * count), count)]] = True
    held &= np.isin(rated.item, rated.item[~held])
    return rated.select(~held), rated.select(held)


def last_events(rated: Dataset) -> dict[str, Array]:
    """Return the number of events and the last event of each user, (U,) each, with which `unchanged` compares."""
    assert rated.value is not None
    grouped = rated.by_user
    count = np.diff(grouped.start)
    last = grouped.event[np.maximum(grouped.start[1:] - 1, 0)]
    return {
        "count": count,
        "last_item": rated.item[last],
        "last_time": rated.time[last],
        "last_value": rated.value[last],
    }


def rated_mask(queries: Queries) -> NDArray[np.bool_]:
    """Return which events of the histories have a rating; (B, H)."""
    return (queries.history >= 0) & np.isfinite(queries.history_value)


def unchanged(queries: Queries, learnt: Arrays) -> NDArray[np.bool_]:
    """Return which queries are of users from training who have rated nothing since; (B,).

    Their rated history is empty, or ends with their last event in training and is no longer than it was then.
    """
    count: Offsets = learnt["count"]
    known = (queries.users >= 0) & (queries.users < len(count))
    if not len(count):
        return known
    rows = np.where(known, queries.users, 0)
    known &= count[rows] > 0
    given = rated_mask(queries)
    if not given.shape[1]:
        return known
    n_given = given.sum(axis=1)
    last = given.shape[1] - 1 - np.argmax(given[:, ::-1], axis=1)
    b = np.arange(len(queries))
    times: Times = learnt["last_time"]
    same = (
        (n_given <= count[rows])
        & (queries.history[b, last] == learnt["last_item"][rows])
        & (queries.history_time[b, last] == times[rows])
        & (queries.history_value[b, last] == learnt["last_value"][rows])
    )
    same |= n_given == 0
    known &= same
    return known


def user_prior(bias: Scores, vectors: Scores, noise: float) -> NDArray[np.float64]:
    """Return the ridge matrix of a new user's (bias, vector), (1 + D, 1 + D): noise variance times inverse covariance.

    The covariance is about zero, with a tenth of it moved to its diagonal, so that few users, or vectors that lie in a
    plane, still give a proper prior.
    """
    users = np.column_stack([bias, vectors]).astype(np.float64)
    second = users.T @ users / max(len(users), 1)
    covariance = 0.9 * second + 0.1 * np.diag(np.diag(second)) + 1e-6 * np.eye(len(second))
    ridge: NDArray[np.float64] = np.asarray(np.linalg.inv(covariance) * (noise + 1e-3), np.float64)
    return ridge


def fold_in(
    history: Rows, values: Scores, mean: float, item_bias: Scores, item_vectors: Scores, prior: NDArray[np.float64]
) -> tuple[Scores, Scores]:
    """Return bias, (B,), and vector, (B, D), of users from their ratings alone; zeros where the history is all -1.

    With x = (1, q_i) and y = r - mu - b_i over the history, they solve (prior + sum x x') w = sum y x: the posterior
    mean under the Gaussian prior, with item parameters taken as known.
    """
    solved = _ridge(history, values, mean, item_bias, item_vectors, prior)
    return solved[:, 0].copy(), solved[:, 1:].copy()


@njit(cache=True)
def solve(left: Array, right: Array) -> None:
    """Overwrite right with the x that solves left x = right.

    `left` must be positive definite; only its lower triangle is read, and it is overwritten.
    """
    n = len(right)
    # Cholesky: left = L L' in its lower triangle, then two triangular solutions
    for j in range(n):
        for i in range(j, n):
            rest = left[i, j]
            for m in range(j):
                rest -= left[i, m] * left[j, m]
            left[i, j] = np.sqrt(rest) if i == j else rest / left[j, j]
    for i in range(n):
        for m in range(i):
            right[i] -= left[i, m] * right[m]
        right[i] /= left[i, i]
    for i in range(n - 1, -1, -1):
        for m in range(i + 1, n):
            right[i] -= left[m, i] * right[m]
        right[i] /= left[i, i]


@njit(cache=True)
def add_observation(left: Array, right: Array, x: Array, y: float) -> None:
    """Add an observation to the sums of a regression in place: x x' to left (lower triangle) and y x to right."""
    for i in range(len(x)):
        right[i] += y * x[i]
        for j in range(i + 1):
            left[i, j] += x[i] * x[j]


@njit(cache=True)
def _ridge(
    history: Rows, values: Scores, mean: float, item_bias: Scores, item_vectors: Scores, prior: NDArray[np.float64]
) -> Scores:
    n = len(prior)
    out = np.zeros((len(history), n), np.float32)
    x = np.ones(n)
    for b in range(len(history)):
        left, right = prior.copy(), np.zeros(n)
        for h in range(history.shape[1]):
            item = history[b, h]
            if item < 0:
                continue
            y = values[b, h] - mean - item_bias[item]
            for i in range(1, n):
                x[i] = item_vectors[item, i - 1]
            add_observation(left, right, x, y)
        solve(left, right)
        for i in range(n):
            out[b, i] = right[i]
    return out
