"""Random numbers that depend on counters alone, so that two simulations share them wherever they do the same thing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pasand.types import Array

GAMMA = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniform(*counters: int | Array) -> NDArray[np.float64]:
    """Return numbers in (0, 1) that look uniform and independent, one for each combination of whole numbers.

    The counters are broadcast against each other: (U, 1) users and (U, K) items give (U, K) numbers. The same counters
    give the same number in any batch, order and process. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood,
    Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), applied once for each counter.
    """
    state = np.zeros(np.broadcast_shapes(*(np.shape(counter) for counter in counters)), np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = _mixed((state ^ np.asarray(counter, np.int64).astype(np.uint64)) + GAMMA)
    return np.asarray((state >> np.uint64(11)) * 2.0**-53 + 2.0**-54)


def gumbel(*counters: int | Array) -> NDArray[np.float64]:
    """Return numbers of the standard Gumbel distribution, as `uniform` does."""
    return np.asarray(-np.log(-np.log(uniform(*counters))))


def normal(*counters: int | Array) -> NDArray[np.float64]:
    """Return numbers of the standard normal distribution, as `uniform` does."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniform(*counters)))


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * FIRST
    state = (state ^ (state >> np.uint64(27))) * SECOND
    mixed: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed
