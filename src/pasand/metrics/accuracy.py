"""Accuracy metrics of ranked lists (precision, recall, hit rate, MRR, MAP, NDCG, AUC) over the first k positions.

These rules hold for every metric here. k 0 means the whole list. A query without relevant items is undefined: nan. A
list shorter than k counts as if misses followed. Lists are evaluated in the order given, so ties are broken by the
recommender. Only `NDCG` uses graded gains; for the others an item is relevant or not.
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
    """Share of the k positions that hold a relevant item; the denominator is k, also for short lists. In [0, 1]."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        found = hits(candidates, relevant, self.k)
        return _defined(found.sum(axis=1) / (self.k or max(found.shape[1], 1)), relevant)


@dataclass(frozen=True)
class Recall:
    """Share of all relevant items that are in the first k positions; below 1 where more than k are relevant."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _defined(hits(candidates, relevant, self.k).sum(axis=1) / _at_least_one(relevant.counts()), relevant)


@dataclass(frozen=True)
class CappedRecall:
    """Recall with the denominator min(k, number of relevant items), so that the best possible list always gets 1."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        counts = relevant.counts()
        best = np.minimum(counts, self.k) if self.k else counts
        return _defined(hits(candidates, relevant, self.k).sum(axis=1) / _at_least_one(best), relevant)


@dataclass(frozen=True)
class HitRate:
    """1 where at least one relevant item is in the first k positions, else 0."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        return _defined(np.any(hits(candidates, relevant, self.k), axis=1) * 1.0, relevant)


@dataclass(frozen=True)
class MRR:
    """Reciprocal rank: 1 / position of the first relevant item in the first k positions, 0 where there is none."""

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        found = hits(candidates, relevant, self.k)
        reciprocal = 1.0 / np.arange(1, found.shape[1] + 1)
        best: Values = np.max(found * reciprocal, axis=1, initial=0.0)
        return _defined(best, relevant)


@dataclass(frozen=True)
class MAP:
    """Average precision: sum of the precision at each hit in the first k positions, over the number of relevant items.

    As `map_cut` of trec_eval: the denominator is the number of relevant items, not min(k, relevant).
    """

    k: int

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        found = hits(candidates, relevant, self.k)
        precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
        return _defined((found * precision).sum(axis=1) / _at_least_one(relevant.counts()), relevant)


@dataclass(frozen=True)
class NDCG:
    """Sum of gain / log2(1 + position) over the first k positions, divided by that of the ideal list. In [0, 1].

    Gains are used as given (Järvelin and Kekäläinen 2002, log base 2), without 2^gain - 1.
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
    """Probability that a random relevant item of the catalogue is ranked above a random irrelevant one.

    Items outside the first k positions count as tied with each other, one half per pair, and below every listed item.
    The value is exact where the list holds the whole catalogue (`Relevance.catalogue` is its number of items). Listed
    items with equal scores are ordered by the list, not tied. nan also where every item of the catalogue is relevant.
    """

    k: int = 0

    def __call__(self, candidates: Candidates, relevant: Relevance) -> Values:
        items = _first(candidates.items, self.k)
        area: Values = _auc(items, hits(candidates, relevant, self.k), relevant.counts(), relevant.catalogue)
        return area


def hits(candidates: Candidates, relevant: Relevance, k: int) -> Mask:
    """Return which of the first k positions hold a relevant item, (B, min(k, K)); k 0: all positions."""
    return relevant.gain_of(_first(candidates.items, k)) > 0


def _first(items: Rows, k: int) -> Rows:
    return items[:, :k] if k else items


def _at_least_one(counts: Rows) -> Rows:
    return np.maximum(counts, 1)


def _discount(length: int) -> Values:
    discount: Values = 1.0 / np.log2(np.arange(2, length + 2))
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
        below, listed, wins = float(negatives), 0, 0.0
        for i in range(items.shape[1]):
            if found[b, i]:
                wins += below
                listed += 1
            elif items[b, i] >= 0:
                below -= 1
        wins += (counts[b] - listed) * below / 2
        out[b] = wins / (counts[b] * negatives)
    return out
