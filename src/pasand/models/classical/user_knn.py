"""User kNN: what people like you liked (Resnick et al. 1994; Herlocker et al. 1999)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.models.classical.neighbours import correlation, latest, means, offer, once, overall, settle, whole
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores

KINDS = ("cosine", "pearson", "adjusted")


@dataclass(kw_only=True)
class UserKNN:
    """Scores an item by the summed similarity of the nearest training users who liked it.

    A query is compared by its history, so users who arrived after training are answered too; its own training events
    are left out. Only positive similarities count; of equally similar users the lower row is the nearer one.
    """

    neighbours: int = 100
    """Users asked, at least 1: for a ranking the nearest of all, for a rating the nearest who rated the item."""
    similarity: Literal["cosine", "pearson", "adjusted"] = "cosine"
    """"cosine" of what the users liked; "pearson" correlation of their ratings of common items; "adjusted" cosine: of
    ratings less their items' means, over common items. The last two need ratings."""
    shrinkage: float = 10.0
    """Draws similarities with little support to 0: added to the cosine's denominator; n / (n + shrinkage) for n
    common items."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if self.similarity not in KINDS:
            raise ValueError(f"similarity must be cosine, pearson or adjusted, got {self.similarity!r}")
        if not self.shrinkage >= 0:
            raise ValueError(f"shrinkage must not be negative, got {self.shrinkage}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Keep the latest event of every pair, by user and by item."""
        if self.similarity != "cosine" and data.value is None:
            raise InputError(
                data.name, cause=f"user_knn by {self.similarity} needs ratings", cure='use similarity = "cosine"'
            )
        pairs = latest(data)
        other = pairs.turned(data.n_items)
        liked = ~(pairs.value < np.float32(data.positive_from))
        user = np.repeat(np.arange(data.n_users), np.diff(pairs.start))
        centre = overall(pairs)
        self._learnt = {
            "user_start": pairs.start,
            "user_item": pairs.row,
            "user_value": pairs.value,
            "user_mean": means(pairs, centre),
            "user_likings": np.bincount(user[liked], minlength=data.n_users).astype(np.float32),
            "item_start": other.start,
            "item_user": other.row,
            "item_value": other.value,
            "item_mean": means(other, centre),
            "overall": np.array(centre, np.float32),
            "positive_from": np.array(data.positive_from, np.float32),
        }
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return summed similarities, at least 0; -inf where nobody resembles the query."""
        learnt = self._learnt
        n_items = len(learnt["item_mean"])
        out = np.empty((len(queries), n_items) if items is None else items.shape, np.float32)
        _rank(
            *self._compared(queries),
            learnt["user_start"],
            learnt["user_item"],
            learnt["user_value"],
            min(self.neighbours, max(len(learnt["user_mean"]), 1)),
            whole(items, n_items),
            items is None,
            out,
        )
        return out

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return the query's mean rating + the similarity-weighted deviations of the item's raters from their means.

        Without similar raters it is the query's mean; a query without ratings gets the item's mean, or the mean of all
        ratings for an unknown item (0 for data without ratings).
        """
        learnt = self._learnt
        queries = queries.within(len(learnt["item_mean"]))
        given = ~np.isnan(queries.history_value) & (queries.history >= 0)
        n = given.sum(axis=1)
        mean = np.where(given, queries.history_value, 0).sum(axis=1, dtype=np.float64) / np.maximum(n, 1)
        out = np.empty(items.shape, np.float32)
        _predict(
            *self._compared(queries),
            learnt["user_mean"],
            np.float32(learnt["overall"]),
            np.where(n > 0, mean, np.nan).astype(np.float32),
            self.neighbours,
            whole(items, len(learnt["item_mean"])),
            out,
        )
        return out

    def _compared(
        self, queries: Queries
    ) -> tuple[int, float, float, Rows, Rows, Scores, Array, Rows, Scores, Scores, Scores]:
        """Return what `_similarities` needs."""
        learnt = self._learnt
        return (
            KINDS.index(self.similarity),
            float(self.shrinkage),
            float(learnt["positive_from"]),
            np.ascontiguousarray(queries.users),
            once(queries.history, len(learnt["item_mean"])),
            np.ascontiguousarray(queries.history_value),
            learnt["item_start"],
            learnt["item_user"],
            learnt["item_value"],
            learnt["item_mean"],
            learnt["user_likings"],
        )

    def state(self) -> Arrays:
        """Return the events by user ("user_start", "user_item", ...) and by item, the means and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt = dict(arrays)


@njit(cache=True, nogil=True)
def _similarities(
    kind: int,
    shrinkage: float,
    positive_from: float,
    own: int,
    history: Rows,
    value: Scores,
    item_start: Offsets,
    item_user: Rows,
    item_value: Scores,
    item_mean: Scores,
    user_likings: Scores,
    sums: Array,
    touched: Rows,
    similar: Scores,
) -> int:
    """Fill `similar` (U,) for the `touched` users and return how many they are; leaves `sums` (U, 6) at 0."""
    n_touched, likings = 0, 0
    for t in range(len(history)):
        i = history[t]
        if i < 0 or (value[t] < positive_from if kind == 0 else np.isnan(value[t])):
            continue
        likings += 1
        shift = item_mean[i] if kind == 2 else np.float32(0)
        x = value[t] - shift
        for at in range(item_start[i], item_start[i + 1]):
            user, y = item_user[at], item_value[at] - shift
            if user == own or (item_value[at] < positive_from if kind == 0 else np.isnan(y)):
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
            similar[user] = sums[user, 0] / (np.sqrt(likings * user_likings[user]) + shrinkage)
        else:
            similar[user] = correlation(sums[user], kind == 1, shrinkage)
        sums[user] = 0
    return n_touched


@njit(cache=True, nogil=True)
def _rank(
    kind: int,
    shrinkage: float,
    positive_from: float,
    users: Rows,
    history: Rows,
    value: Scores,
    item_start: Offsets,
    item_user: Rows,
    item_value: Scores,
    item_mean: Scores,
    user_likings: Scores,
    user_start: Offsets,
    user_item: Rows,
    user_value: Scores,
    neighbours: int,
    items: Rows,
    everything: bool,
    out: Scores,
) -> None:
    n_users, n_items = len(user_likings), len(item_mean)
    sums, touched, similar = np.zeros((n_users, 6)), np.empty(n_users, np.int32), np.zeros(n_users, np.float32)
    best, near = np.empty(neighbours, np.float32), np.empty(neighbours, np.int32)
    total = np.empty(n_items, np.float32)
    for b in range(len(users)):
        n_touched = _similarities(
            kind,
            shrinkage,
            positive_from,
            users[b],
            history[b],
            value[b],
            item_start,
            item_user,
            item_value,
            item_mean,
            user_likings,
            sums,
            touched,
            similar,
        )
        size = 0
        for at in range(n_touched):
            if similar[touched[at]] > 0:
                size = offer(best, near, size, similar[touched[at]], touched[at])
        settle(best, near, size)
        total[:] = 0
        for at in range(size):
            for other in range(user_start[near[at]], user_start[near[at] + 1]):
                if not user_value[other] < positive_from:
                    total[user_item[other]] += best[at]
        for j in range(out.shape[1]):
            item = j if everything else items[b, j]
            out[b, j] = total[item] if size > 0 and item >= 0 else -np.inf


@njit(cache=True, nogil=True)
def _predict(
    kind: int,
    shrinkage: float,
    positive_from: float,
    users: Rows,
    history: Rows,
    value: Scores,
    item_start: Offsets,
    item_user: Rows,
    item_value: Scores,
    item_mean: Scores,
    user_likings: Scores,
    user_mean: Scores,
    centre: float,
    query_mean: Scores,
    neighbours: int,
    items: Rows,
    out: Scores,
) -> None:
    n_users = len(user_likings)
    sums, touched, similar = np.zeros((n_users, 6)), np.empty(n_users, np.int32), np.zeros(n_users, np.float32)
    best, near = np.empty(neighbours, np.float32), np.empty(neighbours, np.int32)
    for b in range(len(users)):
        n_touched = _similarities(
            kind,
            shrinkage,
            positive_from,
            users[b],
            history[b],
            value[b],
            item_start,
            item_user,
            item_value,
            item_mean,
            user_likings,
            sums,
            touched,
            similar,
        )
        for j in range(items.shape[1]):
            item = items[b, j]
            if np.isnan(query_mean[b]):
                out[b, j] = item_mean[item] if item >= 0 else centre
                continue
            size, above, weight = 0, 0.0, 0.0
            if item >= 0:
                for at in range(item_start[item], item_start[item + 1]):
                    if similar[item_user[at]] > 0 and not np.isnan(item_value[at]):
                        size = offer(best, near, size, similar[item_user[at]], at)
            for at in range(size):
                above += best[at] * (item_value[near[at]] - user_mean[item_user[near[at]]])
                weight += best[at]
            out[b, j] = query_mean[b] + (above / weight if weight > 0 else 0.0)
        for at in range(n_touched):
            similar[touched[at]] = 0
