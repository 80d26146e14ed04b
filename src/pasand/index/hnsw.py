"""Hierarchical navigable small world graph, an approximate index (Malkov and Yashunin, TPAMI 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.random import Generator

from pasand.index.index_checks import check_graph
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
from pasand.index.inverted_lists import power_of_two, scale_of, scaled
from pasand.index.list_scan import HALF_BITS, scan
from pasand.index.recall import RECALL_DEPTH, exact_best, measure_recall, sample_queries
from pasand.types import Array, Candidates, Mask, Rows, Scores, Vectors

REMOVED = 2**31 - 1
"""Row of a graph node whose item was removed or replaced: beyond every mask."""
EF_SEARCH_CHOICES = (100, 200, 400, 800, 1600, 3200)
"""Values of efSearch, the nodes kept in view during a search, from which `build` chooses."""


@dataclass(kw_only=True)
class HNSW:
    """Finds nearly all of the exact best items by walking a graph; stores half floats and 2 * `links` links of 4 bytes.

    A graph by largest inner product would miss items with short vectors. So every vector gets one more dimension, which
    makes all vectors as long as the longest: the nearest vectors are then those with the largest inner products
    (Bachrach et al., RecSys 2014).

    A walk through the graph fails where most items are masked, so a masked search scans the allowed items exactly.
    Removed items stay in the graph for navigation: rebuild the index once they are a fifth. Where masks are frequent,
    `IVF` is the better choice. Concurrent searches are safe, but not during build, add, remove or load.
    """

    target_recall: float = 0.99
    """Share of the exact 100 best items that a search should find, above 0 and at most 1."""
    links: int = 16
    """Links of an item in a layer (M in the paper), at least 2; twice as many in the lowest layer."""
    ef_construction: int = 100
    """Candidate neighbours considered when a new item is linked (efConstruction)."""
    _index: Any = field(default=None, init=False, repr=False, compare=False)
    _rows: Array = field(default_factory=lambda: np.empty(0, np.int64), init=False, repr=False, compare=False)
    """(n_nodes,) row of each node of the graph."""
    _metadata: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Arrays "scale", the divisor of vectors; "length" of the longest scaled vector; "ef_search"; "recall"."""
    _mapped: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise ValueError(f"target_recall must be above 0 and at most 1, got {self.target_recall}")
        if self.links < 2:
            raise ValueError(f"links must be at least 2, got {self.links}")
        if self.ef_construction < 1:
            raise ValueError(f"ef_construction must be positive, got {self.ef_construction}")

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, replacing earlier content, and return itself.

        The smallest efSearch is chosen that reaches `target_recall` on half of the sample queries; `recall` is measured
        on the other half.
        """
        vectors = checked_vectors(vectors, None, what="vectors to index")
        half: Any = faiss.ScalarQuantizer.QT_fp16
        self._index = faiss.IndexHNSWSQ(vectors.shape[1] + 1, half, self.links)
        self._index.is_trained = True
        self._index.hnsw.efConstruction = self.ef_construction
        self._metadata = {
            "scale": scale_of(vectors),
            "ef_search": np.array(EF_SEARCH_CHOICES[0]),
            "recall": np.array(1.0),
        }
        self._rows, self._mapped = np.empty(0, np.int64), False
        scaled_vectors = vectors / self._metadata["scale"]
        self._metadata["length"] = np.linalg.norm(scaled_vectors, axis=1).max(initial=0)
        self._append(np.arange(len(vectors), dtype=np.int32), scaled_vectors)
        if len(vectors):
            self._choose_ef_search(vectors, sample_queries(vectors, queries, rng))
        return self

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each vector, (B, k), padded where fewer are allowed; scores are of half floats."""
        vectors = self._checked_width(vectors, "query vectors")
        sizes = power_of_two(np.abs(vectors).max(axis=1, keepdims=True))
        units = np.pad(vectors / sizes, ((0, 0), (0, 1)))
        excluded, width = sorted_exclusions(exclude, len(vectors)), min(k, len(self))
        fetched = width + len(self._rows) - len(self) + excluded.shape[1]
        if not width:
            items, scores = np.empty((len(vectors), 0), np.int32), np.empty((len(vectors), 0), np.float32)
        elif allowed is not None or 4 * fetched > len(self._rows):
            items, scores = self._scan_exactly(units, width, allowed, excluded)
        else:
            items, scores = self._search_graph(units, width, fetched, excluded)
        return padded_candidates(items, scores * (sizes * self._metadata["scale"]), k)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add or replace the vectors of rows, linking each to its neighbours; a fraction of a millisecond a vector.

        Raises InputError for vectors that are not finite, have another width, or are some 30,000 times larger than
        those with which the index was built.
        """
        vectors = self._checked_width(vectors, "vectors to add")
        check_rows(rows, vectors)
        newest = last_positions(rows)
        new = scaled(vectors[newest], self._metadata["scale"])
        self.remove(rows)
        self._append(rows[newest], new)

    def remove(self, rows: Rows) -> None:
        """Remove rows; their nodes stay in the graph."""
        self._require_built()
        self._rows = np.where(np.isin(self._rows, rows), REMOVED, self._rows)

    def __len__(self) -> int:
        return int((self._rows != REMOVED).sum())

    @property
    def n_rows(self) -> int:
        """One more than the last row that can be found."""
        return 1 + int(self._rows.max(initial=-1, where=self._rows != REMOVED))

    @property
    def recall(self) -> float:
        """Share of the exact 100 best items that an unmasked search found when the index was built."""
        return float(self._metadata.get("recall", 1.0))

    def save(self, path: Path) -> None:
        """Write the index to one file; raises InputError where it cannot be written."""
        self._require_built()
        with writing(path):
            faiss.write_index(self._index, str(path))
            append_metadata(path, type(self).__name__, {**self._metadata, "rows": self._rows})

    def load(self, path: Path) -> Self:
        """Map the index in a file into memory; the first `add` then copies it.

        Raises InputError where the file cannot be read, is not an index, is of another kind, or is truncated.
        """
        with reading(path):
            found = read_metadata(path, type(self).__name__)
            metadata = {name: found[name] for name in ("scale", "length", "ef_search", "recall")}
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            check_graph(index, found["rows"], metadata)
        self._index, self._mapped, self._metadata, self._rows = index, True, metadata, found["rows"]
        return self

    def _require_built(self) -> None:
        if self._index is None:
            raise ValueError("the index is neither built nor loaded")

    def _checked_width(self, vectors: Vectors, what: str) -> Vectors:
        self._require_built()
        return checked_vectors(vectors, self._index.d - 1, what=what)

    def _append(self, rows: Rows, vectors: Vectors) -> None:
        if not len(rows):
            return
        if self._mapped:
            self._index, self._mapped = faiss.deserialize_index(faiss.serialize_index(self._index)), False
        remainder = np.square(self._metadata["length"]) - np.square(vectors).sum(axis=1, keepdims=True)
        self._index.add(np.hstack([vectors, np.sqrt(np.maximum(remainder, 0))]).astype(np.float32))
        self._rows = np.append(self._rows, rows.astype(np.int64))

    def _choose_ef_search(self, vectors: Vectors, queries: Vectors) -> None:
        tuning, validation = queries[::2], queries[1::2]
        best, _ = exact_best(tuning, vectors)
        for ef_search in EF_SEARCH_CHOICES:
            self._metadata["ef_search"] = np.array(ef_search)
            if measure_recall(self, tuning, best, vectors) >= self.target_recall:
                break
        self._metadata["recall"] = np.array(
            measure_recall(self, validation, exact_best(validation, vectors)[0], vectors)
        )

    def _search_graph(self, units: Vectors, width: int, fetched: int, excluded: Rows) -> tuple[Rows, Scores]:
        """Return the best items of the graph; queries whose lists come out short, by removals, are scanned exactly."""
        # efSearch was chosen for lists of RECALL_DEPTH items; longer ones need proportionally more
        ef_search = int(self._metadata["ef_search"]) * max(fetched, RECALL_DEPTH) // RECALL_DEPTH
        parameters = faiss.SearchParametersHNSW(efSearch=ef_search)  # type: ignore[attr-defined]
        _, nodes = self._index.search(units, fetched, params=parameters)
        stored = self._index.reconstruct_batch(np.maximum(nodes, 0).ravel()).reshape(*nodes.shape, units.shape[1])
        scores = np.einsum("bd,bkd->bk", units, stored)
        items = np.where(nodes >= 0, self._rows[nodes], REMOVED).astype(np.int32)
        valid = items != REMOVED
        for b, rows in enumerate(excluded):
            valid[b] &= ~np.isin(items[b], rows)
        order = np.lexsort((items, -scores, ~valid))[:, :width]
        items, scores, valid = (np.take_along_axis(array, order, 1) for array in (items, scores, valid))
        short = np.flatnonzero(~valid.all(axis=1))
        if len(short):
            items[short], scores[short] = self._scan_exactly(units[short], width, None, excluded[short])
        return items, scores

    def _scan_exactly(self, units: Vectors, width: int, allowed: Mask | None, excluded: Rows) -> tuple[Rows, Scores]:
        storage: Any = faiss.downcast_index(self._index.storage)
        lists = np.array([[int(storage.codes.data()), self._rows.ctypes.data, len(self._rows)]], np.int64)
        present = self._rows[self._rows != REMOVED]
        mask = np.ones((1, 1 + present.max(initial=-1)), np.bool_) if allowed is None else allowed
        bounds = np.full((len(units), 1), np.inf, np.float32)
        items, scores = scan(units * HALF_BITS, bounds, lists, True, mask, True, excluded, width)
        return items, scores
