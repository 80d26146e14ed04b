"""`Relevance`: the relevant items of test queries and their gains, which models never see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pasand.types import Rows, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """The relevant items of each query, and the gain of each."""

    items: Rows
    """(B, R) distinct rows; padding of -1 may be anywhere."""
    gains: Scores
    """(B, R) above 0; 1 where relevance is binary; ignored at padding."""
    catalogue: Rows
    """(B,) number of items that could have been returned to the query (allowed and not excluded)."""

    def __len__(self) -> int:
        return len(self.items)

    def counts(self) -> Rows:
        """Return the number of relevant items of each query; (B,)."""
        counts: Rows = np.count_nonzero(self.items >= 0, axis=1).astype(np.int32)
        return counts

    def gain_of(self, items: Rows) -> Scores:
        """Return the gain of each listed item, 0 where it is not relevant; (B, K) -> (B, K)."""
        out: Scores = _gain_of(np.ascontiguousarray(items), self.items, self.gains)
        return out


@njit(cache=True)
def _gain_of(items: Rows, relevant: Rows, gains: Scores) -> Scores:
    out = np.zeros(items.shape, np.float32)
    for b in range(items.shape[0]):
        for j in range(relevant.shape[1]):
            if relevant[b, j] < 0:
                continue
            for i in range(items.shape[1]):
                if items[b, i] == relevant[b, j]:
                    out[b, i] = gains[b, j]
                    break
    return out
