"""How a run spreads its places over the catalogue: one number for all lists together, over their first k places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Coverage:
    """Share of the catalogue that was shown to anyone at all; in [0, 1], 0 for an empty catalogue."""

    k: int

    def __call__(self, exposure: NDArray[np.float64]) -> float:
        return np.count_nonzero(exposure) / len(exposure) if len(exposure) else 0.0


@dataclass(frozen=True)
class Gini:
    """Inequality of exposure over the whole catalogue, items never shown included: 0 all equal, towards 1 one has all.

    The mean absolute difference of two items' exposure over twice the mean; nan where nothing was shown.
    """

    k: int

    def __call__(self, exposure: NDArray[np.float64]) -> float:
        total, n = exposure.sum(), len(exposure)
        if not total:
            return float("nan")
        shown = np.sort(exposure[exposure > 0])
        ranks = np.arange(n - len(shown) + 1, n + 1)
        return float(((2 * ranks - n - 1) * shown).sum() / (n * total))
