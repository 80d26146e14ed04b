"""Inverted lists for large catalogues: as half floats (IVF,fp16) or product-quantised (IVF,PQ).

Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI 2011.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, Self

import faiss
import numpy as np
from numpy.random import Generator

from pasand.index.index_files import checked
from pasand.index.inverted_lists import SPARSE, InvertedLists, one_list, scale_of
from pasand.index.recall import DEPTH, sample, share_found, true_best
from pasand.types import Array, Scores, Vectors

TRAINED_ON = 64
"""Vectors for each centre that k-means learns from."""
FEWEST = 39
"""Vectors for each centre below which faiss doubts k-means."""

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class IVF(InvertedLists):
    """Finds nearly all of the true best in a fraction of an exact scan's time; small catalogues it scans exactly.

    How far a search looks is chosen at `build` for `recall_wanted`, on half of the sample queries; `recall` is what
    the other half then found. Centres are those of k-means and every vector goes to the nearest, since assigning by
    inner product would crowd popular items, whose vectors are long, into few lists.
    """

    recall_wanted: float = 0.99
    """Share of the true 100 best that a search is to find, above 0 and at most 1."""
    codes: Literal["fp16", "pq"] = "fp16"
    """"fp16": 2 bytes a dimension; "pq": half a byte a dimension, at a recall that is measured, not chosen."""
    lists: int | None = None
    """Number of lists; None: twice the square root of the number of items."""
    exact_below: int = 100_000
    """Catalogues of fewer items are scanned whole."""

    def __post_init__(self) -> None:
        if not 0 < self.recall_wanted <= 1:
            raise ValueError(f"recall_wanted must be above 0 and at most 1, got {self.recall_wanted}")
        if self.codes not in ("fp16", "pq"):
            raise ValueError(f'codes must be "fp16" or "pq", got {self.codes!r}')
        if self.lists is not None and self.lists < 1:
            raise ValueError(f"lists must be positive, got {self.lists}")

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, in place of whatever was there, and return itself.

        `queries`, (Q, D), are vectors such as will be asked, at least 200; None or fewer: sums of two items' vectors,
        like users of two tastes.
        """
        vectors = checked(vectors, None, what="vectors to index")
        scale = scale_of(vectors)
        fewest = 256 * FEWEST if self.codes == "pq" else FEWEST
        if len(vectors) < max(self.exact_below, fewest):
            self._fill(one_list(vectors.shape[1]), vectors, scale)
            return self
        lists = self._fill(self._trained(vectors, scale, rng), vectors, scale)
        self._choose_reach(vectors, lists, sample(vectors, queries, rng), rng)
        return self

    def _trained(self, vectors: Vectors, scale: Scores, rng: Generator) -> Any:
        n, dimensions = vectors.shape
        n_lists = min(self.lists or round(2 * n**0.5), n // FEWEST)
        sample = rng.choice(n, min(n, max(TRAINED_ON * n_lists, 256 * TRAINED_ON)), replace=False)
        centres = faiss.IndexFlatL2(dimensions)
        if self.codes == "pq":
            parts = next(parts for parts in range(max(1, dimensions // 2), 0, -1) if dimensions % parts == 0)
            index: Any = faiss.IndexIVFPQ(centres, dimensions, n_lists, parts, 8, faiss.METRIC_L2)
            index.by_residual = False  # the tables of a query then serve all lists
        else:
            half = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexIVFScalarQuantizer(centres, dimensions, n_lists, half, faiss.METRIC_L2, False)
        index.cp.seed, index.cp.niter = int(rng.integers(2**31)), 10
        index.train(vectors[np.sort(sample)] / scale)
        return index

    def _choose_reach(self, vectors: Vectors, lists: Array, queries: Vectors, rng: Generator) -> None:
        """Set the smallest reach with which the wanted share of the true best is found, and measure the recall."""
        asked, held = queries[::2], queries[1::2]
        best, rows = true_best(asked, vectors)
        few = rng.choice(len(vectors), max(1, round(SPARSE * len(vectors))), replace=False)
        best_few, rows_few = true_best(asked, vectors[few])
        reaches = [self._needed(asked, best_few, lists[few[rows_few]]), self._needed(asked, best, lists[rows])]
        self._about["reach"] = np.array(reaches, np.float32)
        for _ in range(30):
            if self.codes == "pq" or share_found(self, asked, best, vectors) >= self.recall_wanted:
                break
            self._about["reach"] = self._about["reach"] * np.float32(1.01)
        self._about["recall"] = np.array(share_found(self, held, true_best(held, vectors)[0], vectors))
        level = logging.WARNING if self.recall < self.recall_wanted - 0.01 else logging.INFO
        log.log(level, "recall@%d is %.4f, %.4g was asked for", DEPTH, self.recall, self.recall_wanted)

    def _needed(self, asked: Vectors, best: Scores, lists: Array) -> float:
        """Return the reach that finds enough of the best, (Q, K), which stand in these lists."""
        size = np.abs(asked).max(axis=1, keepdims=True)
        centre = asked / size @ self._centres.T
        spread = np.maximum(self._spread(asked / size, centre), 1e-12)
        # an item is found once the bound of its list reaches the score of the last of the true best
        last = best[:, -1:] / (size * self._about["scale"])
        needed = (last - np.take_along_axis(centre, lists, 1)) / np.take_along_axis(spread, lists, 1)
        found = (needed <= np.quantile(needed, self.recall_wanted)).mean(axis=1)
        doubt = found.std() / len(found) ** 0.5
        return max(0.0, float(np.quantile(needed, min(1.0, self.recall_wanted + doubt))))
