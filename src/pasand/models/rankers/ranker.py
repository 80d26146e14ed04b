"""What every deep ranker shares: a network reads query and item at once and gives a logit. Needs no torch to answer.

A model file inherits `DeepRanker` and supplies the inputs of a pair, its network and its task.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from pasand.models.deep_model import DeepModel
from pasand.training.validation import ValidationSplit
from pasand.types import Array, Mask, Queries, Rows, Scores, within

PAIRS = 1 << 16
"""Pairs of query and item whose inputs are held at once."""
AGAINST = 200
"""Items, drawn once for each withheld liking, that it is ranked among; all items would take too long."""


@dataclass(kw_only=True)
class DeepRanker(DeepModel):
    """Scores each pair of query and item by a network that reads both at once."""

    # what a model supplies

    @abstractmethod
    def _inputs(self, queries: Queries, items: Rows) -> dict[str, Array]:
        """Return what the network reads of each pair, (B, K) -> (B * K, ...) each: int64 codes, float32 numbers."""

    @abstractmethod
    def _answerable(self, queries: Queries) -> Mask:
        """Return which queries hold what the model needs, (B,)."""

    # what a model gets

    def _examples(self, example: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        return {"rank": self._inputs(example, rows[:, None])}

    def _validation(self, held: ValidationSplit) -> Callable[[], float]:
        """Return what computes the mean NDCG@10 of withheld likings, each among `AGAINST` items that were drawn once.

        Items of equal score count as better than the liking, and those of the history are not drawn.
        """
        queries = held.queries.take(held.query)
        known = np.flatnonzero(self._learnt["known"]).astype(np.int32)
        drawn = np.random.default_rng(0).choice(known, (len(queries), min(AGAINST, len(known))))
        met = (drawn == held.item[:, None]) | _in_history(queries.history, drawn, len(self._learnt["known"]))
        items = np.column_stack([held.item, np.where(met, np.int32(-1), drawn)])

        def ndcg() -> float:
            scores = self.score(queries, items)
            rank = (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
            rank[np.isneginf(scores[:, 0])] = 10
            return float(np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean()) if len(rank) else 0.0

        return ndcg

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return logits; -inf where the query lacks what the model needs, and for items that it knows nothing of."""
        known: Mask = self._learnt["known"]
        if items is None:
            items = np.broadcast_to(np.arange(len(known), dtype=np.int32), (len(queries), len(known)))
        items = np.ascontiguousarray(within(items, len(known)))
        if not items.size:
            return np.empty(items.shape, np.float32)
        answerable = self._answerable(queries)
        if items.size <= PAIRS and answerable.all():
            out = np.ascontiguousarray(self._logits(queries.within(len(known)), items))
        else:
            out = self._in_parts(queries, items, np.flatnonzero(answerable))
        _silence(out, items, known, answerable)
        return out

    def _in_parts(self, queries: Queries, items: Rows, answerable: Array) -> Scores:
        """Return the logits of the answerable queries, of so many pairs at once as may be held."""
        out = np.empty(items.shape, np.float32)
        wide = min(items.shape[1], PAIRS)
        part = max(1, PAIRS // wide)
        for at in range(0, len(answerable), part):
            which = answerable[at : at + part]
            asked = queries.take(which).within(len(self._learnt["known"]))
            for begin in range(0, items.shape[1], wide):
                some = np.ascontiguousarray(items[which, begin : begin + wide])
                out[which, begin : begin + wide] = self._logits(asked, some)
        return out

    def _logits(self, queries: Queries, items: Rows) -> Scores:
        """Return what the network gives, (B, K) each."""
        return self._run("rank", self._inputs(queries, items)).reshape(items.shape)

    def _width(self) -> int:
        return 1


@njit(cache=True, nogil=True)
def _silence(scores: Scores, items: Rows, known: Mask, answerable: Mask) -> None:
    """Set the scores, (B, K), of items that are not known and of queries that cannot be answered to -inf."""
    for b in range(len(scores)):
        for k in range(scores.shape[1]):
            if not answerable[b] or items[b, k] < 0 or not known[items[b, k]]:
                scores[b, k] = -np.inf


def _in_history(history: Rows, items: Rows, n_items: int) -> Mask:
    """Return which items, (B, K), stand in the query's history, (B, H)."""
    found = np.empty(items.shape, np.bool_)
    marked = np.zeros(n_items + 1, np.bool_)
    for b in range(len(items)):
        marked[history[b]] = True
        marked[-1] = False
        found[b] = marked[items[b]]
        marked[history[b]] = False
    return found
