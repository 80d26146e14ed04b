"""`DPP`: greedy MAP inference of a determinantal point process, which penalises what the chosen items explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.diversity.diversifying import Diversifying
from pasand.reranking.diversity.mmr import fill_rest
from pasand.reranking.diversity.similarity import Compared, similarities

NOISE = 0.01
"""Share of an item's own variance that no other item explains, so that determinants of equal items are above 0."""


@dataclass
class DPP(Diversifying):
    """Chooses one after the other the item that adds most to the log determinant of a kernel of the chosen items.

    With similarities S, in which `NOISE` of each item is its own, and scores s in the units of `Diversifying`, the
    kernel is diag(q) S diag(q) with q = exp(s / (2 strength)). An item adds its score plus `strength` times the log of
    the share of its variance that the chosen items leave unexplained; that penalty is 0 for an item unlike all of them,
    and at most strength x 4.6. Unlike `MMR` it counts what several chosen items explain together. Chen, Zhang & Zhou,
    Fast Greedy MAP Inference for Determinantal Point Process to Improve Recommendation Diversity, NeurIPS 2018,
    algorithm 1: an incremental Cholesky factor, n k^2 operations.
    """

    strength: float = 0.1

    def chosen(self, scores: Values, compared: Compared, k: int, weight: float) -> tuple[Counts, Values]:
        """Return the candidates in their new order, and their scores in that order, (n,) each."""
        order, values = dpp_order(scores, compared, k, weight)
        return order, values


@njit(cache=True, nogil=True)
def dpp_order(scores: Values, compared: Compared, k: int, weight: float) -> tuple[Counts, Values]:
    """Return positions of candidates, the k chosen ones first, and their values in that order, (n,) each."""
    n = len(scores)
    values, variance, row = scores.copy(), np.ones(n), np.empty(n)
    factor = np.empty((k, n))
    left, order, out = np.ones(n, np.bool_), np.empty(n, np.int64), np.empty(n)
    for j in range(k):
        best = -1
        for i in range(n):
            if left[i] and (best < 0 or values[i] > values[best]):
                best = i
        order[j], out[j], left[best] = best, values[best], False
        similarities(best, compared, row)
        row *= 1 - NOISE
        for m in range(j):
            row -= factor[m, best] * factor[m]
        factor[j] = row / np.sqrt(variance[best])
        for i in range(n):
            if left[i]:
                variance[i] = max(NOISE, variance[i] - factor[j, i] ** 2)
                values[i] = scores[i] + weight * np.log(variance[i])
    fill_rest(k, values, left, order, out)
    return order, out
