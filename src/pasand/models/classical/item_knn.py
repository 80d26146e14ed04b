"""Item kNN: items similar to those that the user liked (Sarwar et al. 2001; shrinkage as in Koren 2008)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.features.strengths import Weighting, check_weighting, median, of_histories, summed
from pasand.features.strengths import weights as event_weights
from pasand.features.training_weights import weighted
from pasand.layouts import Entry, check
from pasand.models.classical.neighbours import (
    Pairs,
    correlation,
    distinct,
    distinct_liked,
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

if TYPE_CHECKING:
    from scipy import sparse

LAYOUT = {
    "neighbours": Entry("int32", "N K", lowest=-1, below="N"),
    "weights": Entry("float32", "N K"),
    "mean": Entry("float32", "N"),
    "overall": Entry("float32"),
    "scale": Entry("float32", "2", infinite=True, optional=True),
    "strength_unit": Entry("number", lowest=0, optional=True),
    "positive_from": Entry("number", infinite=True),
}


@dataclass(kw_only=True)
class ItemKNN:
    """Scores an item by the summed similarity of the liked history items that have it among their neighbours.

    An item is not its own neighbour, and only positive similarities count. Of equally similar items the lower row is
    the nearer neighbour.
    """

    uses_training_weights: ClassVar[bool] = True
    neighbours: int = 50
    """Number of neighbours kept for each item, at least 1."""
    similarity: Literal["cosine", "pearson", "adjusted"] = "cosine"
    """"cosine" of the users who liked the items; "pearson" correlation of the ratings of common raters; "adjusted"
    cosine: of ratings less their users' means, over common raters. The last two need ratings."""
    shrinkage: float = 10.0
    """Shrinks similarities with little support towards 0: added to the cosine's denominator, and as n / (n + shrinkage)
    on correlations over n common raters."""
    history_decay: float = 1.0
    """Weight of a liked item of the history relative to the next later one, above 0 and at most 1; 1: all weigh the
    same. Predicted ratings do not use it."""
    weighting: Weighting = "log"
    """Weight of a positive by its strength r, such as plays, with m the median: "linear" r / m, "log" log2(1 + r / m),
    "none" 1; data without strengths have weights of 1. They weigh users in the cosine, and items in the history."""
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if self.similarity not in ("cosine", "pearson", "adjusted"):
            raise ValueError(f"similarity must be cosine, pearson or adjusted, got {self.similarity!r}")
        if not self.shrinkage >= 0:
            raise ValueError(f"shrinkage must not be negative, got {self.shrinkage}")
        if not 0 < self.history_decay <= 1:
            raise ValueError(f"history_decay must be above 0 and at most 1, got {self.history_decay}")
        check_weighting(self.weighting)
        check_numbers(self)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Find the nearest neighbours of each item."""
        if self.similarity != "cosine" and data.value is None:
            raise InputError(
                data.name, cause=f"item_knn by {self.similarity} needs ratings", cure='use similarity = "cosine"'
            )
        unit, strength = 0.0, summed(data)
        if strength is not None and self.weighting != "none":
            unit = median(strength.data)
            strength.data = event_weights(strength.data, unit, self.weighting)
        if self.similarity == "cosine":
            rows, weights = self._by_positives(
                weighted(data.matrix() if unit == 0 or strength is None else strength, data, root=True)
            )
        else:
            rows, weights = self._by_ratings(data)
        item_mean, mean = np.zeros(data.n_items, np.float32), 0.0
        if data.value is not None:
            pairs = latest(data)
            mean = overall_mean(pairs)
            item_mean = group_means(pairs.transposed(data.n_items), mean)
        self._learnt = {
            "neighbours": rows,
            "weights": weights,
            "mean": item_mean,
            "overall": np.array(mean, np.float32),
            "scale": rating_scale(data),
            "strength_unit": np.array(unit),
            "positive_from": np.array(data.positive_from),
        }
        return self

    def _by_positives(self, by_user: sparse.csr_array) -> tuple[Rows, Scores]:
        by_item = by_user.T.tocsr()
        rows, weights = self._no_neighbours(by_user.shape[1])
        _cosines(
            by_user.indptr.astype(np.int64),
            by_user.indices.astype(np.int32),
            by_user.data,
            by_item.indptr.astype(np.int64),
            by_item.indices.astype(np.int32),
            by_item.data,
            np.sqrt(by_item.power(2).sum(axis=1).astype(np.float32)),
            np.float32(self.shrinkage),
            rows,
            weights,
        )
        return rows, weights

    def _by_ratings(self, data: Dataset) -> tuple[Rows, Scores]:
        pairs = latest(data)
        if self.similarity == "adjusted":
            users = np.repeat(np.arange(data.n_users), np.diff(pairs.start))
            pairs = Pairs(start=pairs.start, row=pairs.row, value=pairs.value - group_means(pairs, 0)[users])
        by_item = pairs.transposed(data.n_items)
        rows, weights = self._no_neighbours(data.n_items)
        _correlations(
            pairs.start,
            pairs.row,
            pairs.value,
            by_item.start,
            by_item.row,
            by_item.value,
            self.similarity == "pearson",
            float(self.shrinkage),
            rows,
            weights,
        )
        return rows, weights

    def _no_neighbours(self, n_items: int) -> tuple[Rows, Scores]:
        """Return rows of -1 and weights of 0, (N, neighbours) each, to be filled."""
        shape = (n_items, min(self.neighbours, max(n_items - 1, 1)))
        return np.full(shape, -1, np.int32), np.zeros(shape, np.float32)

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return summed similarities, at least 0; -inf for a query whose liked items have no neighbours."""
        rows, weights = self._learnt["neighbours"], self._learnt["weights"]
        liked = self._liked(queries)
        wanted = kernel_items(items, len(rows))
        out = np.empty((len(queries), len(rows)) if items is None else items.shape, np.float32)
        _sum_similarities(rows, weights, liked, self._history_weights(liked, queries), wanted, items is None, out)
        return out

    def _history_weights(self, liked: Rows, queries: Queries) -> Scores:
        """Return the weight of each liked item: its decay, 1 for the latest, times that of its strength; (B, H)."""
        later = (liked >= 0)[:, ::-1].cumsum(axis=1)[:, ::-1] - 1
        weights: Scores = np.power(np.float32(self.history_decay), np.maximum(later, 0).astype(np.float32))
        unit = float(self._learnt.get("strength_unit", 0.0))
        if unit:
            weights *= of_histories(liked, queries.history, queries.history_value, unit, self.weighting)
        return weights

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return the item's mean plus the weighted mean deviation of the history's ratings from their items' means.

        The weights are similarities, and only history items that have the item among their neighbours count. Without
        any, the result is the item's mean; for an unknown item it is the mean of all ratings (0 for data without
        ratings). Predictions lie within the scale seen in training.
        """
        rated = distinct(
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
            kernel_items(items, len(self._learnt["mean"])),
            out,
        )
        return within_scale(out, self._learnt)

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the liked history items that have the item among their neighbours, most similar first."""
        rows, weights = self._learnt["neighbours"], self._learnt["weights"]
        reasons = []
        liked = self._liked(queries)
        for row, own_weights, candidates in zip(liked, self._history_weights(liked, queries), items, strict=True):
            history = row[row >= 0]
            near, added = rows[history], weights[history] * own_weights[row >= 0, None]
            shares = [np.where(near == item, added, 0).sum(axis=1) for item in candidates]
            reasons.append([_similar(history, share, item) for share, item in zip(shares, candidates, strict=True)])
        return reasons

    def _liked(self, queries: Queries) -> Rows:
        return distinct_liked(queries, float(self._learnt["positive_from"]), len(self._learnt["neighbours"]))

    def memory_needed(self, data: Dataset) -> int:
        """Return the peak bytes of a fit beside the data: neighbours, sums of each thread, and the pairs twice."""
        return (8 * self.neighbours + 56 * int(get_num_threads())) * data.n_items + 40 * len(data)

    def state(self) -> Arrays:
        """Return "neighbours", "weights" (N, neighbours), "mean" (N,), "scale" (2,) and three numbers of the data."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT)
        self._learnt = dict(arrays)


def _similar(history: Rows, weights: Scores, item: int) -> list[Reason]:
    order = np.argsort(-weights, kind="stable") if item >= 0 else np.empty(0, np.int64)
    return [Reason(int(history[i]), float(weights[i])) for i in order if weights[i] > 0]


@njit(cache=True, parallel=True)
def _cosines(
    user_start: Offsets,
    user_item: Rows,
    user_weight: Scores,
    item_start: Offsets,
    item_user: Rows,
    item_weight: Scores,
    norm: Scores,
    shrinkage: float,
    rows: Rows,
    weights: Scores,
) -> None:
    n_items, lanes = len(item_start) - 1, 32
    for lane in prange(lanes):
        common = np.zeros(n_items, np.float32)
        touched = np.empty(n_items, np.int32)
        for i in range(lane, n_items, lanes):
            work = 0
            for at in range(item_start[i], item_start[i + 1]):
                work += user_start[item_user[at] + 1] - user_start[item_user[at]]
            n_touched, dense = 0, 4 * work > n_items
            for at in range(item_start[i], item_start[i + 1]):
                user, own = item_user[at], item_weight[at]
                if dense:
                    for other in range(user_start[user], user_start[user + 1]):
                        common[user_item[other]] += own * user_weight[other]
                else:
                    for other in range(user_start[user], user_start[user + 1]):
                        j = user_item[other]
                        if common[j] == 0:
                            touched[n_touched] = j
                            n_touched += 1
                        common[j] += own * user_weight[other]
            common[i] = 0
            best, near, size = weights[i], rows[i], np.int64(0)
            for at in range(n_items if dense else n_touched):
                j = at if dense else touched[at]
                if common[j] > 0:
                    weight = np.float32(np.float64(common[j]) / (norm[i] * norm[j] + shrinkage))
                    common[j] = 0
                    if size < len(best) or weight >= best[0]:
                        size = push(best, near, size, weight, np.int64(j))
            sort_heap(best, near, size)


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
            size = np.int64(0)
            for at in range(n_touched):
                j = touched[at]
                weight = np.float32(correlation(sums[j], centre, shrinkage))
                sums[j] = 0
                if weight > 0:
                    size = push(weights[i], rows[i], size, weight, np.int64(j))
            sort_heap(weights[i], rows[i], size)


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
    rows: Rows, weights: Scores, liked: Rows, history_weights: Scores, items: Rows, all_items: bool, out: Scores
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
                total[rows[i, at]] += history_weights[b, t] * weights[i, at]
        for j in range(out.shape[1]):
            item = j if all_items else items[b, j]
            out[b, j] = total[item] if usable and item >= 0 else -np.inf


@njit(cache=True, nogil=True)
def _predict(
    rows: Rows,
    weights: Scores,
    mean: Scores,
    overall: float,
    rated: Rows,
    value: Scores,
    items: Rows,
    out: Scores,
) -> None:
    deviation = np.empty(len(mean), np.float64)
    weight = np.empty(len(mean), np.float64)
    for b in range(rated.shape[0]):
        deviation[:] = 0
        weight[:] = 0
        for t in range(rated.shape[1]):
            i = rated[b, t]
            if i < 0:
                continue
            for at in range(rows.shape[1]):
                j = rows[i, at]
                if j < 0:
                    break
                deviation[j] += weights[i, at] * (value[b, t] - mean[i])
                weight[j] += weights[i, at]
        for j in range(items.shape[1]):
            item = items[b, j]
            if item < 0:
                out[b, j] = overall
            else:
                out[b, j] = mean[item] + (deviation[item] / weight[item] if weight[item] > 0 else 0)
