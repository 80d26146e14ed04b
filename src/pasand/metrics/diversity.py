"""What lists are like beyond being right: how obvious, how popular and how alike their items are.

These metrics are first told about the training events (`knowing`); a query with an empty list is undefined: nan. What
was relevant plays no part.
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
"""Categorical features with more names than this (people, shops) are left out of the vectors."""


@dataclass(frozen=True)
class Novelty:
    """Mean self-information of the first k items, in bits: -log2 of the share of train users who had the item.

    An item nobody had counts as if half a user had had it. Zhou et al., PNAS 2010.
    """

    k: int
    information: Values = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """(N,) bits of each item."""

    def knowing(self, train: Dataset) -> Self:
        """Return the metric with the items' information in these events."""
        share = np.maximum(_users_of(train), 0.5) / max(_active(train), 1)
        return replace(self, information=-np.log2(np.minimum(share, 1)))

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _mean_of(self.information, candidates.items[:, : self.k])


@dataclass(frozen=True)
class AveragePopularity:
    """Mean share of train users who had the items of the first k places; in [0, 1]."""

    k: int
    share: Values = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """(N,) share of each item."""

    def knowing(self, train: Dataset) -> Self:
        """Return the metric with the items' popularity in these events."""
        return replace(self, share=_users_of(train) / max(_active(train), 1))

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _mean_of(self.share, candidates.items[:, : self.k])


@dataclass(frozen=True)
class IntraListDiversity:
    """Mean of 1 - cosine over all pairs of the first k items; nan with fewer than two items. Ziegler et al., WWW 2005.

    The vectors are the items' categorical, bag and vector features, each scaled to length 1 and put side by side; where
    the data have none of these, two items are as alike as the cosine of their sets of train users. Items of which
    nothing is known are like no other.
    """

    k: int
    vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32), repr=False, compare=False)
    """(N, D), length 1 or 0; D 0: the users below are compared."""
    start: Offsets = field(default_factory=lambda: np.empty(0, np.int64), repr=False, compare=False)
    """(N + 1,) users of item i stand at start[i]:start[i + 1]."""
    users: Rows = field(default_factory=lambda: np.empty(0, np.int32), repr=False, compare=False)

    def knowing(self, train: Dataset) -> Self:
        """Return the metric with what these data tell about the items."""
        vectors = _vectors(train)
        if vectors.shape[1]:
            return replace(self, vectors=vectors)
        had = sparse.csc_array(_had(train))
        had.sort_indices()
        return replace(self, vectors=vectors, start=had.indptr.astype(np.int64), users=had.indices.astype(np.int32))

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        items = candidates.items[:, : self.k]
        left, right = np.triu_indices(items.shape[1], 1)
        first, second = items[:, left].astype(np.int64), items[:, right].astype(np.int64)
        real = (first >= 0) & (second >= 0)
        if len(self.start):  # the item with more users first: fewer are left to count
            size = np.diff(self.start)
            swap = size[second] > size[first]
            first, second = np.where(swap, second, first), np.where(swap, first, second)
        pairs, place = np.unique(np.where(real, first * 2**31 + second, -1), return_inverse=True)
        place = place.reshape(real.shape)
        alike = np.zeros(len(pairs))
        known = pairs >= 0
        one, other = pairs[known] // 2**31, pairs[known] % 2**31
        if self.vectors.shape[1]:
            for begin in range(0, len(one), 2**16):  # bounded memory
                part = slice(begin, begin + 2**16)
                alike[np.flatnonzero(known)[part]] = (self.vectors[one[part]] * self.vectors[other[part]]).sum(axis=1)
        else:
            alike[known] = _cosines(one, other, self.start, self.users)
        return _mean(1 - alike[place], real)


def _mean_of(table: Values, items: Rows) -> Values:
    real = items >= 0
    return _mean(table[np.where(real, items, 0)] if len(table) else np.zeros(items.shape), real)


def _mean(values: Values, real: NDArray[np.bool_]) -> Values:
    count = real.sum(axis=1)
    total: Values = np.where(real, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _had(train: Dataset) -> sparse.csr_array:
    ones = np.ones(len(train), np.float32)
    had = sparse.csr_array((ones, (train.user, train.item)), shape=(train.n_users, train.n_items))
    had.sum_duplicates()
    return had


def _users_of(train: Dataset) -> Values:
    return np.bincount(_had(train).indices, minlength=train.n_items).astype(np.float64)


def _active(train: Dataset) -> int:
    return len(np.unique(train.user))


def _vectors(train: Dataset) -> Vectors:
    blocks = []
    for feature in train.item_features.values():
        if feature.kind == "vector":
            block = np.nan_to_num(feature.values.astype(np.float32))
        elif feature.kind in ("categorical", "bag") and len(feature.names) <= NAMES_AT_MOST:
            codes = feature.values.reshape(len(feature), -1)
            block = np.zeros((len(feature), len(feature.names)), np.float32)
            row, column = np.nonzero(codes >= 0)
            block[row, codes[row, column]] = 1
        else:
            continue
        blocks.append(_unit(block))
    return _unit(np.hstack(blocks)) if blocks else np.empty((train.n_items, 0), np.float32)


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.where(length > 0, length, 1)).astype(np.float32)
    return unit


@njit(cache=True)
def _cosines(one: Offsets, other: Offsets, start: Offsets, users: Rows) -> Values:
    """Cosines of pairs sorted by their first item, whose users are marked once and counted among the second's."""
    out = np.zeros(len(one))
    mark = np.full(users.max() + 1 if len(users) else 0, -1, np.int64)
    for p in range(len(one)):
        i, i_end = start[one[p]], start[one[p] + 1]
        j, j_end = start[other[p]], start[other[p] + 1]
        if p == 0 or one[p] != one[p - 1]:
            for place in range(i, i_end):
                mark[users[place]] = one[p]
        common = 0
        for place in range(j, j_end):
            common += mark[users[place]] == one[p]
        if common:
            out[p] = common / np.sqrt(float(i_end - i) * float(j_end - j))
    return out
