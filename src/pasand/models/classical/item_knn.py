"""Item kNN: what resembles the items you liked (Sarwar et al. 2001; shrinkage as in Koren 2008)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numba import njit, prange
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.models.classical.neighbours import (
    Pairs,
    correlation,
    distinct_liked,
    latest,
    means,
    offer,
    once,
    overall,
    settle,
    whole,
)
from pasand.types import Array, Arrays, Offsets, Queries, Rows, Scores


@dataclass(kw_only=True)
class ItemKNN:
    """Scores an item by the summed similarity of the liked history items that have it among their neighbours.

    An item is no neighbour of itself, and only positive similarities count. Of equally similar items the lower row is
    the nearer neighbour.
    """

    neighbours: int = 50
    """Neighbours kept for each item, at least 1."""
    similarity: Literal["cosine", "pearson", "adjusted"] = "cosine"
    """"cosine" of who liked the items; "pearson" correlation of the ratings of their common raters; "adjusted" cosine:
    of ratings less their users' means, over common raters. The last two need ratings."""
    shrinkage: float = 10.0
    """Draws similarities with little support to 0: added to the cosine's denominator; n / (n + shrinkage) for n
    common raters."""
    decay: float = 1.0
    """Weight of a liked item of the history relative to the next later one, above 0; 1: all count alike. Predicted
    ratings take no notice of it."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if self.similarity not in ("cosine", "pearson", "adjusted"):
            raise ValueError(f"similarity must be cosine, pearson or adjusted, got {self.similarity!r}")
        if not self.shrinkage >= 0:
            raise ValueError(f"shrinkage must not be negative, got {self.shrinkage}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, got {self.decay}")

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Find each item's neighbours."""
        if self.similarity != "cosine" and data.value is None:
            raise InputError(
                data.name, cause=f"item_knn by {self.similarity} needs ratings", cure='use similarity = "cosine"'
            )
        rows, weights = self._by_liking(data) if self.similarity == "cosine" else self._by_rating(data)
        average, centre = np.zeros(data.n_items, np.float32), 0.0
        if data.value is not None:
            pairs = latest(data)
            centre = overall(pairs)
            average = means(pairs.turned(data.n_items), centre)
        self._learnt = {
            "neighbours": rows,
            "weights": weights,
            "mean": average,
            "overall": np.array(centre, np.float32),
            "positive_from": np.array(data.positive_from),
        }
        return self

    def _by_liking(self, data: Dataset) -> tuple[Rows, Scores]:
        by_user = data.matrix()
        by_item = by_user.T.tocsr()
        rows, weights = self._blank(data.n_items)
        _cosines(
            by_user.indptr.astype(np.int64),
            by_user.indices.astype(np.int32),
            by_item.indptr.astype(np.int64),
            by_item.indices.astype(np.int32),
            np.float32(self.shrinkage),
            rows,
            weights,
        )
        return rows, weights

    def _by_rating(self, data: Dataset) -> tuple[Rows, Scores]:
        pairs = latest(data)
        if self.similarity == "adjusted":
            users = np.repeat(np.arange(data.n_users), np.diff(pairs.start))
            pairs = Pairs(start=pairs.start, row=pairs.row, value=pairs.value - means(pairs, 0)[users])
        other = pairs.turned(data.n_items)
        rows, weights = self._blank(data.n_items)
        _correlations(
            pairs.start,
            pairs.row,
            pairs.value,
            other.start,
            other.row,
            other.value,
            self.similarity == "pearson",
            float(self.shrinkage),
            rows,
            weights,
        )
        return rows, weights

    def _blank(self, n_items: int) -> tuple[Rows, Scores]:
        shape = (n_items, min(self.neighbours, max(n_items - 1, 1)))
        return np.full(shape, -1, np.int32), np.zeros(shape, np.float32)

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return summed similarities, at least 0; -inf where no liked item of the history has a neighbour."""
        rows, weights = self._learnt["neighbours"], self._learnt["weights"]
        liked = self._liked(queries)
        out = np.empty((len(queries), len(rows)) if items is None else items.shape, np.float32)
        _sum_similarities(rows, weights, liked, self._strength(liked), whole(items, len(rows)), items is None, out)
        return out

    def _strength(self, liked: Rows) -> Scores:
        """Return what each liked item counts, 1 the latest; (B, H)."""
        later = (liked >= 0)[:, ::-1].cumsum(axis=1)[:, ::-1] - 1
        strength: Scores = np.power(np.float32(self.decay), np.maximum(later, 0).astype(np.float32))
        return strength

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return the item's mean + the similarity-weighted deviations of the history's ratings from their items' means.

        The history items count that have the item among their neighbours; without any it is the item's mean, for an
        unknown item the mean of all ratings (0 for data without ratings).
        """
        rated = once(
            np.where(np.isnan(queries.history_value), np.int32(-1), queries.history), len(self._learnt["mean"])
        )
        out = np.empty(items.shape, np.float32)
        _predict(
            self._learnt["neighbours"],
            self._learnt["weights"],
            self._learnt["mean"],
            np.float32(self._learnt["overall"]),
            rated,
            np.ascontiguousarray(queries.history_value),
            whole(items, len(self._learnt["mean"])),
            out,
        )
        return out

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items that have the item among their neighbours, most similar first."""
        rows, weights = self._learnt["neighbours"], self._learnt["weights"]
        found = []
        liked = self._liked(queries)
        for row, strength, wanted in zip(liked, self._strength(liked), items, strict=True):
            history = row[row >= 0]
            near, close = rows[history], weights[history] * strength[row >= 0, None]
            found.append([_similar(history, np.where(near == item, close, 0).sum(axis=1), item) for item in wanted])
        return found

    def _liked(self, queries: Queries) -> Rows:
        return distinct_liked(queries, float(self._learnt["positive_from"]), len(self._learnt["neighbours"]))

    def state(self) -> Arrays:
        """Return "neighbours" and "weights" (N, neighbours), "mean" (N,), "overall" and "positive_from"."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""
        self._learnt = dict(arrays)


def _similar(history: Rows, weights: Scores, item: int) -> list[Reason]:
    order = np.argsort(-weights, kind="stable") if item >= 0 else np.empty(0, np.int64)
    return [Reason(int(history[i]), float(weights[i])) for i in order if weights[i] > 0]


@njit(cache=True, parallel=True)
def _cosines(
    user_start: Offsets,
    user_item: Rows,
    item_start: Offsets,
    item_user: Rows,
    shrinkage: float,
    rows: Rows,
    weights: Scores,
) -> None:
    n_items, lanes = len(item_start) - 1, 32
    norm = np.sqrt((item_start[1:] - item_start[:-1]).astype(np.float32))
    for lane in prange(lanes):
        common = np.zeros(n_items, np.int32)
        touched = np.empty(n_items, np.int32)
        for i in range(lane, n_items, lanes):
            work = 0
            for at in range(item_start[i], item_start[i + 1]):
                work += user_start[item_user[at] + 1] - user_start[item_user[at]]
            n_touched, dense = 0, 4 * work > n_items
            for at in range(item_start[i], item_start[i + 1]):
                user = item_user[at]
                if dense:
                    for other in range(user_start[user], user_start[user + 1]):
                        common[user_item[other]] += 1
                else:
                    for other in range(user_start[user], user_start[user + 1]):
                        j = user_item[other]
                        if common[j] == 0:
                            touched[n_touched] = j
                            n_touched += 1
                        common[j] += 1
            common[i] = 0
            best, near, size = weights[i], rows[i], 0
            for at in range(n_items if dense else n_touched):
                j = at if dense else touched[at]
                if common[j] > 0:
                    weight = np.float32(common[j] / (norm[i] * norm[j] + shrinkage))
                    common[j] = 0
                    if size < len(best) or weight >= best[0]:
                        size = offer(best, near, size, weight, j)
            settle(best, near, size)


@njit(cache=True, parallel=True)
def _correlations(
    user_start: Offsets,
    user_item: Rows,
    user_value: Scores,
    item_start: Offsets,
    item_user: Rows,
    item_value: Scores,
    centre: bool,
    shrinkage: float,
    rows: Rows,
    weights: Scores,
) -> None:
    n_items, lanes = len(item_start) - 1, 32
    for lane in prange(lanes):
        sums = np.zeros((n_items, 6))
        touched = np.empty(n_items, np.int32)
        for i in range(lane, n_items, lanes):
            n_touched = 0
            for at in range(item_start[i], item_start[i + 1]):
                user, x = item_user[at], item_value[at]
                for other in range(user_start[user], user_start[user + 1]):
                    j, y = user_item[other], user_value[other]
                    if j == i or np.isnan(x) or np.isnan(y):
                        continue
                    if sums[j, 0] == 0:
                        touched[n_touched] = j
                        n_touched += 1
                    _add(sums[j], x, y)
            size = 0
            for at in range(n_touched):
                j = touched[at]
                weight = np.float32(correlation(sums[j], centre, shrinkage))
                sums[j] = 0
                if weight > 0:
                    size = offer(weights[i], rows[i], size, weight, j)
            settle(weights[i], rows[i], size)


@njit(cache=True, nogil=True)
def _add(sums: NDArray[np.float64], x: float, y: float) -> None:
    sums[0] += 1
    sums[1] += x
    sums[2] += y
    sums[3] += x * y
    sums[4] += x * x
    sums[5] += y * y


@njit(cache=True, nogil=True)
def _sum_similarities(
    rows: Rows, weights: Scores, liked: Rows, strength: Scores, items: Rows, everything: bool, out: Scores
) -> None:
    total = np.empty(rows.shape[0], np.float32)
    for b in range(liked.shape[0]):
        total[:] = 0
        usable = False
        for t in range(liked.shape[1]):
            i = liked[b, t]
            if i < 0:
                continue
            for at in range(rows.shape[1]):
                if rows[i, at] < 0:
                    break
                usable = True
                total[rows[i, at]] += strength[b, t] * weights[i, at]
        for j in range(out.shape[1]):
            item = j if everything else items[b, j]
            out[b, j] = total[item] if usable and item >= 0 else -np.inf


@njit(cache=True, nogil=True)
def _predict(
    rows: Rows,
    weights: Scores,
    mean: Scores,
    centre: float,
    rated: Rows,
    value: Scores,
    items: Rows,
    out: Scores,
) -> None:
    above = np.empty(len(mean), np.float64)
    weight = np.empty(len(mean), np.float64)
    for b in range(rated.shape[0]):
        above[:] = 0
        weight[:] = 0
        for t in range(rated.shape[1]):
            i = rated[b, t]
            if i < 0:
                continue
            for at in range(rows.shape[1]):
                j = rows[i, at]
                if j < 0:
                    break
                above[j] += weights[i, at] * (value[b, t] - mean[i])
                weight[j] += weights[i, at]
        for j in range(items.shape[1]):
            item = items[b, j]
            if item < 0:
                out[b, j] = centre
            else:
                out[b, j] = mean[item] + (above[item] / weight[item] if weight[item] > 0 else 0)
