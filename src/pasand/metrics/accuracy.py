"""How well lists hit what was really liked. All over the first k places; k 0: the whole list.

Rules that hold for every metric here. A query with nothing relevant is undefined: nan. A list shorter than k counts as
if misses followed. Lists are judged in the order given: ties are the recommender's to break. Only `NDCG` uses graded
gains; for the others an item is relevant or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.data.relevance import Relevance
from pasand.types import Array, Candidates, Mask, Rows

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """Share of the k places that hold a relevant item; the denominator is k, also for short lists. In [0, 1]."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        found = hits(candidates, relevant, self.k)
        return _defined(found.sum(axis=1) / (self.k or max(found.shape[1], 1)), relevant)


@dataclass(frozen=True)
class Recall:
    """Share of all relevant items that stand in the first k places; cannot reach 1 where more than k are relevant."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _defined(hits(candidates, relevant, self.k).sum(axis=1) / _at_least_one(relevant.counts()), relevant)


@dataclass(frozen=True)
class CappedRecall:
    """Recall with the denominator min(k, relevant items), so that the best possible list always has 1."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        counts = relevant.counts()
        best = np.minimum(counts, self.k) if self.k else counts
        return _defined(hits(candidates, relevant, self.k).sum(axis=1) / _at_least_one(best), relevant)


@dataclass(frozen=True)
class HitRate:
    """1 where at least one relevant item stands in the first k places, else 0."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _defined(np.any(hits(candidates, relevant, self.k), axis=1) * 1.0, relevant)


@dataclass(frozen=True)
class MRR:
    """1 / place of the first relevant item in the first k places, 0 where there is none."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        found = hits(candidates, relevant, self.k)
        places = 1.0 / np.arange(1, found.shape[1] + 1)
        first: Values = np.max(found * places, axis=1, initial=0.0)
        return _defined(first, relevant)


@dataclass(frozen=True)
class MAP:
    """Average precision: the precision at the place of each hit in the first k, summed, over all relevant items.

    As trec_eval's `map_cut`: the denominator is the number of relevant items, not min(k, relevant).
    """

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        found = hits(candidates, relevant, self.k)
        precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
        return _defined((found * precision).sum(axis=1) / _at_least_one(relevant.counts()), relevant)


@dataclass(frozen=True)
class NDCG:
    """Sum of gain / log2(1 + place) over the first k places, divided by what the best list of k would have. In [0, 1].

    Gains count as they are given (Järvelin and Kekäläinen 2002, log base 2), without 2^gain - 1.
    """

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        gains = relevant.gain_of(_first(candidates.items, self.k)).astype(np.float64)
        best = -np.sort(-np.where(relevant.items >= 0, relevant.gains, 0), axis=1).astype(np.float64)
        best = best[:, : self.k or None]
        ideal = (best * _discount(best.shape[1])).sum(axis=1)
        return _defined((gains * _discount(gains.shape[1])).sum(axis=1) / np.where(ideal > 0, ideal, 1), relevant)


@dataclass(frozen=True)
class AUC:
    """Probability that a relevant item stands above one that is not, both drawn at random from the catalogue.

    Items outside the first k places count as tied with each other, one half a pair, below everything listed. Exact when
    the list holds the whole catalogue (`Relevance.catalogue` says how many items there are); listed items whose scores
    are equal are ordered by the list, not tied. nan also where every item of the catalogue is relevant.
    """

    k: int = 0

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        items = _first(candidates.items, self.k)
        above: Values = _auc(items, hits(candidates, relevant, self.k), relevant.counts(), relevant.catalogue)
        return above


def hits(candidates: Candidates, relevant: Relevance, k: int) -> Mask:
    """Return which of the first k places hold a relevant item; (B, min(k, K)), k 0: all places."""
    return relevant.gain_of(_first(candidates.items, k)) > 0


def _first(items: Rows, k: int) -> Rows:
    return items[:, :k] if k else items


def _at_least_one(counts: Rows) -> Rows:
    return np.maximum(counts, 1)


def _discount(places: int) -> Values:
    discount: Values = 1.0 / np.log2(np.arange(2, places + 2))
    return discount


def _defined(values: Array, relevant: Relevance) -> Values:
    return np.where(relevant.counts() > 0, values, np.nan)


@njit(cache=True)
def _auc(items: Rows, found: Mask, counts: Rows, catalogue: Rows) -> Values:
    out = np.full(len(items), np.nan)
    for b in range(len(items)):
        negatives = catalogue[b] - counts[b]
        if counts[b] == 0 or negatives <= 0:
            continue
        below, listed, won = float(negatives), 0, 0.0
        for i in range(items.shape[1]):
            if found[b, i]:
                won += below
                listed += 1
            elif items[b, i] >= 0:
                below -= 1
        won += (counts[b] - listed) * below / 2
        out[b] = won / (counts[b] * negatives)
    return out
