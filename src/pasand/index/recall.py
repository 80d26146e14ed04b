"""Recall of an approximate index against exact search, measured when it is built."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.random import Generator

from pasand.contracts import Index
from pasand.index.index_files import checked_vectors
from pasand.types import Array, Scores, Vectors

RECALL_DEPTH = 100
"""Number of best items over which recall is measured; it holds for shorter lists too."""
N_SAMPLE_QUERIES = 1000
"""Number of sample queries: half of them tune the search, the other half measure its recall."""


def sample_queries(vectors: Vectors, queries: Vectors | None, rng: Generator) -> Vectors:
    """Return up to N_SAMPLE_QUERIES nonzero vectors drawn from `queries`, (Q, D).

    Where fewer than a fifth of that number are given, the queries are sums of the vectors of two random items.
    """
    if queries is not None:
        queries = checked_vectors(queries, vectors.shape[1], what="sample queries")
        queries = queries[queries.any(axis=1)]
    if queries is None or len(queries) < N_SAMPLE_QUERIES // 5:
        pairs = rng.integers(len(vectors), size=(2, N_SAMPLE_QUERIES))
        queries = vectors[pairs[0]] + vectors[pairs[1]]
        queries[~queries.any(axis=1)] = 1
    return queries[rng.permutation(len(queries))[:N_SAMPLE_QUERIES]]


def exact_best(queries: Vectors, vectors: Vectors) -> tuple[Scores, Array]:
    """Return scores and rows of the exact best items of each query, (Q, min(RECALL_DEPTH, N))."""
    depth = min(RECALL_DEPTH, len(vectors))
    scores, rows = faiss.knn(queries, vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def measure_recall(index: Index, queries: Vectors, best: Scores, vectors: Vectors) -> float:
    """Return the share of the best items, scored (Q, K), that a search finds; ties with the last of them count."""
    items = index.search(queries, best.shape[1]).items
    scores = np.einsum("bd,bkd->bk", queries, vectors[items])
    last = best[:, -1:] - 1e-6 * np.abs(best[:, -1:])
    return float(((items >= 0) & (scores >= last)).mean())
