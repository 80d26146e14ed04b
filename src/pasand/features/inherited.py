"""Statistics that an item inherits from similar items, decay with its own events: one formula for all that counts.

With c the mean of the similar items' counts, weighted by similarity, n the item's own positives and a the days since
its first event or impression, an item inherits

    p * strength / (strength + n) * 2^(-a / half_life),  with p = x * strength / (strength + x) and x = discount * c,

further positives. This is the shrinkage of a prior of `strength` events: the inherited part is p without events, a half
of it at n = `strength`, and goes to 0. As p is below `strength`, an event never lowers the sum of both parts. A mean,
such as that of ratings, is (n * own + m * discount * inherited) / (n + m), m being the strength of that mean's prior.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand import growable
from pasand.layouts import Entry
from pasand.types import Array, Arrays, Rows, Times, Vectors

_DAY = 86_400
NEVER = np.iinfo(np.int64).min
"""Time from which an item ages that does not age, as it was never seen."""
_SHRINKAGE = 5.0
"""Number of ratings that inherited ratings count as; `ranking_statistics.SHRINKAGE`."""
LAYOUT = {
    "inherited_neighbour": Entry("int32", "N k", lowest=-1, below="N", optional=True),
    "inherited_share": Entry("float32", "N k", lowest=0, optional=True),
    "inherited_since": Entry("int64", "N", optional=True),
    "inherited_numbers": Entry("float64", "3", above=0, infinite=True, optional=True),
}
"""Arrays of a ranker that inherits: similar items, their shares, the day from which an item ages, and the numbers."""


def arrays(neighbour: Rows, share: Vectors, since: Times, numbers: Array) -> dict[str, Array]:
    """Return the arrays of a ranker whose items inherit; `since` (N,) is in seconds, `numbers` those of `Inheritance`.

    These are discount, strength and half-life in days.
    """
    day = np.where(since == NEVER, NEVER, np.floor_divide(since, _DAY))
    return {
        "inherited_neighbour": neighbour,
        "inherited_share": share,
        "inherited_since": day,
        "inherited_numbers": numbers,
    }


def extended(learnt: Arrays, neighbour: Rows, share: Vectors) -> dict[str, Array]:
    """Return the arrays of `arrays` with rows for new items, (n, k) each, which do not age."""
    return {
        "inherited_neighbour": growable.extended(learnt["inherited_neighbour"], neighbour),
        "inherited_share": growable.extended(learnt["inherited_share"], share),
        "inherited_since": growable.extended(learnt["inherited_since"], np.full(len(share), NEVER)),
    }


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """Positives that items inherit from similar ones; `pasand.features.inherited` defines how they decay."""

    count: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """(N,) x of each item, the discounted mean count of its similar items; (0,): nothing of any item."""
    since: Times = field(default_factory=lambda: np.empty(0, np.int64))
    """(N,) time in seconds from which the item ages; the lowest number: it does not."""
    strength: float = 1.0
    """Own positives at which half of the inherited ones are left."""
    half_life_days: float = np.inf
    """Days since then after which half of them are left."""

    def left(self, own: NDArray[np.float64], time: int) -> NDArray[np.float64]:
        """Return the inherited positives that are left at a time, given the own ones, (N,) -> (N,)."""
        age = np.where(self.since == NEVER, 0, time - np.maximum(self.since, 0))
        of_all: NDArray[np.float64] = remaining.py_func(self.count, own, age, self.strength, self.half_life_days * _DAY)
        return of_all


@njit(cache=True, nogil=True)
def remaining(x: float, n: float, age: float, strength: float, half_life: float) -> float:
    """Return what an item inherits, given x, its own positives and its age in the unit of the half-life.

    >>> remaining(20.0, 20.0, 0.0, 20.0, np.inf)
    5.0
    """
    shrunken = x * strength / (strength + x) * strength / (strength + n)
    value: float = shrunken * 2.0 ** (-np.maximum(age, 0.0) / half_life)
    return value


@njit(inline="always")
def left(i: int, own: float, time: int, inherited: tuple[Array, Array], decay: tuple[float, float]) -> float:
    """Return the inherited positives of an item that are left at a time, given its own of all time."""
    count, since = inherited
    if count[i] <= 0:
        return 0.0
    age = 0.0 if since[i] == NEVER else float(time - since[i])
    of_item: float = remaining(count[i], own, age, decay[0], decay[1])
    return of_item


def mean_of_similar(values: Array, neighbour: Rows, share: Vectors) -> Array:
    """Return the mean of the similar items' values, weighted by their shares, (N,), (n, k), (n, k) -> (n,) float64.

    It is 0 without similar items.

    >>> mean_of_similar(np.array([10.0, 30.0]), np.array([[0, 1], [-1, -1]]), np.array([[0.25, 0.75], [0, 0]]))
    array([25.,  0.])
    """
    if not len(values):
        return np.zeros(len(neighbour))
    mean: Array = (np.where(neighbour >= 0, values[neighbour], 0) * share).sum(axis=1, dtype=np.float64)
    return mean


@njit(cache=True, nogil=True)
def write_popularity(
    items: Rows,
    day: Times,
    since: Times,
    liked_day: Rows,
    liked_start: Array,
    neighbour: Rows,
    share: Vectors,
    numbers: Array,
    window: int,
    out: Array,
) -> None:
    """Write log(1 + positives), inherited ones included, of pairs, (B, K, 2): before a day, and within a window.

    `day` (B,) and `since` (N,) are days; items that do not age have the lowest number.
    Everything is counted up to the day before, of the similar items, too.
    """
    discount, strength, half_life = numbers
    for b in range(len(items)):
        for k in range(items.shape[1]):
            i = items[b, k]
            if i < 0 or i >= len(neighbour):
                continue
            days = liked_day[liked_start[i] : liked_start[i + 1]]
            own = np.searchsorted(days, day[b])
            recent = own - np.searchsorted(days, day[b] - window)
            of_all, of_recent = 0.0, 0.0
            for c in range(neighbour.shape[1]):
                j = neighbour[i, c]
                if j >= 0:
                    days = liked_day[liked_start[j] : liked_start[j + 1]]
                    n = np.searchsorted(days, day[b])
                    of_all += share[i, c] * n
                    of_recent += share[i, c] * (n - np.searchsorted(days, day[b] - window))
            age = 0.0 if since[i] == NEVER else float(day[b] - since[i])
            out[b, k, 0] = np.log1p(own + remaining(discount * of_all, own, age, strength, half_life))
            out[b, k, 1] = np.log1p(recent + remaining(discount * of_recent, own, age, strength, half_life))


@njit(cache=True, nogil=True)
def write_mean_rating(
    items: Rows,
    time: Times,
    neighbour: Rows,
    share: Vectors,
    discount: float,
    rated_day: Rows,
    rated_sum: Array,
    rated_start: Array,
    mean_day: Rows,
    means: Array,
    out: Array,
) -> None:
    """Add to the shrunken mean rating of pairs, (B, K), nan where there is none, what items inherit at the query's day.

    The own mean is a sum over n + 5; the similar items' means, shrunken as well, count as 5 ratings.
    """
    for b in range(len(items)):
        day = time[b] // _DAY
        upto = np.searchsorted(mean_day, day)
        for k in range(items.shape[1]):
            i = items[b, k]
            if not upto or i < 0 or i >= len(neighbour):
                continue
            total, known = 0.0, False
            for c in range(neighbour.shape[1]):
                j = neighbour[i, c]
                if j >= 0:
                    begin = rated_start[j]
                    n = np.searchsorted(rated_day[begin : rated_start[j + 1]], day)
                    if n:
                        known = True
                        deviations = rated_sum[begin + n] - rated_sum[begin] - n * means[upto - 1]
                        total += share[i, c] * deviations / (n + _SHRINKAGE)
            if known:
                n = np.searchsorted(rated_day[rated_start[i] : rated_start[i + 1]], day)
                own = 0.0 if np.isnan(out[b, k]) else out[b, k]
                out[b, k] = own + _SHRINKAGE / (n + _SHRINKAGE) * discount * total
