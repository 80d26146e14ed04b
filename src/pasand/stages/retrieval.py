"""Retrievers: the first candidates, from the whole catalogue, by a model, an index, a fallback chain or rank fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.contracts import Index, Model, Retriever, TowerModel
from pasand.data.dataset import Dataset
from pasand.heap import sink
from pasand.stages.score_keys import keys_of_allowed, keys_of_lists, unpacked
from pasand.types import Arrays, Candidates, Mask, Queries, Rows, Scores, Vectors, within

SAMPLE_QUERIES = 2000
"""Users whose query vectors are the sample that an index is tuned and measured by."""
CHUNK = 1 << 16
"""Items embedded at once."""


@dataclass(frozen=True)
class FromModel:
    """Returns the k allowed items that a model scores highest; ties go to the lower row.

    A list is short, padded with -1, only where the model scores fewer than k allowed items above -inf.
    """

    model: Model

    def __call__(self, queries: Queries) -> Candidates:
        return best(self.model.score(queries, None), queries)


@dataclass(frozen=True)
class FromIndex:
    """Returns the k allowed items whose vectors have the largest inner products with the query vector, by an index.

    The index finds the items, more than k where its scores are coarse (`IVF.n_rescored`). The model's own vectors score
    and order them, so that scores equal those of `FromModel`.
    Ties go to the lower row. The list is empty for a query without a vector (all 0). Items without a vector are never
    found.
    """

    model: TowerModel
    """Fitted before, in an earlier table of the recipe."""
    index: Index

    def __call__(self, queries: Queries) -> Candidates:
        vectors = self.model.embed_queries(queries)
        known = np.asarray(vectors.any(axis=1))
        if len(queries) and len(self.index) and known.all():
            return self._found(vectors, queries)
        items = np.full((len(queries), queries.k), -1, np.int32)
        scores = np.full((len(queries), queries.k), -np.inf, np.float32)
        if len(self.index) and known.any():
            found = self._found(vectors[known], queries.take(np.flatnonzero(known)))
            items[known], scores[known] = found.items, found.scores
        return Candidates(items=items, scores=scores)

    def _found(self, vectors: Vectors, queries: Queries) -> Candidates:
        wanted = max(queries.k, getattr(self.index, "n_rescored", 0))
        found = self.index.search(vectors, wanted, allowed=queries.allowed, exclude=queries.exclude).items
        items, scores = _rescored(vectors, self.model.embed_items(found), found)
        return Candidates(items=items, scores=scores).top(queries.k)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Index all items that the model has vectors for, with queries of the data's users as the sample."""
        users = rng.choice(data.n_users, min(data.n_users, SAMPLE_QUERIES), replace=False)
        queries = self.model.embed_queries(data.queries(users.astype(np.int32), k=1))
        vectors = self._vectors(np.arange(data.n_items, dtype=np.int32), queries.shape[1])
        self.index.build(vectors, rng=rng, queries=queries[queries.any(axis=1)])
        self.index.remove(np.flatnonzero(~vectors.any(axis=1)).astype(np.int32))
        return self

    def refresh(self, rows: Rows) -> None:
        """Replace the rows' vectors by the model's present ones; rows without a vector are no longer found."""
        vectors = self.model.embed_items(rows)
        known = vectors.any(axis=-1)
        self.index.add(rows[known], vectors[known])
        self.index.remove(rows[~known])

    @property
    def n_rows(self) -> int:
        """One more than the last row that the index finds; 0 for an index that does not know it."""
        return int(getattr(self.index, "n_rows", 0))

    def save(self, path: Path) -> None:
        """Write the index to one file."""
        self.index.save(path)

    def load(self, path: Path) -> None:
        """Load the index from a file, mapped into memory where its kind allows."""
        self.index.load(path)

    def state(self) -> Arrays:
        """Return no arrays: the index has its own file, see `save`."""
        return {}

    def load_state(self, arrays: Arrays) -> None:
        """Do nothing: see `load`."""

    def _vectors(self, rows: Rows, dimensions: int) -> Vectors:
        vectors = np.empty((len(rows), dimensions), np.float32)
        for at in range(0, len(rows), CHUNK):
            vectors[at : at + CHUNK] = self.model.embed_items(rows[at : at + CHUNK])
        return vectors


@dataclass(frozen=True)
class Fallback:
    """A fallback chain: each retriever fills the positions that those before it left empty, below their items."""

    retrievers: Sequence[Retriever]
    """In order of preference; later ones are called only for short lists."""

    def __post_init__(self) -> None:
        if not self.retrievers:
            raise ValueError("retrievers must not be empty")

    def __call__(self, queries: Queries) -> Candidates:
        found = self.retrievers[0](queries)
        items, scores = _widened(found, queries.k)
        for retriever in self.retrievers[1:]:
            short = np.flatnonzero((items < 0).any(axis=1))
            if not len(short):
                break
            found = retriever(queries.take(short))
            _fill(items, scores, short, found.items, found.scores)
        return Candidates(items=items, scores=scores)


@dataclass(frozen=True)
class Merge:
    """Fuses the lists of several retrievers by rank, each item once (reciprocal rank fusion).

    The score of an item is the sum of weight / (rank_constant + rank) over the lists that hold it (Cormack, Clarke and
    Büttcher, SIGIR 2009). Each retriever returns k items.
    """

    retrievers: Sequence[Retriever]
    weights: Sequence[float] = ()
    """One weight above 0 per retriever; empty: all 1."""
    rank_constant: float = 60.0
    """At least 0; the larger, the smaller the advantage of the first ranks."""

    def __post_init__(self) -> None:
        if not self.retrievers:
            raise ValueError("retrievers must not be empty")
        if self.weights and len(self.weights) != len(self.retrievers):
            raise ValueError(f"weights must be one per retriever ({len(self.retrievers)}), got {len(self.weights)}")
        if any(weight <= 0 for weight in self.weights):
            raise ValueError(f"weights must be above 0, got {list(self.weights)}")
        if self.rank_constant < 0:
            raise ValueError(f"rank_constant must be at least 0, got {self.rank_constant}")

    def __call__(self, queries: Queries) -> Candidates:
        lists = [retriever(queries).items for retriever in self.retrievers]
        gains = []
        for weight, items in zip(self.weights or [1.0] * len(lists), lists, strict=True):
            gain = np.float32(weight) / np.float32(self.rank_constant + 1 + np.arange(items.shape[1]))
            gains.append(np.broadcast_to(gain, items.shape))
        items, scores = _fuse(np.hstack(lists), np.hstack(gains).astype(np.float32))
        return _ordered(items, scores, queries.k)


def best(scores: Scores, queries: Queries) -> Candidates:
    """Return the k best allowed items of (B, N) scores, fewer where fewer are above -inf; ties go to the lower row.

    If the catalogue has grown since the model was fitted, `exclude` may hold rows beyond N, which are ignored, and
    `allowed` may be wider or narrower than N: rows at or beyond its width are not allowed.
    """
    n_items = scores.shape[1]
    none = np.empty((len(queries), 0), np.int32)
    exclude = none if queries.exclude is None else np.ascontiguousarray(within(queries.exclude, n_items))
    allowed = np.ones((1, n_items), np.bool_) if queries.allowed is None else queries.allowed[:, :n_items]
    if allowed.shape[1] < n_items:
        allowed = np.pad(allowed, ((0, 0), (0, n_items - allowed.shape[1])))
    k, allowed = min(queries.k, n_items), np.ascontiguousarray(allowed)
    if k * 8 > n_items:
        keys = keys_of_allowed(np.ascontiguousarray(scores, np.float32).view(np.int32), exclude, allowed)
        keys.sort(axis=1)
        items, top = unpacked(keys, k)
    else:
        items, top = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        _best(scores, exclude, allowed, items, top)
    return Candidates(items=items, scores=top)


def _widened(found: Candidates, k: int) -> tuple[Rows, Scores]:
    """Return items and scores cut or padded to k columns, (B, k) each."""
    items = np.full((len(found), k), -1, np.int32)
    scores = np.full((len(found), k), -np.inf, np.float32)
    width = min(k, found.items.shape[1])
    items[:, :width], scores[:, :width] = found.items[:, :width], found.scores[:, :width]
    return items, scores


def _ordered(items: Rows, scores: Scores, k: int) -> Candidates:
    """Return the first k of each list by falling score; ties go to the lower row."""
    keys = keys_of_lists(scores.view(np.int32), items)
    keys.sort(axis=1)
    ordered, best_scores = unpacked(keys, min(k, items.shape[1]))
    return Candidates(items=ordered, scores=best_scores)


@njit(cache=True, nogil=True)
def _rescored(vectors: Vectors, embedded: Vectors, found: Rows) -> tuple[Rows, Scores]:
    """Return items, (B, K), and the inner products of their vectors, (B, K, D), with the queries, by falling score."""
    items, scores = np.empty_like(found), np.empty(found.shape, np.float32)
    for b in range(len(found)):
        order = np.argsort(found[b], kind="mergesort")  # ties go to the lower row
        negative = np.empty(found.shape[1], np.float32)
        for at in range(found.shape[1]):
            position, score = order[at], np.float32(0)
            for d in range(vectors.shape[1]):
                score += vectors[b, d] * embedded[b, position, d]
            negative[at] = np.inf if found[b, position] < 0 else -score
        by_score = np.argsort(negative, kind="mergesort")
        for at in range(found.shape[1]):
            items[b, at], scores[b, at] = found[b, order[by_score[at]]], -negative[by_score[at]]
    return items, scores


@njit(cache=True)
def _best(scores: Scores, exclude: Rows, allowed: Mask, items: Rows, top: Scores) -> None:
    """Write the best allowed items per query and their scores, (B, k), padded with -1 and -inf; by a heap."""
    n_queries, n_items = scores.shape
    k = items.shape[1]
    open_ = np.empty(n_items, np.bool_)
    for b in range(n_queries):
        row = b if allowed.shape[0] > 1 else 0
        for i in range(n_items):
            open_[i] = allowed[row, i]
        for j in range(exclude.shape[1]):
            if exclude[b, j] >= 0:
                open_[exclude[b, j]] = False
        # a heap with the worst kept item at the root; rows come in rising order, so an equal later one never enters
        size = np.int64(0)
        for i in range(n_items):
            score = scores[b, i]
            if score == -np.inf or not open_[i]:
                continue
            if size < k:
                node = size
                size += 1
                while node > 0:
                    parent = (node - 1) // 2
                    if top[b, parent] < score:
                        break
                    top[b, node], items[b, node] = top[b, parent], items[b, parent]
                    node = parent
                top[b, node], items[b, node] = score, i
            elif score > top[b, 0]:
                sink(top[b], items[b], size, score, np.int64(i))
        for last in range(size - 1, 0, -1):
            score, item = top[b, last], items[b, last]
            top[b, last], items[b, last] = top[b, 0], items[b, 0]
            sink(top[b], items[b], last, score, np.int64(item))


@njit(cache=True)
def _fill(items: Rows, scores: Scores, short: Rows, more: Rows, more_scores: Scores) -> None:
    """Fill the lists `short` in place with further items, whose scores are lowered if they exceed the list's last."""
    mark = np.full(max(items.max(), more.max()) + 1 if items.size and more.size else 0, -1, np.int64)
    for s in range(len(short)):
        b = short[s]
        size = 0
        while size < items.shape[1] and items[b, size] >= 0:
            mark[items[b, size]] = s
            size += 1
        have = size
        drop = np.float32(0.0)
        for j in range(more.shape[1]):
            item = more[s, j]
            if size == items.shape[1] or item < 0:
                break
            if mark[item] == s:
                continue
            if size == have and have > 0:
                drop = max(np.float32(0.0), more_scores[s, j] - scores[b, have - 1])
            items[b, size] = item
            scores[b, size] = more_scores[s, j] - drop
            size += 1


@njit(cache=True)
def _fuse(items: Rows, gains: Scores) -> tuple[Rows, Scores]:
    """Return each item of a list once, with the sum of its gains; (B, K), (B, K) -> (B, K), (B, K)."""
    merged, scores = np.full(items.shape, -1, np.int32), np.full(items.shape, -np.inf, np.float32)
    n_rows = 0
    for b in range(items.shape[0]):
        for j in range(items.shape[1]):
            n_rows = max(n_rows, items[b, j] + 1)
    mark, at = np.full(n_rows, -1, np.int64), np.empty(n_rows, np.int64)  # of each row, the last list and position
    for b in range(items.shape[0]):
        size = 0
        for j in range(items.shape[1]):
            item = items[b, j]
            if item < 0:
                continue
            if mark[item] != b:
                mark[item], at[item] = b, size
                merged[b, size], scores[b, size] = item, np.float32(0.0)
                size += 1
            scores[b, at[item]] += gains[b, j]
    return merged, scores


def excluding(queries: Queries, rows: Rows) -> Queries:
    """Return the queries with further items excluded, (B, X) padded with -1."""
    both = rows if queries.exclude is None else np.hstack([queries.exclude, rows])
    return replace(queries, exclude=both)
