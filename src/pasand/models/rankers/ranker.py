"""Base class of the deep rankers: a network reads query and item together and returns a logit.

A model inherits `DeepRanker` and implements the inputs of a pair, the network and the training task. Importing it needs
no torch.
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
"""Pairs of query and item whose inputs are in memory at once."""
VALIDATION_NEGATIVES = 200
"""Items sampled once for each held-out positive, which is ranked among them; all items would take too long."""


@dataclass(kw_only=True)
class DeepRanker(DeepModel):
    """Scores each pair of query and item by a network that reads both together."""

    # implemented by each model

    @abstractmethod
    def _inputs(self, queries: Queries, items: Rows) -> dict[str, Array]:
        """Return the network's inputs of each pair by name, (B, K) -> (B * K, ...): int64 codes, float32 numbers."""

    @abstractmethod
    def _can_score(self, queries: Queries) -> Mask:
        """Return which queries have the inputs that the model needs, (B,)."""

    # provided to each model

    def _trace_inputs(self, queries: Queries, rows: Rows) -> dict[str, dict[str, Array]]:
        return {"rank": self._inputs(queries, rows[:, None])}

    def _validation(self, split: ValidationSplit) -> Callable[[], float]:
        """Return a function that computes the mean NDCG@10 of held-out positives, each among sampled items.

        Items of equal score rank above the positive. Sampled items of the history are left out.
        """
        queries = split.queries.take(split.query)
        known = np.flatnonzero(self._learnt["known"]).astype(np.int32)
        n_negatives = min(VALIDATION_NEGATIVES, len(known))
        negatives = np.random.default_rng(0).choice(known, (len(queries), n_negatives))
        in_history = _in_history(queries.history, negatives, len(self._learnt["known"]))
        excluded = (negatives == split.item[:, None]) | in_history
        items = np.column_stack([split.item, np.where(excluded, np.int32(-1), negatives)])

        def ndcg() -> float:
            scores = self.score(queries, items)
            rank = (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
            rank[np.isneginf(scores[:, 0])] = 10
            return float(np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean()) if len(rank) else 0.0

        return ndcg

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return logits; -inf for queries that lack the model's inputs, and for items unknown to the model."""
        known: Mask = self._learnt["known"]
        if items is None:
            items = np.broadcast_to(np.arange(len(known), dtype=np.int32), (len(queries), len(known)))
        items = np.ascontiguousarray(within(items, len(known)))
        if not items.size:
            return np.empty(items.shape, np.float32)
        scorable = self._can_score(queries)
        if items.size <= PAIRS and scorable.all():
            out = np.ascontiguousarray(self._logits(queries.within(len(known)), items))
        else:
            out = self._in_parts(queries, items, np.flatnonzero(scorable))
        _mask_unknown(out, items, known, scorable)
        return out

    def _in_parts(self, queries: Queries, items: Rows, scorable: Array) -> Scores:
        """Return the logits of the queries with these indices, `PAIRS` pairs at a time; the others are undefined."""
        out = np.empty(items.shape, np.float32)
        width = min(items.shape[1], PAIRS)
        part = max(1, PAIRS // width)
        for at in range(0, len(scorable), part):
            rows = scorable[at : at + part]
            part_queries = queries.take(rows).within(len(self._learnt["known"]))
            for begin in range(0, items.shape[1], width):
                part_items = np.ascontiguousarray(items[rows, begin : begin + width])
                out[rows, begin : begin + width] = self._logits(part_queries, part_items)
        return out

    def _predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings within the scale; the mean rating for users and items unknown to the model.

        It needs "label_scale" among the learnt arrays: mean, deviation, lowest and highest of the ratings, (4,).
        """
        mean, deviation, low, high = self._learnt["label_scale"].tolist()
        scores = self.score(queries, items)
        ratings: Scores = np.clip(mean + deviation * np.where(np.isfinite(scores), scores, 0), low, high)
        return ratings.astype(np.float32)

    def _logits(self, queries: Queries, items: Rows) -> Scores:
        """Return the outputs of the network, (B, K)."""
        return self._run("rank", self._inputs(queries, items)).reshape(items.shape)

    def _width(self) -> int:
        return 1


@njit(cache=True, nogil=True)
def _mask_unknown(scores: Scores, items: Rows, known: Mask, scorable: Mask) -> None:
    """Set the scores, (B, K), of unknown items and of queries that cannot be scored to -inf."""
    for b in range(len(scores)):
        for k in range(scores.shape[1]):
            if not scorable[b] or items[b, k] < 0 or not known[items[b, k]]:
                scores[b, k] = -np.inf


def _in_history(history: Rows, items: Rows, n_items: int) -> Mask:
    """Return which items, (B, K), are in the query's history, (B, H); (B, K)."""
    inside = np.empty(items.shape, np.bool_)
    marked = np.zeros(n_items + 1, np.bool_)
    for b in range(len(items)):
        marked[history[b]] = True
        marked[-1] = False
        inside[b] = marked[items[b]]
        marked[history[b]] = False
    return inside
