"""`MMR`: maximal marginal relevance, which penalises each item by its similarity to the nearest item before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.diversity.diversifying import Diversifying
from pasand.reranking.diversity.similarity import Compared, similarities


@dataclass
class MMR(Diversifying):
    """Chooses one after the other the item with the highest score less its similarity to the nearest chosen one.

    The penalty is `strength` times that similarity, which counts as 0 if it is negative. Carbonell & Goldstein, The use
    of MMR, SIGIR 1998, with a strength of (1 - lambda) / lambda in the units of `Diversifying`. Similarities are
    computed for the k chosen items only, each once.
    """

    def chosen(self, scores: Values, compared: Compared, k: int, weight: float) -> tuple[Counts, Values]:
        """Return the candidates in their new order, and their scores in that order, (n,) each."""
        order, values = mmr_order(scores, compared, k, weight)
        return order, values


@njit(cache=True, nogil=True)
def mmr_order(scores: Values, compared: Compared, k: int, weight: float) -> tuple[Counts, Values]:
    """Return positions of candidates, the k chosen ones first, and their values in that order, (n,) each."""
    n = len(scores)
    values, nearest, similar = scores.copy(), np.zeros(n), np.empty(n)
    left, order, out = np.ones(n, np.bool_), np.empty(n, np.int64), np.empty(n)
    for j in range(k):
        best = -1
        for i in range(n):
            if left[i] and (best < 0 or values[i] > values[best]):
                best = i
        order[j], out[j], left[best] = best, values[best], False
        similarities(best, compared, similar)
        for i in range(n):
            if similar[i] > nearest[i]:
                nearest[i] = similar[i]
                values[i] = scores[i] - weight * nearest[i]
    fill_rest(k, values, left, order, out)
    return order, out


@njit(cache=True, nogil=True)
def fill_rest(k: int, values: Values, left: Counts, order: Counts, out: Values) -> None:
    """Fill `order` and `out` from k on with the candidates that are left, by falling value; ties keep their order."""
    rest = np.flatnonzero(left)
    by_value = rest[np.argsort(-values[rest], kind="mergesort")]
    for j in range(len(rest)):
        order[k + j], out[k + j] = by_value[j], values[by_value[j]]
