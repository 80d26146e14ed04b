"""Inverted lists, the base of `Exact` and `IVF`: vectors grouped by centre and scanned list by list, the best first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import isinf, log
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numba import njit
from numpy.random import Generator

from pasand.errors import InputError
from pasand.index.index_checks import check_lists
from pasand.index.index_files import (
    append_metadata,
    check_rows,
    checked_vectors,
    last_positions,
    padded_candidates,
    read_metadata,
    reading,
    sorted_exclusions,
    writing,
)
from pasand.index.list_scan import FLOATS, HALF_BITS, HALVES, PRODUCT_CODES, scan
from pasand.index.recall import RECALL_DEPTH, exact_best, measure_recall, sample_queries
from pasand.progress import track
from pasand.types import Array, Candidates, Mask, Rows, Scores, Vectors

CHUNK = 1 << 16
"""Number of vectors indexed at a time."""
QUERY_BATCH = 256
"""Number of queries searched at a time."""
SPARSE_SHARE = 0.05
"""Share of allowed items for which the reach is measured, besides 1; smaller shares use the same reach."""
LARGEST_HALF = 65504.0
"""Largest finite half float."""
SMALLEST_LENGTH = 2.0**-14
"""Largest component, over that of all vectors, from which half floats are as exact as for the longest vector."""
SAVED_ARRAYS = ("along", "across", "scale", "reach", "recall")
"""Names of the arrays saved beside the faiss index."""


@dataclass(kw_only=True)
class InvertedLists(ABC):
    """Stores vectors in lists, one for each centre, as half floats, as floats or as product-quantised codes.

    The scores of a list's items for a query q are expected not to exceed

        q·c + reach * sqrt(a (q·e)² + b (|q|² - (q·e)²))

    where c is the centre of the list, e the unit vector along it, and a and b are the variances of the items about the
    centre along e and across it (per direction). Lists are scanned in descending order of this bound, until a bound is
    not above the k-th best score found so far, which is updated now and then. So a search automatically takes longer
    for a mask, a large k or an unusual query. `reach`, a number of standard deviations, trades time against recall; it
    is infinite where all lists are scanned.

    Concurrent searches are safe, but not during build, add, remove or load.
    """

    _index: Any = field(default=None, init=False, repr=False, compare=False)
    """The faiss index: centres, and lists of codes and rows."""
    _lists: Array = field(default_factory=lambda: np.empty((0, 3), np.int64), init=False, repr=False, compare=False)
    """(L, 3) memory addresses of the codes and of the rows of each list, and their number."""
    _centres: Vectors = field(
        default_factory=lambda: np.empty((0, 0), np.float32), init=False, repr=False, compare=False
    )
    _lengths: Scores = field(default_factory=lambda: np.empty(0, np.float32), init=False, repr=False, compare=False)
    """(L,) squared lengths of the centres."""
    _codebook: Array | None = field(default=None, init=False, repr=False, compare=False)
    """(parts, 256, D / parts) centres of the product quantiser; None for other codes."""
    _kind: int = field(default=HALVES, init=False, repr=False, compare=False)
    """Kind of the codes, as `scan` takes it."""
    _metadata: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Arrays "along" and "across", (L,) variances; "scale", the divisor of vectors; "reach", (2,) where a share of
    SPARSE_SHARE of the items is allowed and where all are; "recall"."""
    _mapped: bool = field(default=False, init=False, repr=False, compare=False)

    @abstractmethod
    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, replacing earlier content, and return itself."""

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each vector, (B, k), equal scores by lower row; padded where fewer are allowed."""
        vectors = self._checked_width(vectors, "query vectors")
        sizes = power_of_two(np.abs(vectors).max(axis=1, keepdims=True))
        excluded = sorted_exclusions(exclude, len(vectors))
        mask = np.ones((1, 0), np.bool_) if allowed is None else allowed
        # the reach was measured with lists of RECALL_DEPTH; shorter ones would stop below the measured recall
        width = min(k if self._exhaustive else max(k, RECALL_DEPTH), len(self))
        reach = self._reach(allowed, max(k, RECALL_DEPTH))
        items, scores = np.empty((len(vectors), width), np.int32), np.empty((len(vectors), width), np.float32)
        for at in range(0, len(vectors) if width else 0, QUERY_BATCH):
            batch = slice(at, at + QUERY_BATCH)
            units = vectors[batch] / sizes[batch]
            items[batch], scores[batch] = scan(
                self._query_tables(units),
                self._bounds(units, reach if len(reach) == 1 else reach[batch]),
                self._lists,
                self._kind,
                mask if len(mask) == 1 else mask[batch],
                allowed is not None,
                excluded[batch],
                width,
            )
        scores *= sizes * self._metadata["scale"]
        return padded_candidates(items[:, :k], scores[:, :k], k)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add or replace the vectors of rows; the centres stay, so rebuild the index once many of the items are new.

        Raises InputError for vectors that are not finite, have another width, or are some 30,000 times larger than
        those with which the index was built.
        """
        vectors = self._checked_width(vectors, "vectors to add")
        check_rows(rows, vectors)
        newest = last_positions(rows)
        new = scaled(vectors[newest], self._metadata["scale"])
        self.remove(rows)
        self._append(new, rows[newest])
        self._refresh_addresses()

    def remove(self, rows: Rows) -> None:
        """Remove rows; all lists are searched for them, which takes some milliseconds for a million items."""
        self._require_built()
        self._copy_if_mapped()
        if len(rows):
            self._index.remove_ids(np.asarray(rows, np.int64))
            self._refresh_addresses()

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    @property
    def n_rows(self) -> int:
        """One more than the last row that can be found."""
        lists, sizes = self._index.invlists, self._lists[:, 2].tolist()
        last = (faiss.rev_swig_ptr(lists.get_ids(i), size).max() for i, size in enumerate(sizes) if size)
        return 1 + int(max(last, default=-1))

    @property
    def recall(self) -> float:
        """Share of the exact 100 best items that searches for sample queries found when the index was built."""
        return float(self._metadata.get("recall", 1.0))

    def save(self, path: Path) -> None:
        """Write the index to one file; raises InputError where it cannot be written."""
        self._require_built()
        self._copy_if_mapped()
        with writing(path):
            faiss.write_index(self._index, str(path))
            append_metadata(path, type(self).__name__, self._metadata)

    def load(self, path: Path) -> Self:
        """Map the index in a file into memory; the first `add`, `remove` or `save` then copies it.

        Raises InputError where the file cannot be read, is not an index, is of another kind, or is truncated.
        """
        with reading(path):
            found = read_metadata(path, type(self).__name__)
            metadata = {name: found[name] for name in SAVED_ARRAYS}
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
            check_lists(index, metadata)
        self._index, self._mapped, self._metadata = index, True, metadata
        self._refresh_addresses()
        return self

    @property
    def _exhaustive(self) -> bool:
        """Whether every list is scanned."""
        reach = self._metadata["reach"]
        return isinf(reach[0]) and isinf(reach[1])

    def _require_built(self) -> None:
        if self._index is None:
            raise ValueError("the index is neither built nor loaded")

    def _checked_width(self, vectors: Vectors, what: str) -> Vectors:
        self._require_built()
        return checked_vectors(vectors, self._index.d, what=what)

    def _query_tables(self, units: Vectors) -> Scores:
        """Return the factors of floats of either size, (B, D), or lookup tables of product codes, (B, parts * 256)."""
        if self._codebook is None:
            return units * HALF_BITS if self._kind == HALVES else units
        parts = units.reshape(len(units), len(self._codebook), -1)
        tables: Scores = np.einsum("bpd,pcd->bpc", parts, self._codebook).reshape(len(units), -1)
        return tables

    def _reach(self, allowed: Mask | None, k: int) -> Scores:
        """Return the reach for a mask and lists of k items, (1 or B, 1), interpolated between the measured values."""
        reach: Scores = self._metadata["reach"]
        if self._exhaustive:
            return reach[:1, None]
        count = [len(self)] if allowed is None else np.count_nonzero(allowed, axis=1)
        share = np.clip(np.divide(count, max(1, len(self)) * k / RECALL_DEPTH), SPARSE_SHARE, 1)
        interpolated: Scores = (reach[1] + (reach[0] - reach[1]) * np.log(share) / log(SPARSE_SHARE)).astype(np.float32)
        return interpolated[:, None]

    def _bounds(self, units: Vectors, reach: Scores) -> Scores:
        """Return the bound that the scores of a list's items are expected not to exceed, (B, L)."""
        if self._exhaustive:
            return np.full((len(units), len(self._lists)), np.inf, np.float32)
        centre = units @ self._centres.T
        bounds: Scores = centre + reach * self._spread(units, centre)
        return bounds

    def _spread(self, units: Vectors, centre: Scores) -> Scores:
        """Return the standard deviation of the scores of a list's items about the score of its centre, (B, L)."""
        spread: Scores = _spread(units, centre, self._lengths, self._metadata["along"], self._metadata["across"])
        return spread

    def _fill(self, index: Any, vectors: Vectors, scale: Scores) -> Array:
        """Add all vectors to a trained, empty index and measure the variances; return the list of each vector, (N,)."""
        self._index, self._mapped = index, False
        self._metadata = {"scale": scale, "reach": np.full(2, np.inf, np.float32), "recall": np.array(1.0)}
        centres = index.quantizer.reconstruct_n(0, index.nlist)
        length = np.linalg.norm(centres, axis=1)
        direction = centres / np.maximum(length, 1e-30)[:, None]
        count, along, squared_distance = (np.zeros(index.nlist) for _ in range(3))
        lists = np.empty(len(vectors), np.int32)
        for at in track(range(0, len(vectors), CHUNK), "indexing"):
            chunk = vectors[at : at + CHUNK] / scale
            near, distance = self._append(chunk, np.arange(at, at + len(chunk)))
            lists[at : at + CHUNK] = near
            beyond = np.einsum("nd,nd->n", chunk, direction[near]) - length[near]
            for total, part in ((count, None), (along, np.square(beyond)), (squared_distance, distance)):
                total += np.bincount(near, part, index.nlist)
        count = np.maximum(count, 1)
        self._metadata["along"] = (along / count).astype(np.float32)
        self._metadata["across"] = (np.maximum(squared_distance - along, 0) / count / max(1, index.d - 1)).astype(
            np.float32
        )
        self._refresh_addresses()
        return lists

    def _fill_one_list(self, vectors: Vectors, queries: Vectors | None, rng: Generator) -> None:
        """Index all vectors in one list that is scanned whole, and measure the recall, which rounding limits.

        They are stored as floats, in twice the memory, if half floats cannot hold both the longest and the shortest.
        """
        scale = scale_of(vectors)
        self._fill(one_list(vectors.shape[1], floats=has_wide_range(vectors, scale)), vectors, scale)
        if len(vectors):
            sample = sample_queries(vectors, queries, rng)[::2]
            recall = measure_recall(self, sample, exact_best(sample, vectors)[0], vectors)
            self._metadata["recall"] = np.array(recall)

    def _append(self, vectors: Vectors, rows: Array) -> tuple[Array, Array]:
        """Append scaled vectors to their lists; return the lists and the squared distances to their centres."""
        rows = np.ascontiguousarray(rows, np.int64)
        distance, near = self._index.quantizer.search(vectors, 1)
        self._index.add_core(len(vectors), *(faiss.swig_ptr(array) for array in (vectors, rows, near)))
        return near[:, 0], distance[:, 0]

    def _refresh_addresses(self) -> None:
        """Read the memory addresses of the lists, which every change may move, and the centres."""
        index = self._index
        lists, sizes = index.invlists, [index.invlists.list_size(i) for i in range(index.nlist)]
        self._lists = np.array(
            [
                (int(lists.get_codes(i)), int(lists.get_ids(i)), size) if size else (0, 0, 0)
                for i, size in enumerate(sizes)
            ],
            np.int64,
        )
        self._centres = index.quantizer.reconstruct_n(0, index.nlist)
        self._lengths = np.square(self._centres).sum(axis=1)
        if hasattr(index, "pq"):
            self._codebook = faiss.vector_to_array(index.pq.centroids).reshape(index.pq.M, index.pq.ksub, -1)
            self._kind = PRODUCT_CODES
        else:
            self._codebook, self._kind = None, HALVES if hasattr(index, "sq") else FLOATS

    def _copy_if_mapped(self) -> None:
        """Copy lists that are mapped from a file, which faiss cannot change, into memory."""
        if not self._mapped:
            return
        index, copy = self._index, faiss.ArrayInvertedLists(self._index.nlist, self._index.code_size)
        for i in range(index.nlist):
            size = index.invlists.list_size(i)
            if size:
                copy.add_entries(i, size, index.invlists.get_ids(i), index.invlists.get_codes(i))
        index.replace_invlists(copy, True)
        copy.this.disown()  # type: ignore[attr-defined]  # the index frees it from now on
        self._mapped = False
        self._refresh_addresses()


@njit(cache=True, nogil=True)
def _spread(units: Vectors, centre: Scores, lengths: Scores, along: Scores, across: Scores) -> Scores:
    out = np.empty_like(centre)
    for b in range(len(centre)):
        length = np.float32(0)
        for d in range(units.shape[1]):
            length += units[b, d] * units[b, d]
        for n in range(centre.shape[1]):
            part = centre[b, n] * centre[b, n] / max(lengths[n], np.float32(1e-30))
            out[b, n] = np.sqrt(along[n] * part + across[n] * max(length - part, np.float32(0)))
    return out


def one_list(dimensions: int, *, floats: bool = False) -> Any:
    """Return an empty faiss index with a single list of half floats, or of floats."""
    centre = faiss.IndexFlatL2(dimensions)
    centre.add(np.zeros((1, dimensions), np.float32))
    if floats:
        exact = faiss.IndexIVFFlat(centre, dimensions, 1, faiss.METRIC_L2)
        exact.is_trained = True
        return exact
    index = faiss.IndexIVFScalarQuantizer(centre, dimensions, 1, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2, False)
    index.is_trained = True
    return index


def scale_of(vectors: Vectors) -> Scores:
    """Return the power of two by which vectors are divided so that they fit half floats."""
    largest = max((float(np.abs(vectors[at : at + CHUNK]).max()) for at in range(0, len(vectors), CHUNK)), default=0.0)
    return power_of_two(np.array(largest))


def has_wide_range(vectors: Vectors, scale: Scores) -> bool:
    """Return whether some nonzero vectors, divided by the scale, are too short for half floats."""
    smallest = SMALLEST_LENGTH * float(scale)
    for at in range(0, len(vectors), CHUNK):
        largest = np.abs(vectors[at : at + CHUNK]).max(axis=1)
        if ((largest > 0) & (largest < smallest)).any():
            return True
    return False


def scaled(vectors: Vectors, scale: Scores) -> Vectors:
    """Return vectors divided by the scale; raises InputError where they exceed the range of half floats."""
    divided: Vectors = vectors / scale
    if np.abs(divided).max(initial=0) > LARGEST_HALF:
        cause = "far larger than the vectors with which the index was built"
        raise InputError("vectors to add", cause=cause, cure="rebuild the index with them")
    return divided


def power_of_two(sizes: Array) -> Scores:
    """Return a power of two at least as large as each size (>= 0), 1 for 0, by which division cannot overflow."""
    exponents = np.clip(np.frexp(sizes)[1], -100, 127)
    powers: Scores = np.ldexp(np.float32(1), exponents)
    return powers
