"""Beyond-accuracy metrics of lists: novelty, popularity and intra-list diversity.

These metrics use statistics of the training events, which `fitted` computes. A query with an empty list is undefined:
nan. Relevance is not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from pasand.data.dataset import Dataset
from pasand.data.relevance import Relevance
from pasand.types import Candidates, Offsets, Rows, Vectors

Values = NDArray[np.float64]
NAMES_AT_MOST = 512
"""Features with more categories than this (people, shops) are left out of the vectors."""


@dataclass(frozen=True)
class Novelty:
    """Mean self-information of the first k items, in bits: -log2 of the share of train users who consumed the item.

    An item that no user consumed counts as if half a user had. Zhou et al., PNAS 2010.
    """

    k: int
    information: Values = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """(N,) self-information of each item, in bits."""

    def fitted(self, train: Dataset) -> Self:
        """Return the metric with the self-information of the items in these events."""
        share = np.maximum(_users_per_item(train), 0.5) / max(_n_active_users(train), 1)
        return replace(self, information=-np.log2(np.minimum(share, 1)))

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _mean_of(self.information, candidates.items[:, : self.k])


@dataclass(frozen=True)
class AveragePopularity:
    """Mean share of train users who consumed the items of the first k positions; in [0, 1]."""

    k: int
    share: Values = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """(N,) share of train users who consumed each item."""

    def fitted(self, train: Dataset) -> Self:
        """Return the metric with the popularity of the items in these events."""
        return replace(self, share=_users_per_item(train) / max(_n_active_users(train), 1))

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _mean_of(self.share, candidates.items[:, : self.k])


@dataclass(frozen=True)
class IntraListDiversity:
    """Mean of 1 - cosine over all pairs of the first k items; nan with fewer than two items. Ziegler et al., WWW 2005.

    The vectors are the categorical, bag and vector features of the items, each scaled to length 1 and concatenated.
    Where the data have none of these, similarity is the cosine of the items' sets of train users. Items without any
    data have similarity 0 with all others.
    """

    k: int
    vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32), repr=False, compare=False)
    """(N, D) of length 1 or 0; D is 0 where the users below are compared."""
    start: Offsets = field(default_factory=lambda: np.empty(0, np.int64), repr=False, compare=False)
    """(N + 1,) users of item i are at start[i]:start[i + 1]."""
    users: Rows = field(default_factory=lambda: np.empty(0, np.int32), repr=False, compare=False)

    def fitted(self, train: Dataset) -> Self:
        """Return the metric with the items' vectors, or their users, from these data."""
        vectors = _vectors(train)
        if vectors.shape[1]:
            return replace(self, vectors=vectors)
        matrix = sparse.csc_array(_user_item_matrix(train))
        matrix.sort_indices()
        start, users = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        return replace(self, vectors=vectors, start=start, users=users)

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        items = candidates.items[:, : self.k]
        left, right = np.triu_indices(items.shape[1], 1)
        first, second = items[:, left].astype(np.int64), items[:, right].astype(np.int64)
        real = (first >= 0) & (second >= 0)
        if len(self.start):  # the item with more users goes first, so that fewer users are left to count
            size = np.diff(self.start)
            swap = size[second] > size[first]
            first, second = np.where(swap, second, first), np.where(swap, first, second)
        pairs, position = np.unique(np.where(real, first * 2**31 + second, -1), return_inverse=True)
        position = position.reshape(real.shape)
        similarity = np.zeros(len(pairs))
        known = np.flatnonzero(pairs >= 0)
        first, second = pairs[known] // 2**31, pairs[known] % 2**31
        if self.vectors.shape[1]:
            for begin in range(0, len(first), 2**16):  # bounded memory
                part = slice(begin, begin + 2**16)
                similarity[known[part]] = (self.vectors[first[part]] * self.vectors[second[part]]).sum(axis=1)
        else:
            similarity[known] = _cosines(first, second, self.start, self.users)
        return _mean(1 - similarity[position], real)


def _mean_of(table: Values, items: Rows) -> Values:
    real = items >= 0
    return _mean(table[np.where(real, items, 0)] if len(table) else np.zeros(items.shape), real)


def _mean(values: Values, real: NDArray[np.bool_]) -> Values:
    count = real.sum(axis=1)
    total: Values = np.where(real, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _user_item_matrix(train: Dataset) -> sparse.csr_array:
    ones = np.ones(len(train), np.float32)
    matrix = sparse.csr_array((ones, (train.user, train.item)), shape=(train.n_users, train.n_items))
    matrix.sum_duplicates()
    return matrix


def _users_per_item(train: Dataset) -> Values:
    return np.bincount(_user_item_matrix(train).indices, minlength=train.n_items).astype(np.float64)


def _n_active_users(train: Dataset) -> int:
    return len(np.unique(train.user))


def _vectors(train: Dataset) -> Vectors:
    blocks = []
    for feature in train.item_features.values():
        if feature.kind == "vector":
            block = np.nan_to_num(feature.values.astype(np.float32))
        elif feature.kind in ("categorical", "bag") and len(feature.names) <= NAMES_AT_MOST:
            block = np.zeros((len(feature), len(feature.names)), np.float32)
            block[feature.members()] = 1
        else:
            continue
        blocks.append(_unit(block))
    return _unit(np.hstack(blocks)) if blocks else np.empty((train.n_items, 0), np.float32)


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.where(length > 0, length, 1)).astype(np.float32)
    return unit


@njit(cache=True)
def _cosines(first: Offsets, second: Offsets, start: Offsets, users: Rows) -> Values:
    """Return the cosine of the user sets of each pair of items; pairs are sorted by their first item."""
    out = np.zeros(len(first))
    # the users of the first item are marked once, and counted among the users of each second item
    mark = np.full(users.max() + 1 if len(users) else 0, -1, np.int64)
    for p in range(len(first)):
        i, i_end = start[first[p]], start[first[p] + 1]
        j, j_end = start[second[p]], start[second[p] + 1]
        if p == 0 or first[p] != first[p - 1]:
            for u in range(i, i_end):
                mark[users[u]] = first[p]
        common = 0
        for u in range(j, j_end):
            common += mark[users[u]] == first[p]
        if common:
            out[p] = common / np.sqrt(float(i_end - i) * float(j_end - j))
    return out
