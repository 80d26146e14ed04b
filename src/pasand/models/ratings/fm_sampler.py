"""Gibbs sampling of a factorisation machine over sparse columns of users and items.

The columns form two blocks, with a row for each user and each item instead of each rating (Rendle, "Scaling
factorization machines to relational data", VLDB 2013). With x_u the row of a user's block and x_i that of an item's,
and totals T_u = x_u W and T_i = x_i W', (1 + D) numbers each, a rating is

    r ~ N(T_u0 + T_i0 + sum over d from 1 to D of T_ud T_id, 1 / alpha_u).

Given all other weights it is linear in each single weight, whose conditional is a normal (Freudenthaler,
Schmidt-Thieme & Rendle, "Bayesian factorization machines", 2011): `sweep` draws the weights one by one and keeps the
errors up to date.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse

from pasand.models.ratings.posterior import Floats
from pasand.types import Array, Arrays, Mask, Offsets, Rows

Groups = NDArray[np.int64]

RATE = 0.1
"""Rate of the precisions' prior, in squared standard deviations of the ratings: it expects weights of about 1/3."""


class Ratings(NamedTuple):
    """The ratings by user: those of user u are start[u]:start[u + 1]."""

    start: Offsets
    item: Rows
    error: Floats
    """(E,) rating less its prediction, kept up to date."""


class Block(NamedTuple):
    """The columns of the users, or of the items, in groups, with a draw of their weights and of the groups' priors."""

    start: Offsets
    """(C + 1,) column c has the entries start[c]:start[c + 1] of `row` and `value`."""
    row: Rows
    value: Floats
    group: Groups
    """(C,) group of each column, ascending."""
    used: Mask
    """(C,) which columns have entries in rated rows; the others are no evidence about their group."""
    free_mean: Mask
    """(G,) which groups have a mean that is drawn; that of the others is 0."""
    weight: Floats
    """(1 + D, C) ~ N(mean, 1 / precision) of the column's group."""
    mean: Floats
    """(1 + D, G)"""
    precision: Floats
    """(1 + D, G)"""
    total: Floats
    """(1 + D, n) sum of the weights of each row's columns, times their values."""


def initial_block(
    rated: Mask, groups: list[sparse.csr_array], dimensions: int, rng: Generator, *, centred: int = 0
) -> Block:
    """Return a block of the ids of rated rows, (n,), as group 0 and of the other groups of columns, (n, C_g) each.

    Weights start small and random. The means of the last `centred` groups stay 0.
    """
    ids = sparse.csr_array(sparse.diags_array(rated.astype(np.float64)))
    ids.eliminate_zeros()
    columns = sparse.csc_array(sparse.hstack([ids, *groups]))
    group = np.repeat(np.arange(1 + len(groups)), [len(rated), *(part.shape[1] for part in groups)])
    weight = rng.normal(0, 0.1, (dimensions + 1, len(group))) * np.where(group, 0.1, 1)
    weight[0] *= 0.1
    column = np.repeat(np.arange(len(group)), np.diff(columns.indptr))
    return Block(
        start=columns.indptr.astype(np.int64),
        row=columns.indices.astype(np.int32),
        value=columns.data.astype(np.float64),
        group=group,
        used=np.bincount(column, rated[columns.indices], minlength=len(group)) > 0,
        free_mean=np.arange(1 + len(groups)) < 1 + len(groups) - centred,
        weight=weight,
        mean=np.zeros((dimensions + 1, 1 + len(groups))),
        precision=np.full((dimensions + 1, 1 + len(groups)), 10.0),
        total=np.ascontiguousarray((columns @ weight.T).T),
    )


def encoded_columns(inputs: Arrays, widths: list[int], n: int) -> list[sparse.csr_array]:
    """Return the inputs of n rows, as `encoding.encode` returns them, as sparse columns, (n, width) for each input.

    An input of codes has a column for each code, 0 (unknown) included; a row with several codes has 1 / root of their
    number in each. An input of numbers has a column for each number and one that marks rows with unknown numbers.
    """
    return [
        _codes(values, width, n) if values.dtype == np.int64 else _numbers(values)
        for values, width in zip(inputs.values(), widths, strict=True)
    ]


def _codes(codes: Array, width: int, n: int) -> sparse.csr_array:
    known = codes > 0
    count = known.sum(axis=1)
    row, position = np.nonzero(known | ((count == 0)[:, None] & (np.arange(codes.shape[1]) == 0)))
    value = 1 / np.sqrt(np.maximum(count, 1))
    return sparse.csr_array((value[row], (row, codes[row, position])), shape=(n, width))


def _numbers(numbers: Array) -> sparse.csr_array:
    known = numbers.astype(np.float64)
    known[:, -1] = 1 - known[:, -1]
    return sparse.csr_array(known)


def co_rated_sets(own: Rows, other: Rows, n: int, n_other: int) -> sparse.csr_array:
    """Return the set of rows of the other side that each row has ratings with, (n, n_other).

    Entries are 1 / root of the row's number of ratings.
    """
    share = 1 / np.sqrt(np.maximum(np.bincount(own, minlength=n), 1))
    return sparse.csr_array(sparse.coo_array((share[own], (own, other)), shape=(n, n_other)))


@njit(cache=True, fastmath=True)
def sweep(
    ratings: Ratings, users: Block, items: Block, alpha: Floats, user_normals: Floats, item_normals: Floats
) -> None:
    """Draw every weight once, in place: by dimension, users' columns before items'.

    Run time is proportional to (1 + D) times (ratings + entries of the blocks), since ratings enter by sums over each
    row. `alpha` is the precision of each user's ratings, (U,), and the normals have the shape of the weights,
    (1 + D, C).
    """
    of_users, of_items = np.zeros((2, users.total.shape[1])), np.zeros((2, items.total.shape[1]))
    ones_user, ones_item = np.ones(users.total.shape[1]), np.ones(items.total.shape[1])
    left, change = ones_user, np.zeros(items.total.shape[1])
    for d in range(len(users.total)):
        right = items.total[d] if d else ones_item
        _gather_users(ratings, change, left, right, of_users)
        of_users *= alpha
        left = users.total[d] if d else ones_user
        before = users.total[d].copy()
        _draw(users, d, of_users, user_normals[d])
        _gather_items(ratings, users.total[d] - before, right, left, alpha, of_items)
        before = items.total[d].copy()
        _draw(items, d, of_items, item_normals[d])
        change = items.total[d] - before
    _gather_users(ratings, change, left, ones_item, of_users)


@njit(cache=True, fastmath=True)
def _gather_users(ratings: Ratings, change: Floats, left: Floats, right: Floats, sums: Floats) -> None:
    """Subtract the items' change times the users' `left` from the errors; sum right^2 and error * right by user."""
    for u in range(len(ratings.start) - 1):
        squares, products = 0.0, 0.0
        for e in range(ratings.start[u], ratings.start[u + 1]):
            i = ratings.item[e]
            error = ratings.error[e] - change[i] * left[u]
            ratings.error[e] = error
            squares += right[i] * right[i]
            products += error * right[i]
        sums[0, u], sums[1, u] = squares, products


@njit(cache=True, fastmath=True)
def _gather_items(ratings: Ratings, change: Floats, right: Floats, left: Floats, alpha: Floats, sums: Floats) -> None:
    """Subtract the users' change times `right` from the errors; sum alpha left^2 and alpha error left by item."""
    sums[:] = 0
    for u in range(len(ratings.start) - 1):
        weighted = alpha[u] * left[u]
        square = weighted * left[u]
        for e in range(ratings.start[u], ratings.start[u + 1]):
            i = ratings.item[e]
            error = ratings.error[e] - change[u] * right[i]
            ratings.error[e] = error
            sums[0, i] += square
            sums[1, i] += error * weighted


@njit(cache=True, fastmath=True)
def _draw(block: Block, d: int, sums: Floats, normals: Floats) -> None:
    """Draw the weights of dimension d one by one, and keep totals and sums up to date.

    A weight w of column x has the precision P = prior precision + sum of x^2 sums[0] and the mean (prior precision *
    prior mean + sum of x sums[1] + w sum of x^2 sums[0]) / P.
    """
    for c in range(len(block.group)):
        g = block.group[c]
        squares, products = 0.0, 0.0
        for e in range(block.start[c], block.start[c + 1]):
            x, r = block.value[e], block.row[e]
            squares += x * x * sums[0, r]
            products += x * sums[1, r]
        old = block.weight[d, c]
        precision = block.precision[d, g] + squares
        mean = (block.precision[d, g] * block.mean[d, g] + products + squares * old) / precision
        block.weight[d, c] = mean + normals[c] / math.sqrt(precision)
        step = block.weight[d, c] - old
        for e in range(block.start[c], block.start[c + 1]):
            x, r = step * block.value[e], block.row[e]
            sums[1, r] -= x * sums[0, r]
            block.total[d, r] += x


def draw_priors(block: Block, rng: Generator) -> None:
    """Draw mean and precision of every group given the weights, in place.

    Their priors are gamma(1, `RATE`) for the precision and N(0, 1 / precision) for the mean.
    """
    first = np.flatnonzero(np.diff(block.group, prepend=-1))
    count = np.add.reduceat(block.used.astype(np.int64), first) + block.free_mean
    sums = np.add.reduceat(block.weight * block.used, first, axis=1)
    noise = rng.standard_normal(sums.shape) / np.sqrt(block.precision * np.maximum(count, 1))
    block.mean[:] = (sums / np.maximum(count, 1) + noise) * block.free_mean
    rest = (block.weight - block.mean[:, block.group]) * block.used
    squares = np.add.reduceat(rest**2, first, axis=1) + block.mean**2
    block.precision[:] = rng.gamma(1 + count / 2, 1 / (RATE + squares / 2))


@njit(cache=True, fastmath=True)
def squared_by_user(ratings: Ratings) -> Floats:
    """Return the sum of squared errors of each user, (U,)."""
    out = np.zeros(len(ratings.start) - 1)
    for u in range(len(out)):
        total = 0.0  # a sum in memory would be in an order that depends on the addresses of the arrays
        for e in range(ratings.start[u], ratings.start[u + 1]):
            total += ratings.error[e] ** 2
        out[u] = total
    return out
