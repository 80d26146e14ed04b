"""Metrics of exposure (coverage, Gini): how the first k positions of all lists are spread over the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Coverage:
    """Share of the catalogue that was recommended to at least one user; in [0, 1], 0 for an empty catalogue."""

    k: int

    def __call__(self, exposure: NDArray[np.float64]) -> float:
        return np.count_nonzero(exposure) / len(exposure) if len(exposure) else 0.0


@dataclass(frozen=True)
class Gini:
    """Gini coefficient of exposure over the whole catalogue: 0 where it is equal, near 1 where one item has all of it.

    It is the mean absolute difference of the exposure of two items, over twice the mean. Items that were never
    recommended are included. nan where there is no exposure.
    """

    k: int

    def __call__(self, exposure: NDArray[np.float64]) -> float:
        total, n = exposure.sum(), len(exposure)
        if not total:
            return float("nan")
        shown = np.sort(exposure[exposure > 0])
        ranks = np.arange(n - len(shown) + 1, n + 1)
        return float(((2 * ranks - n - 1) * shown).sum() / (n * total))
