"""A graph of neighbours, in several layers: Malkov and Yashunin, TPAMI 2020 (Hierarchical Navigable Small World)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.random import Generator

from pasand.errors import InputError
from pasand.index.index_files import barred, checked, checked_rows, describe, description, last_of_each, padded
from pasand.index.inverted_lists import power_of_two, scale_of, scaled
from pasand.index.list_scan import HALF_BITS, scan
from pasand.index.recall import DEPTH, sample, share_found, true_best
from pasand.types import Array, Candidates, Mask, Rows, Scores, Vectors

GONE = 2**31 - 1
"""The row of a place whose item was removed or replaced: beyond every mask."""
EFFORTS = (100, 200, 400, 800, 1600, 3200)
"""Places looked at by a search, from which `build` chooses."""


@dataclass(kw_only=True)
class HNSW:
    """Finds nearly all of the true best by walking a graph; half floats, and 4 bytes for each of 2 * `links` links.

    A graph of largest inner products leads past items with short vectors. So every vector gets one number more, which
    makes all of them as long as the longest: the nearest vectors are then those of largest inner product (Bachrach et
    al., RecSys 2014).

    A walk through a graph loses its way where most items are masked, so a masked search scans the allowed items
    exactly instead. Removed items stay in the graph as signposts: build anew once they are a fifth. Where masks are
    frequent, `IVF` is the better choice. Searching from several threads is safe,
    but not while another one builds, adds, removes or loads.
    """

    recall_wanted: float = 0.99
    """Share of the true 100 best that a search is to find, above 0 and at most 1."""
    links: int = 16
    """Links of an item to others in a layer, at least 2; in the lowest layer twice as many."""
    build_effort: int = 100
    """Places looked at to link a new item."""
    _index: Any = field(default=None, init=False, repr=False, compare=False)
    _rows: Array = field(default_factory=lambda: np.empty(0, np.int64), init=False, repr=False, compare=False)
    """(places,) the row that stands at each place of the graph."""
    _about: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """"scale", by which vectors are divided; "length" of the longest then; "effort" of a search; "recall"."""
    _mapped: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.recall_wanted <= 1:
            raise ValueError(f"recall_wanted must be above 0 and at most 1, got {self.recall_wanted}")
        if self.links < 2:
            raise ValueError(f"links must be at least 2, got {self.links}")
        if self.build_effort < 1:
            raise ValueError(f"build_effort must be positive, got {self.build_effort}")

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, in place of whatever was there, and return itself.

        The least effort is chosen with which half of the sample queries find what is wanted; `recall` is what the other
        half then found.
        """
        vectors = checked(vectors, None, what="vectors to index")
        half: Any = faiss.ScalarQuantizer.QT_fp16
        self._index = faiss.IndexHNSWSQ(vectors.shape[1] + 1, half, self.links)
        self._index.is_trained = True
        self._index.hnsw.efConstruction = self.build_effort
        self._about = {"scale": scale_of(vectors), "effort": np.array(EFFORTS[0]), "recall": np.array(1.0)}
        self._rows, self._mapped = np.empty(0, np.int64), False
        small = vectors / self._about["scale"]
        self._about["length"] = np.linalg.norm(small, axis=1).max(initial=0)
        self._put(np.arange(len(vectors), dtype=np.int32), small)
        if len(vectors):
            self._choose_effort(vectors, sample(vectors, queries, rng))
        return self

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each vector, (B, k), padded where fewer are allowed; scores of half floats."""
        vectors = self._fitting(vectors, "query vectors")
        sizes = power_of_two(np.abs(vectors).max(axis=1, keepdims=True))
        units = np.pad(vectors / sizes, ((0, 0), (0, 1)))
        excluded, width = barred(exclude, len(vectors)), min(k, len(self))
        fetched = width + len(self._rows) - len(self) + excluded.shape[1]
        if not width:
            items, scores = np.empty((len(vectors), 0), np.int32), np.empty((len(vectors), 0), np.float32)
        elif allowed is not None or 4 * fetched > len(self._rows):
            items, scores = self._scan(units, width, allowed, excluded)
        else:
            items, scores = self._walk(units, width, fetched, excluded)
        return padded(items, scores * (sizes * self._about["scale"]), k)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Take in vectors of rows, linking each to its neighbours; a fraction of a millisecond a vector.

        Raises InputError for vectors that are not finite, not as wide as the index, or 30,000 times larger than those
        it was built of.
        """
        vectors = self._fitting(vectors, "vectors to add")
        checked_rows(rows, vectors)
        newest = last_of_each(rows)
        new = scaled(vectors[newest], self._about["scale"])
        self.remove(rows)
        self._put(rows[newest], new)

    def remove(self, rows: Rows) -> None:
        """Forget rows; their places stay in the graph."""
        self._require()
        self._rows = np.where(np.isin(self._rows, rows), GONE, self._rows)

    def __len__(self) -> int:
        return int((self._rows != GONE).sum())

    @property
    def recall(self) -> float:
        """Share of the true 100 best that an unmasked search found when the index was built."""
        return float(self._about.get("recall", 1.0))

    def save(self, path: Path) -> None:
        """Write the index to one file; raises InputError where it cannot be written."""
        self._require()
        try:
            faiss.write_index(self._index, str(path))
            describe(path, type(self).__name__, {**self._about, "rows": self._rows})
        except (OSError, RuntimeError) as error:
            cure = "make room or name another place"
            raise InputError(path, cause=f"cannot be written ({error})", cure=cure) from None

    def load(self, path: Path) -> Self:
        """Map the index in a file into memory; the first `add` then copies it.

        Raises InputError where the file cannot be read, is no index, another kind's, or cut short.
        """
        about = description(path, type(self).__name__)
        self._index, self._mapped = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), True
        self._about = {name: about[name] for name in ("scale", "length", "effort", "recall")}
        self._rows = about["rows"]
        return self

    def _require(self) -> None:
        if self._index is None:
            raise ValueError("the index is neither built nor loaded")

    def _fitting(self, vectors: Vectors, what: str) -> Vectors:
        self._require()
        return checked(vectors, self._index.d - 1, what=what)

    def _put(self, rows: Rows, vectors: Vectors) -> None:
        if not len(rows):
            return
        if self._mapped:
            self._index, self._mapped = faiss.deserialize_index(faiss.serialize_index(self._index)), False
        room = np.square(self._about["length"]) - np.square(vectors).sum(axis=1, keepdims=True)
        self._index.add(np.hstack([vectors, np.sqrt(np.maximum(room, 0))]).astype(np.float32))
        self._rows = np.append(self._rows, rows.astype(np.int64))

    def _choose_effort(self, vectors: Vectors, queries: Vectors) -> None:
        asked, held = queries[::2], queries[1::2]
        best, _ = true_best(asked, vectors)
        for effort in EFFORTS:
            self._about["effort"] = np.array(effort)
            if share_found(self, asked, best, vectors) >= self.recall_wanted:
                break
        self._about["recall"] = np.array(share_found(self, held, true_best(held, vectors)[0], vectors))

    def _walk(self, units: Vectors, width: int, fetched: int, excluded: Rows) -> tuple[Rows, Scores]:
        """Return the best of the graph; lists that removed and excluded items leave short are scanned for instead."""
        # the effort was chosen for so many; more of them take more
        effort = int(self._about["effort"]) * max(fetched, DEPTH) // DEPTH
        parameters = faiss.SearchParametersHNSW(efSearch=effort)  # type: ignore[attr-defined]
        _, places = self._index.search(units, fetched, params=parameters)
        own = self._index.reconstruct_batch(np.maximum(places, 0).ravel()).reshape(*places.shape, units.shape[1])
        scores = np.einsum("bd,bkd->bk", units, own)
        found = np.where(places >= 0, self._rows[places], GONE).astype(np.int32)
        good = found != GONE
        for b, rows in enumerate(excluded):
            good[b] &= ~np.isin(found[b], rows)
        order = np.lexsort((found, -scores, ~good))[:, :width]
        found, scores, good = (np.take_along_axis(array, order, 1) for array in (found, scores, good))
        short = np.flatnonzero(~good.all(axis=1))
        if len(short):
            found[short], scores[short] = self._scan(units[short], width, None, excluded[short])
        return found, scores

    def _scan(self, units: Vectors, width: int, allowed: Mask | None, excluded: Rows) -> tuple[Rows, Scores]:
        storage: Any = faiss.downcast_index(self._index.storage)
        lists = np.array([[int(storage.codes.data()), self._rows.ctypes.data, len(self._rows)]], np.int64)
        there = self._rows[self._rows != GONE]
        mask = np.ones((1, 1 + there.max(initial=-1)), np.bool_) if allowed is None else allowed
        bounds = np.full((len(units), 1), np.inf, np.float32)
        items, scores = scan(units * HALF_BITS, bounds, lists, True, mask, True, excluded, width)
        return items, scores
