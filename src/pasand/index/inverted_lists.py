"""Inverted lists: vectors grouped around centres and scanned group by group, the most promising first."""

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
from pasand.index.index_files import barred, checked, checked_rows, describe, description, last_of_each, padded
from pasand.index.list_scan import HALF_BITS, scan
from pasand.index.recall import DEPTH
from pasand.progress import track
from pasand.types import Array, Candidates, Mask, Rows, Scores, Vectors

CHUNK = 1 << 16
"""Vectors taken in at once."""
QUERIES = 256
"""Queries answered at once."""
SPARSE = 0.05
"""Share of allowed items for which, besides 1, the reach is measured; fewer need no more."""
LARGEST = 65504.0
"""The largest half float."""
SAVED = ("along", "across", "scale", "reach", "recall")
"""What a file holds besides faiss's index."""


@dataclass(kw_only=True)
class InvertedLists(ABC):
    """Holds vectors in lists, one for each centre, as half floats or as product-quantised codes.

    The scores of a list's items for a query q are expected not to exceed

        q·c + reach * sqrt(a (q·e)² + b (|q|² - (q·e)²))

    with the list's centre c, the unit vector e along it, and the variances a along e and b across it (for each
    direction) of the items about the centre. Lists are scanned from the highest such bound down, until a bound is not
    above the k-th best score found so far, which is looked up now and then. So a mask, a large k or an unusual query is
    searched for as long as it needs, without being told so; `reach` decides between time and recall, and is infinite
    where everything is scanned.

    Searching from several threads is safe, but not while another one builds, adds, removes or loads.
    """

    _index: Any = field(default=None, init=False, repr=False, compare=False)
    """faiss's index: centres, and lists of codes and rows."""
    _lists: Array = field(default_factory=lambda: np.empty((0, 3), np.int64), init=False, repr=False, compare=False)
    """(L, 3): where the codes and the rows of each list lie in memory, and their number."""
    _centres: Vectors = field(
        default_factory=lambda: np.empty((0, 0), np.float32), init=False, repr=False, compare=False
    )
    _lengths: Scores = field(default_factory=lambda: np.empty(0, np.float32), init=False, repr=False, compare=False)
    """(L,) squared lengths of the centres."""
    _codebook: Array | None = field(default=None, init=False, repr=False, compare=False)
    """(parts, 256, D / parts) centres of the product quantiser; None: half floats."""
    _about: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """"along", "across" (L,); "scale", by which vectors are divided; "reach" (2,), where SPARSE of the items are
    allowed, and where all are; "recall"."""
    _mapped: bool = field(default=False, init=False, repr=False, compare=False)

    @abstractmethod
    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, in place of whatever was there, and return itself."""

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each vector, (B, k), equal scores by lower row; padded where fewer are allowed."""
        vectors = self._fitting(vectors, "query vectors")
        sizes = power_of_two(np.abs(vectors).max(axis=1, keepdims=True))
        excluded = barred(exclude, len(vectors))
        mask = np.ones((1, 0), np.bool_) if allowed is None else allowed
        # the reach was measured with so many; with fewer, the search would stop before the promised recall
        width = min(k if self._whole else max(k, DEPTH), len(self))
        reach = self._reach(allowed, max(k, DEPTH))
        items, scores = np.empty((len(vectors), width), np.int32), np.empty((len(vectors), width), np.float32)
        for at in range(0, len(vectors) if width else 0, QUERIES):
            some = slice(at, at + QUERIES)
            units = vectors[some] / sizes[some]
            items[some], scores[some] = scan(
                self._tables(units),
                self._bounds(units, reach if len(reach) == 1 else reach[some]),
                self._lists,
                self._codebook is None,
                mask if len(mask) == 1 else mask[some],
                allowed is not None,
                excluded[some],
                width,
            )
        scores *= sizes * self._about["scale"]
        return padded(items[:, :k], scores[:, :k], k)

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Take in vectors of rows; the centres stay, so build anew once a large part of the items is new.

        Raises InputError for vectors that are not finite, not as wide as the index, or 30,000 times larger than those
        it was built of.
        """
        vectors = self._fitting(vectors, "vectors to add")
        checked_rows(rows, vectors)
        newest = last_of_each(rows)
        new = scaled(vectors[newest], self._about["scale"])
        self.remove(rows)
        self._put(new, rows[newest])
        self._look_up()

    def remove(self, rows: Rows) -> None:
        """Forget rows; all lists are looked through, which takes some milliseconds for a million items."""
        self._require()
        self._copy_if_mapped()
        if len(rows):
            self._index.remove_ids(np.asarray(rows, np.int64))
            self._look_up()

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    @property
    def recall(self) -> float:
        """Share of the true 100 best that a search found when the index was built; 1 where everything is scanned."""
        return float(self._about.get("recall", 1.0))

    def save(self, path: Path) -> None:
        """Write the index to one file; raises InputError where it cannot be written."""
        self._require()
        self._copy_if_mapped()
        try:
            faiss.write_index(self._index, str(path))
            describe(path, type(self).__name__, self._about)
        except (OSError, RuntimeError) as error:
            raise InputError(
                path, cause=f"cannot be written ({error})", cure="make room or name another place"
            ) from None

    def load(self, path: Path) -> Self:
        """Map the index in a file into memory; the first `add`, `remove` or `save` then copies it.

        Raises InputError where the file cannot be read, is no index, another kind's, or cut short.
        """
        about = description(path, type(self).__name__)
        self._index, self._mapped = faiss.read_index(str(path), faiss.IO_FLAG_MMAP), True
        self._about = {name: about[name] for name in SAVED}
        self._look_up()
        return self

    @property
    def _whole(self) -> bool:
        """Whether every list is scanned."""
        reach = self._about["reach"]
        return isinf(reach[0]) and isinf(reach[1])

    def _require(self) -> None:
        if self._index is None:
            raise ValueError("the index is neither built nor loaded")

    def _fitting(self, vectors: Vectors, what: str) -> Vectors:
        self._require()
        return checked(vectors, self._index.d, what=what)

    def _tables(self, units: Vectors) -> Scores:
        """Return what the scan multiplies codes by, or looks them up in: (B, D), or (B, parts * 256)."""
        if self._codebook is None:
            return units * HALF_BITS
        parts = units.reshape(len(units), len(self._codebook), -1)
        looked_up: Scores = np.einsum("bpd,pcd->bpc", parts, self._codebook).reshape(len(units), -1)
        return looked_up

    def _reach(self, allowed: Mask | None, k: int) -> Scores:
        """Return the reach for a mask and a length of lists, (1 or B, 1): the more items count, the less is needed."""
        reach: Scores = self._about["reach"]
        if self._whole:
            return reach[:1, None]
        count = [len(self)] if allowed is None else np.count_nonzero(allowed, axis=1)
        share = np.clip(np.divide(count, max(1, len(self)) * k / DEPTH), SPARSE, 1)
        between: Scores = (reach[1] + (reach[0] - reach[1]) * np.log(share) / log(SPARSE)).astype(np.float32)
        return between[:, None]

    def _bounds(self, units: Vectors, reach: Scores) -> Scores:
        """Return the score that no item of a list is expected to exceed, (B, L)."""
        if self._whole:
            return np.full((len(units), len(self._lists)), np.inf, np.float32)
        centre = units @ self._centres.T
        bounds: Scores = centre + reach * self._spread(units, centre)
        return bounds

    def _spread(self, units: Vectors, centre: Scores) -> Scores:
        """Return the standard deviation of the scores of a list's items about the score of its centre, (B, L)."""
        spread: Scores = _spread(units, centre, self._lengths, self._about["along"], self._about["across"])
        return spread

    def _fill(self, index: Any, vectors: Vectors, scale: Scores) -> Array:
        """Put all vectors into a trained, empty index, measure how the lists spread; return the list of each, (N,)."""
        self._index, self._mapped = index, False
        self._about = {"scale": scale, "reach": np.full(2, np.inf, np.float32), "recall": np.array(1.0)}
        centres = index.quantizer.reconstruct_n(0, index.nlist)
        length = np.linalg.norm(centres, axis=1)
        direction = centres / np.maximum(length, 1e-30)[:, None]
        count, along, whole = (np.zeros(index.nlist) for _ in range(3))
        lists = np.empty(len(vectors), np.int32)
        for at in track(range(0, len(vectors), CHUNK), "indexing"):
            chunk = vectors[at : at + CHUNK] / scale
            near, distance = self._put(chunk, np.arange(at, at + len(chunk)))
            lists[at : at + CHUNK] = near
            beyond = np.einsum("nd,nd->n", chunk, direction[near]) - length[near]
            for total, part in ((count, None), (along, np.square(beyond)), (whole, distance)):
                total += np.bincount(near, part, index.nlist)
        count = np.maximum(count, 1)
        self._about["along"] = (along / count).astype(np.float32)
        self._about["across"] = (np.maximum(whole - along, 0) / count / max(1, index.d - 1)).astype(np.float32)
        self._look_up()
        return lists

    def _put(self, vectors: Vectors, rows: Array) -> tuple[Array, Array]:
        """Append scaled vectors to their lists; return the lists and the squared distances from their centres."""
        rows = np.ascontiguousarray(rows, np.int64)
        distance, near = self._index.quantizer.search(vectors, 1)
        self._index.add_core(len(vectors), *(faiss.swig_ptr(array) for array in (vectors, rows, near)))
        return near[:, 0], distance[:, 0]

    def _look_up(self) -> None:
        """Note where the lists lie, which every change of them may move."""
        index = self._index
        lists, sizes = index.invlists, [index.invlists.list_size(place) for place in range(index.nlist)]
        self._lists = np.array(
            [
                (int(lists.get_codes(place)), int(lists.get_ids(place)), size) if size else (0, 0, 0)
                for place, size in enumerate(sizes)
            ],
            np.int64,
        )
        self._centres = index.quantizer.reconstruct_n(0, index.nlist)
        self._lengths = np.square(self._centres).sum(axis=1)
        if hasattr(index, "pq"):
            self._codebook = faiss.vector_to_array(index.pq.centroids).reshape(index.pq.M, index.pq.ksub, -1)
        else:
            self._codebook = None

    def _copy_if_mapped(self) -> None:
        """Copy lists that lie in a file, which faiss cannot change, into memory."""
        if not self._mapped:
            return
        index, copy = self._index, faiss.ArrayInvertedLists(self._index.nlist, self._index.code_size)
        for place in range(index.nlist):
            size = index.invlists.list_size(place)
            if size:
                copy.add_entries(place, size, index.invlists.get_ids(place), index.invlists.get_codes(place))
        index.replace_invlists(copy, True)
        copy.this.disown()  # type: ignore[attr-defined]  # the index frees it from now on
        self._mapped = False
        self._look_up()


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


def one_list(dimensions: int) -> Any:
    """Return an index without vectors whose one list, of half floats, takes them all."""
    centre = faiss.IndexFlatL2(dimensions)
    centre.add(np.zeros((1, dimensions), np.float32))
    index = faiss.IndexIVFScalarQuantizer(centre, dimensions, 1, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2, False)
    index.is_trained = True
    return index


def scale_of(vectors: Vectors) -> Scores:
    """Return the power of two by which vectors are divided so that half floats hold them well."""
    largest = max((float(np.abs(vectors[at : at + CHUNK]).max()) for at in range(0, len(vectors), CHUNK)), default=0.0)
    return power_of_two(np.array(largest))


def scaled(vectors: Vectors, scale: Scores) -> Vectors:
    """Return vectors divided by the scale; raises InputError for those that half floats then cannot hold."""
    divided: Vectors = vectors / scale
    if np.abs(divided).max(initial=0) > LARGEST:
        cause = "far larger than the vectors that the index was built of"
        raise InputError("vectors to add", cause=cause, cure="build the index anew with them")
    return divided


def power_of_two(sizes: Array) -> Scores:
    """Return for each size at least 0 a power of two not below it, 1 for 0; floats cannot overflow when divided."""
    exponents = np.clip(np.frexp(sizes)[1], -100, 127)
    powers: Scores = np.ldexp(np.float32(1), exponents)
    return powers
