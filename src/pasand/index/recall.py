"""How much of the true best an approximate index finds, measured when it is built."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.random import Generator

from pasand.contracts import Index
from pasand.index.index_files import checked
from pasand.types import Array, Scores, Vectors

DEPTH = 100
"""Recall is measured over so many of the best, and holds for fewer too."""
ASKED = 1000
"""Queries that choose settings and measure the recall, half and half."""


def sample(vectors: Vectors, queries: Vectors | None, rng: Generator) -> Vectors:
    """Return up to ASKED queries, (Q, D), none of them zero: of those given, or sums of two items' vectors."""
    if queries is not None:
        queries = checked(queries, vectors.shape[1], what="sample queries")
        queries = queries[queries.any(axis=1)]
    if queries is None or len(queries) < ASKED // 5:
        some = rng.integers(len(vectors), size=(2, ASKED))
        queries = vectors[some[0]] + vectors[some[1]]
        queries[~queries.any(axis=1)] = 1
    return queries[rng.permutation(len(queries))[:ASKED]]


def true_best(queries: Vectors, vectors: Vectors) -> tuple[Scores, Array]:
    """Return scores and rows of the true best, (Q, DEPTH)."""
    depth = min(DEPTH, len(vectors))
    scores, rows = faiss.knn(queries, vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def share_found(index: Index, queries: Vectors, best: Scores, vectors: Vectors) -> float:
    """Return the share of the best that a search finds; an item as good as the last of them counts."""
    items = index.search(queries, best.shape[1]).items
    scores = np.einsum("bd,bkd->bk", queries, vectors[items])
    last = best[:, -1:] - 1e-6 * np.abs(best[:, -1:])
    return float(((items >= 0) & (scores >= last)).mean())
