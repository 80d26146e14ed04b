"""User kNN: items that similar users liked or rated (Resnick et al. 1994; Herlocker et al. 1999)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.layouts import Entry, check
from pasand.models.classical.neighbours import (
    correlation,
    distinct,
    group_means,
    kernel_items,
    latest,
    overall_mean,
    push,
    rating_scale,
    sort_heap,
    within_scale,
)
from pasand.models.hyperparameters import check_numbers
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores

KINDS = ("cosine", "pearson", "adjusted")
LAYOUT = {
    "user_mean": Entry("float32", "U"),
    "user_start": Entry("int64", "U+1", rises_to="E"),
    "user_item": Entry("int32", "E", lowest=0, below="N"),
    "user_value": Entry("float32", "E", gaps=True, infinite=True),
    "user_positives": Entry("float32", "U", lowest=0),
    "item_mean": Entry("float32", "N"),
    "item_start": Entry("int64", "N+1", rises_to="E"),
    "item_user": Entry("int32", "E", lowest=0, below="U"),
    "item_value": Entry("float32", "E", gaps=True, infinite=True),
    "overall": Entry("float32"),
    "scale": Entry("float32", "2", infinite=True, optional=True),
    "positive_from": Entry("number", infinite=True),
}


class _Raters(NamedTuple):
    """The training events by item, and what they are compared with queries by."""

    kind: int
    """Position of the similarity in `KINDS`."""
    shrinkage: float
    positive_from: float
    start: Offsets
    """(N + 1,) the raters of item i are user[start[i]:start[i + 1]]."""
    user: Rows
    value: Scores
    item_mean: Scores
    """(N,)"""
    n_positives: Scores
    """(U,) number of items that each user liked."""


@dataclass(kw_only=True)
class UserKNN:
    """Scores an item by the summed similarity of the nearest training users who liked it.

    The similarity of a query comes from its history, so users who arrived after training get scores too. The query's
    own training events are left out. Only positive similarities count. Of equally similar users the lower row is the
    nearer neighbour.
    """

    neighbours: int = 100
    """Number of neighbours, at least 1: for a ranking the nearest of all users, for a rating the nearest raters of the
    item."""
    similarity: Literal["cosine", "pearson", "adjusted"] = "cosine"
    """"cosine" of the liked items; "pearson" correlation of the ratings of common items; "adjusted" cosine: of ratings
    less their items' means, over common items. The last two need ratings."""
    shrinkage: float = 10.0
    """Shrinks similarities with little support towards 0: added to the cosine's denominator, and as n / (n + shrinkage)
    on correlations over n common items."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if self.similarity not in KINDS:
            raise ValueError(f"similarity must be cosine, pearson or adjusted, got {self.similarity!r}")
        if not self.shrinkage >= 0:
            raise ValueError(f"shrinkage must not be negative, got {self.shrinkage}")
        check_numbers(self)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Keep the latest event of every pair, by user and by item."""
        if self.similarity != "cosine" and data.value is None:
            raise InputError(
                data.name, cause=f"user_knn by {self.similarity} needs ratings", cure='use similarity = "cosine"'
            )
        pairs = latest(data)
        by_item = pairs.transposed(data.n_items)
        liked = ~(pairs.value < np.float32(data.positive_from))
        user = np.repeat(np.arange(data.n_users), np.diff(pairs.start))
        mean = overall_mean(pairs)
        self._learnt = {
            "user_start": pairs.start,
            "user_item": pairs.row,
            "user_value": pairs.value,
            "user_mean": group_means(pairs, mean),
            "user_positives": np.bincount(user[liked], minlength=data.n_users).astype(np.float32),
            "item_start": by_item.start,
            "item_user": by_item.row,
            "item_value": by_item.value,
            "item_mean": group_means(by_item, mean),
            "overall": np.array(mean, np.float32),
            "scale": rating_scale(data),
            "positive_from": np.array(data.positive_from, np.float32),
        }
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return summed similarities, at least 0; -inf for a query without similar users."""
        learnt = self._learnt
        n_items = len(learnt["item_mean"])
        out = np.empty((len(queries), n_items) if items is None else items.shape, np.float32)
        _rank(
            self._raters(),
            np.ascontiguousarray(queries.users),
            distinct(queries.history, n_items),
            np.ascontiguousarray(queries.history_value),
            learnt["user_start"],
            learnt["user_item"],
            learnt["user_value"],
            min(self.neighbours, max(len(learnt["user_mean"]), 1)),
            kernel_items(items, n_items),
            items is None,
            out,
        )
        return out

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return the query's mean rating plus the weighted mean deviation of the item's raters from their own means.

        The weights are the similarities. An item without similar raters gets the query's mean. A query without ratings
        gets the item's mean, or the mean of all ratings for an unknown item (0 for data without ratings). Predictions
        lie within the scale seen in training.
        """
        learnt = self._learnt
        queries = queries.within(len(learnt["item_mean"]))
        given = ~np.isnan(queries.history_value) & (queries.history >= 0)
        n = given.sum(axis=1)
        mean = np.where(given, queries.history_value, 0).sum(axis=1, dtype=np.float64) / np.maximum(n, 1)
        out = np.empty(items.shape, np.float32)
        _predict(
            self._raters(),
            np.ascontiguousarray(queries.users),
            distinct(queries.history, len(learnt["item_mean"])),
            np.ascontiguousarray(queries.history_value),
            learnt["user_mean"],
            np.float32(learnt["overall"]),
            np.where(n > 0, mean, np.nan).astype(np.float32),
            self.neighbours,
            kernel_items(items, len(learnt["item_mean"])),
            out,
        )
        return within_scale(out, learnt)

    def _raters(self) -> _Raters:
        learnt = self._learnt
        return _Raters(
            KINDS.index(self.similarity),
            float(self.shrinkage),
            float(learnt["positive_from"]),
            learnt["item_start"],
            learnt["item_user"],
            learnt["item_value"],
            learnt["item_mean"],
            learnt["user_positives"],
        )

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit beside the data: the pairs by user and by item, while they are sorted."""
        return 64 * len(data) + 24 * (data.n_users + data.n_items)

    def state(self) -> Arrays:
        """Return the events by user ("user_start", ...) and by item, the means, "scale" (2,) and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt = dict(arrays)


@njit(cache=True, nogil=True)
def _similarities(
    raters: _Raters, own: int, history: Rows, value: Scores, sums: Array, touched: Rows, similarity: Scores
) -> int:
    """Fill `similarity` (U,) for the `touched` users and return their number; leaves `sums` (U, 6) at 0."""
    kind, positive_from = raters.kind, raters.positive_from
    n_touched, n_positives = 0, 0
    for t in range(len(history)):
        i = history[t]
        if i < 0 or (value[t] < positive_from if kind == 0 else np.isnan(value[t])):
            continue
        n_positives += 1
        shift = raters.item_mean[i] if kind == 2 else np.float32(0)
        x = value[t] - shift
        for at in range(raters.start[i], raters.start[i + 1]):
            user, y = raters.user[at], raters.value[at] - shift
            if user == own or (raters.value[at] < positive_from if kind == 0 else np.isnan(y)):
                continue
            if sums[user, 0] == 0:
                touched[n_touched] = user
                n_touched += 1
            sums[user, 0] += 1
            if kind != 0:
                sums[user, 1] += x
                sums[user, 2] += y
                sums[user, 3] += x * y
                sums[user, 4] += x * x
                sums[user, 5] += y * y
    for at in range(n_touched):
        user = touched[at]
        if kind == 0:
            norm = np.sqrt(n_positives * raters.n_positives[user])
            similarity[user] = sums[user, 0] / (norm + raters.shrinkage)
        else:
            similarity[user] = correlation(sums[user], kind == 1, raters.shrinkage)
        sums[user] = 0
    return n_touched


@njit(cache=True, nogil=True)
def _rank(
    raters: _Raters,
    users: Rows,
    history: Rows,
    value: Scores,
    user_start: Offsets,
    user_item: Rows,
    user_value: Scores,
    neighbours: int,
    items: Rows,
    all_items: bool,
    out: Scores,
) -> None:
    n_users, n_items = len(raters.n_positives), len(raters.item_mean)
    sums, touched, similarity = np.zeros((n_users, 6)), np.empty(n_users, np.int32), np.zeros(n_users, np.float32)
    best, nearest = np.empty(neighbours, np.float32), np.empty(neighbours, np.int32)
    total = np.empty(n_items, np.float32)
    for b in range(len(users)):
        n_touched = _similarities(raters, users[b], history[b], value[b], sums, touched, similarity)
        size = np.int64(0)
        for at in range(n_touched):
            if similarity[touched[at]] > 0:
                size = push(best, nearest, size, similarity[touched[at]], np.int64(touched[at]))
        sort_heap(best, nearest, size)
        total[:] = 0
        for at in range(size):
            for event in range(user_start[nearest[at]], user_start[nearest[at] + 1]):
                if not user_value[event] < raters.positive_from:
                    total[user_item[event]] += best[at]
        for j in range(out.shape[1]):
            item = j if all_items else items[b, j]
            out[b, j] = total[item] if size > 0 and item >= 0 else -np.inf


@njit(cache=True, nogil=True)
def _predict(
    raters: _Raters,
    users: Rows,
    history: Rows,
    value: Scores,
    user_mean: Scores,
    overall: float,
    query_mean: Scores,
    neighbours: int,
    items: Rows,
    out: Scores,
) -> None:
    n_users = len(raters.n_positives)
    sums, touched, similarity = np.zeros((n_users, 6)), np.empty(n_users, np.int32), np.zeros(n_users, np.float32)
    best, nearest = np.empty(neighbours, np.float32), np.empty(neighbours, np.int32)
    for b in range(len(users)):
        n_touched = _similarities(raters, users[b], history[b], value[b], sums, touched, similarity)
        for j in range(items.shape[1]):
            item = items[b, j]
            if np.isnan(query_mean[b]):
                out[b, j] = raters.item_mean[item] if item >= 0 else overall
                continue
            size, deviation, weight = np.int64(0), 0.0, 0.0
            if item >= 0:
                for event in range(raters.start[item], raters.start[item + 1]):
                    if similarity[raters.user[event]] > 0 and not np.isnan(raters.value[event]):
                        size = push(best, nearest, size, similarity[raters.user[event]], np.int64(event))
            for at in range(size):
                event = nearest[at]
                deviation += best[at] * (raters.value[event] - user_mean[raters.user[event]])
                weight += best[at]
            out[b, j] = query_mean[b] + (deviation / weight if weight > 0 else 0.0)
        for at in range(n_touched):
            similarity[touched[at]] = 0
