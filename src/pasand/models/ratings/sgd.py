"""Stochastic gradient descent of biased matrix factorisation, on two threads over blocks of users and items.

Users and items are assigned at random to 16 groups each. The ratings between a user group and an item group are a
block, so that there are 256 blocks, whose few vectors stay in the cache while they are visited. Gemulla et al.,
"Large-scale matrix factorization with distributed stochastic gradient descent", KDD 2011.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.types import Array, Offsets, Rows, Scores

Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Parameters: TypeAlias = tuple[Array, Array, Array, Array]
"""Biases of users and of items, (U,) and (N,), and their vectors, (U, D) and (N, D)."""
RatingColumns: TypeAlias = tuple[Rows, Rows, Scores]
"""Users, items and values of ratings, (E,) each, in the order of visits."""

GROUPS = 16
USER_CODES = (np.arange(GROUPS) // 8 * 128 + np.arange(GROUPS) % 8 * 8).astype(np.uint8)
ITEM_CODES = (np.arange(GROUPS) // 8 * 64 + np.arange(GROUPS) % 8).astype(np.uint8)
"""The block of a rating is the sum of the codes of its user group and its item group, 64 blocks a pair of halves."""


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
    """Update the parameters of one rating in place and return the error before, e = r - mu - b_u - b_i - p . q.

    b += rate (e - l2_bias b) for both biases; p += rate (e q - l2 p) and q += rate (e p - l2 q), each vector by the old
    value of the other: the step down the gradient of (e^2 + l2 (p^2 + q^2) + l2_bias (b_u^2 + b_i^2)) / 2.
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
def run_epoch(
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
    """Call `update` for each rating in order; return the sum of the squared errors."""
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


def run_parallel_epoch(
    pool: Executor, parameters: Parameters, ratings: RatingColumns, ends: Offsets, settings: tuple[np.float32, ...]
) -> float:
    """Run one epoch over ratings sorted by block, on two threads; return the sum of the squared errors.

    `ends` are the offsets of the blocks, and `settings` the last four arguments of `run_epoch`. Users and items are in
    two halves each. The ratings between the first halves and those between the second halves share no parameter, so
    that two threads at once give the same bits as one after the other. The ratings across the halves follow.
    """

    def quarter(number: int) -> float:
        rows = slice(ends[64 * number], ends[64 * number + 64])
        total: float = run_epoch(*parameters, *(column[rows] for column in ratings), *settings)
        return total

    diagonal = list(pool.map(quarter, (0, 3)))
    off_diagonal = list(pool.map(quarter, (1, 2)))
    return sum(diagonal + off_diagonal)


def sort_by_block(
    pool: Executor, ratings: RatingColumns, user_code: NDArray[np.uint8], item_code: NDArray[np.uint8]
) -> tuple[RatingColumns, Offsets]:
    """Return the ratings sorted by block, (E,) each, and the offsets of the blocks: block p is at ends[p]:ends[p + 1].

    The block of a rating is user_code + item_code, (U,) and (N,). Within a block the order is kept. Two threads sort a
    half each, with the same result as one.
    """
    n = len(ratings[0])
    halves = [slice(0, n // 2), slice(n // 2, n)]
    out: RatingColumns = tuple(np.empty_like(column) for column in ratings)  # type: ignore[assignment]
    counts = list(pool.map(lambda half: _block_sizes(ratings[0][half], ratings[1][half], user_code, item_code), halves))
    ends = np.concatenate([[0], np.cumsum(counts[0] + counts[1])])
    starts = [ends[:-1].copy(), ends[:-1] + counts[0]]

    def scatter(half: int) -> None:
        _scatter(*(column[halves[half]] for column in ratings), user_code, item_code, starts[half], *out)

    list(pool.map(scatter, (0, 1)))
    return out, ends


@njit(cache=True, nogil=True)
def _block_sizes(users: Rows, items: Rows, user_code: NDArray[np.uint8], item_code: NDArray[np.uint8]) -> Offsets:
    counts = np.zeros(GROUPS * GROUPS, np.int64)
    for n in range(len(users)):
        counts[user_code[users[n]] + item_code[items[n]]] += 1
    return counts


@njit(cache=True, nogil=True)
def _scatter(
    users: Rows,
    items: Rows,
    values: Scores,
    user_code: NDArray[np.uint8],
    item_code: NDArray[np.uint8],
    start: Offsets,
    new_users: Rows,
    new_items: Rows,
    new_values: Scores,
) -> None:
    """Write each rating to the next free row of its block; `start` is advanced in place."""
    for n in range(len(users)):
        block = user_code[users[n]] + item_code[items[n]]
        at = start[block]
        start[block] += 1
        new_users[at], new_items[at], new_values[at] = users[n], items[n], values[n]


@njit(cache=True, fastmath=True)
def predict_pairs(
    user_bias: Scores,
    item_bias: Scores,
    user_vectors: Scores,
    item_vectors: Scores,
    users: Rows,
    items: Rows,
    mean: float,
) -> Scores:
    """Return mu + b_u + b_i + p . q of each pair of user and item; (n,)."""
    out = np.empty(len(users), np.float32)
    for n in range(len(users)):
        p, q = user_vectors[users[n]], item_vectors[items[n]]
        total = mean + user_bias[users[n]] + item_bias[items[n]]
        for d in range(len(p)):
            total += p[d] * q[d]
        out[n] = total
    return out
