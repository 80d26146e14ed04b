"""Approximate index for large catalogues: inverted lists of half floats (IVF,fp16) or product codes (IVF,PQ).

Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI 2011.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, Self

import faiss
import numpy as np
from numpy.random import Generator

from pasand.index.index_files import checked_vectors
from pasand.index.inverted_lists import SPARSE_SHARE, InvertedLists, scale_of
from pasand.index.recall import RECALL_DEPTH, exact_best, measure_recall, sample_queries
from pasand.types import Array, Scores, Vectors

VECTORS_PER_CENTRE = 64
"""Training vectors of k-means for each centre."""
RESCORED = 300
"""Items found by product codes among which exact scores choose the best."""
MIN_VECTORS_PER_CENTRE = 39
"""Number of vectors for each centre below which faiss warns about k-means."""

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class IVF(InvertedLists):
    """Finds nearly all of the exact best items in a fraction of the time of a scan; scans small catalogues exactly.

    `build` chooses how many lists a search scans for `target_recall` on half of the sample queries, and measures
    `recall` on the other half. Centres are found by k-means and every vector is assigned to the nearest one, since
    assignment by inner product would crowd popular items, whose vectors are long, into few lists.
    """

    target_recall: float = 0.99
    """Share of the exact 100 best items that a search should find, above 0 and at most 1."""
    codes: Literal["fp16", "pq"] = "fp16"
    """"fp16": 2 bytes a dimension; "pq": half a byte a dimension, at a recall that is measured but not controlled."""
    lists: int | None = None
    """Number of lists; None: twice the square root of the number of items."""
    exact_below: int = 100_000
    """Catalogues of fewer items are scanned exactly."""

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise ValueError(f"target_recall must be above 0 and at most 1, got {self.target_recall}")
        if self.codes not in ("fp16", "pq"):
            raise ValueError(f'codes must be "fp16" or "pq", got {self.codes!r}')
        if self.lists is not None and self.lists < 1:
            raise ValueError(f"lists must be positive, got {self.lists}")

    @property
    def n_rescored(self) -> int:
        """Items to find for the exact scores of vectors to choose from: 300 with product codes, else 0.

        The scores of product codes are too coarse to order the best few items.
        """
        return RESCORED if self.codes == "pq" else 0

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, replacing earlier content, and return itself.

        `queries`, (Q, D), are a sample of the expected queries, at least 200; None or fewer: sums of the vectors of two
        random items, like users with two interests.
        """
        vectors = checked_vectors(vectors, None, what="vectors to index")
        fewest = 256 * MIN_VECTORS_PER_CENTRE if self.codes == "pq" else MIN_VECTORS_PER_CENTRE
        if len(vectors) < max(self.exact_below, fewest):
            self._fill_one_list(vectors, queries, rng)
            return self
        scale = scale_of(vectors)
        lists = self._fill(self._train(vectors, scale, rng), vectors, scale)
        self._choose_reach(vectors, lists, sample_queries(vectors, queries, rng), rng)
        return self

    def _train(self, vectors: Vectors, scale: Scores, rng: Generator) -> Any:
        n, dimensions = vectors.shape
        n_lists = min(self.lists or round(2 * n**0.5), n // MIN_VECTORS_PER_CENTRE)
        training_rows = rng.choice(
            n, min(n, max(VECTORS_PER_CENTRE * n_lists, 256 * VECTORS_PER_CENTRE)), replace=False
        )
        centres = faiss.IndexFlatL2(dimensions)
        if self.codes == "pq":
            parts = next(parts for parts in range(max(1, dimensions // 2), 0, -1) if dimensions % parts == 0)
            index: Any = faiss.IndexIVFPQ(centres, dimensions, n_lists, parts, 8, faiss.METRIC_L2)
            index.by_residual = False  # the tables of a query then serve all lists
        else:
            half = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexIVFScalarQuantizer(centres, dimensions, n_lists, half, faiss.METRIC_L2, False)
        index.cp.seed, index.cp.niter = int(rng.integers(2**31)), 10
        index.train(vectors[np.sort(training_rows)] / scale)
        return index

    def _choose_reach(self, vectors: Vectors, lists: Array, queries: Vectors, rng: Generator) -> None:
        """Set the smallest reach that gives the target recall, and measure the recall."""
        tuning, validation = queries[::2], queries[1::2]
        best, rows = exact_best(tuning, vectors)
        sparse = rng.choice(len(vectors), max(1, round(SPARSE_SHARE * len(vectors))), replace=False)
        sparse_best, sparse_rows = exact_best(tuning, vectors[sparse])
        reaches = [
            self._required_reach(tuning, sparse_best, lists[sparse[sparse_rows]]),
            self._required_reach(tuning, best, lists[rows]),
        ]
        self._metadata["reach"] = np.array(reaches, np.float32)
        for _ in range(30):
            if self.codes == "pq" or measure_recall(self, tuning, best, vectors) >= self.target_recall:
                break
            self._metadata["reach"] = self._metadata["reach"] * np.float32(1.01)
        self._metadata["recall"] = np.array(
            measure_recall(self, validation, exact_best(validation, vectors)[0], vectors)
        )
        level = logging.WARNING if self.recall < self.target_recall - 0.01 else logging.INFO
        log.log(level, "recall@%d is %.4f, the target is %.4g", RECALL_DEPTH, self.recall, self.target_recall)

    def _required_reach(self, queries: Vectors, best: Scores, lists: Array) -> float:
        """Return the reach that finds the target share of the best items, with scores and lists (Q, K)."""
        size = np.abs(queries).max(axis=1, keepdims=True)
        centre = queries / size @ self._centres.T
        spread = np.maximum(self._spread(queries / size, centre), 1e-12)
        # an item is found once the bound of its list reaches the score of the last of the exact best
        last = best[:, -1:] / (size * self._metadata["scale"])
        required = (last - np.take_along_axis(centre, lists, 1)) / np.take_along_axis(spread, lists, 1)
        found = (required <= np.quantile(required, self.target_recall)).mean(axis=1)
        standard_error = found.std() / len(found) ** 0.5
        return max(0.0, float(np.quantile(required, min(1.0, self.target_recall + standard_error))))
