"""FA*IR: the least number of a group's items on every prefix of a ranking, by a test of given significance, exactly.

Zehlike et al., FA*IR: A Fair Top-k Ranking Algorithm, CIKM 2017. A fair ranking draws each item from the group with
probability p. A ranking is rejected if on any prefix its number of items of the group is in the lower tail of that
distribution; tails of one probability, the adjusted significance, are cut off on all prefixes. The probability that a
fair ranking is rejected is a step function of it, whose steps are values of the distribution functions. The largest
step that keeps the wanted significance is found by bisection over the sorted steps, with the exact probability at each.
(Bisection over real numbers, as in other implementations, can stop on the wrong side of a step.)
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def minimum_counts(k: int, share: float, significance: float, *, pool: int = 0) -> tuple[Counts, float]:
    """Return the least number of the group's items on the first 1, 2, ..., k slots, and the failure probability.

    The failure probability is that of a fair ranking, in which each slot is of the group with probability `share`, in
    (0, 1), to have too few on some prefix. It is at most `significance`, in (0, 1), and as near to it as one adjusted
    significance for all prefixes can be. `pool` is the number of items, at least k, that a ranking is drawn from
    without replacement, `share` of them, rounded, of the group; 0: draws are independent. O(k^2 log k).

    >>> minimum_counts(10, 0.5, 0.1)[0]
    array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    """
    _check(k, share, significance, pool)
    steps = np.unique(_tails(k, share, pool, significance))
    low, high = -1, len(steps)  # steps[low] keeps the significance, steps[high] does not
    table, failure = np.zeros(k, np.int64), 0.0
    while high - low > 1:
        middle = (low + high) // 2
        candidate = _table(k, share, pool, steps[middle])
        probability = failure_probability(candidate, share, pool=pool)
        if probability <= significance:
            low, table, failure = middle, candidate, probability
        else:
            high = middle
    return table, failure


def failure_probability(table: Counts, share: float, *, pool: int = 0) -> float:
    """Return the probability that a fair ranking has fewer of the group's items than the table on some prefix."""
    return float(_failure(np.asarray(table, np.int64), share, pool))


def _check(k: int, share: float, significance: float, pool: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    for name, value in (("share", share), ("significance", significance)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be in (0, 1), got {value}")
    if pool and pool < k:
        raise ValueError(f"pool must be at least k = {k}, got {pool}")


@njit(cache=True, nogil=True, inline="always")
def _chance(share: float, pool: int, group: int, slot: int, members: int) -> float:
    """Return the probability that a slot is of the group, after `slot` slots `members` of it."""
    if not pool:
        return share
    return max(0.0, group - members) / (pool - slot)


@njit(cache=True, nogil=True)
def _next(mass: Values, share: float, pool: int, group: int, slot: int) -> None:
    """Replace the distribution of the count after `slot` slots by that after one more, in place."""
    for x in range(slot + 1, -1, -1):
        stay = mass[x] * (1 - _chance(share, pool, group, slot, x)) if x <= slot else 0.0
        join = mass[x - 1] * _chance(share, pool, group, slot, x - 1) if x else 0.0
        mass[x] = stay + join


@njit(cache=True, nogil=True)
def _tails(k: int, share: float, pool: int, largest: float) -> Values:
    """Return the values of the distribution functions of the counts on all prefixes, those up to `largest`."""
    group = round(share * pool)
    found, n = np.empty(1024), 0
    mass = np.zeros(k + 1)
    mass[0] = 1.0
    for slot in range(k):
        _next(mass, share, pool, group, slot)
        tail = 0.0
        for x in range(slot + 2):
            tail += mass[x]
            if tail > largest:
                break
            if n == len(found):
                found = np.concatenate((found, np.empty_like(found)))
            found[n] = tail
            n += 1
    return found[:n]


@njit(cache=True, nogil=True)
def _table(k: int, share: float, pool: int, adjusted: float) -> Counts:
    """Return the least count on each prefix whose distribution function exceeds the adjusted significance, (k,)."""
    group = round(share * pool)
    table, mass = np.zeros(k, np.int64), np.zeros(k + 1)
    mass[0] = 1.0
    for slot in range(k):
        _next(mass, share, pool, group, slot)
        tail, x = mass[0], 0
        while tail <= adjusted and x <= slot:
            x += 1
            tail += mass[x]
        table[slot] = x
    return table


@njit(cache=True, nogil=True)
def _failure(table: Counts, share: float, pool: int) -> float:
    """Return the probability of too few on some prefix; `mass` holds the rankings that have not failed so far."""
    group = round(share * pool)
    mass = np.zeros(len(table) + 1)
    mass[0], failed = 1.0, 0.0
    for slot in range(len(table)):
        _next(mass, share, pool, group, slot)
        for x in range(min(table[slot], slot + 2)):
            failed += mass[x]
            mass[x] = 0.0
    return failed
