"""Checks of indexes from a file: faiss and the scan would follow wrong links, sizes and rows out of their memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np

from pasand.mapped import check
from pasand.types import Array

LAST_ROW = 2**31 - 1
"""Largest row number."""
ROW_BYTES = 8
"""Bytes of a row in a list of faiss."""


def check_lists(index: Any, metadata: Mapping[str, Array]) -> None:
    """Raise ValueError unless inverted lists are of one of the kinds that are saved, and whole, with rows from 0.

    The lists are mapped from a file; their rows are read.
    """
    kinds = (faiss.IndexIVFScalarQuantizer, faiss.IndexIVFFlat, faiss.IndexIVFPQ)
    _require(type(index) in kinds, f"a {type(index).__name__} is not an index of inverted lists")
    _require(index.d > 0 and index.nlist > 0, "it has no dimensions or no lists")
    _require(index.code_size == _code_size(index), "the size of its codes does not fit its dimensions")
    centres: Any = faiss.downcast_index(index.quantizer)
    _require(isinstance(centres, faiss.IndexFlat), "its centres are not stored as floats")
    fits = (centres.ntotal, centres.d, centres.codes.size()) == (index.nlist, index.d, 4 * index.nlist * index.d)
    _require(fits, "its centres do not fit its lists")
    for name in ("along", "across"):
        check(name, metadata[name], np.float32, (index.nlist,))
    _check_numbers(metadata, {"scale": (), "reach": (2,), "recall": ()})
    lists: Any = faiss.downcast_InvertedLists(index.invlists)
    _require(isinstance(lists, faiss.OnDiskInvertedLists), "its lists are not mapped")
    _require((lists.nlist, lists.code_size) == (index.nlist, index.code_size), "its lists do not fit it")
    sizes = [lists.list_size(i) for i in range(index.nlist)]
    _require(sum(sizes) == index.ntotal, "its lists do not hold all vectors")
    begin = int(lists.ptr) if sum(sizes) else 0
    end = begin + lists.totsize
    for i in np.flatnonzero(sizes).tolist():
        for at, width in ((int(lists.get_codes(i)), index.code_size), (int(lists.get_ids(i)), ROW_BYTES)):
            _require(begin <= at <= end - sizes[i] * width, "its lists are longer than the file")
        rows = faiss.rev_swig_ptr(lists.get_ids(i), sizes[i])
        check("rows", rows, np.int64, (sizes[i],), lowest=0, below=LAST_ROW)


def check_graph(index: Any, rows: Array, metadata: Mapping[str, Array]) -> None:
    """Raise ValueError unless a graph has all links between nodes that are in their layer, and a row for every node."""
    _require(type(index) is faiss.IndexHNSWSQ, f"a {type(index).__name__} is not a graph")
    _require(index.d > 1, "its vectors have no dimensions")
    graph, n = index.hnsw, index.ntotal
    storage: Any = faiss.downcast_index(index.storage)
    _require(isinstance(storage, faiss.IndexScalarQuantizer), "its vectors are not stored as half floats")
    _require(storage.sq.qtype == faiss.ScalarQuantizer.QT_fp16, "its vectors are not stored as half floats")
    sizes = (storage.d, storage.sq.d, storage.ntotal, storage.code_size, storage.codes.size())
    _require(sizes == (index.d, index.d, n, 2 * index.d, 2 * index.d * n), "its vectors do not fit its nodes")
    check("rows", rows, np.int64, (n,), lowest=0, below=LAST_ROW + 1)
    _check_numbers(metadata, {"scale": (), "length": (), "ef_search": (), "recall": ()})
    _require(1 <= int(metadata["ef_search"]) < 1 << 20, "efSearch is out of range")
    levels, width = _array(graph.levels), _array(graph.cum_nneighbor_per_level).astype(np.int64)
    offsets, links = _array(graph.offsets).astype(np.int64), _array(graph.neighbors)
    _require(len(levels) == n and len(offsets) == n + 1, "its nodes have no layers")
    _require(len(width) > 1 and width[0] == 0 and bool((np.diff(width) >= 0).all()), "its layers have no widths")
    _require(not n or (levels.min() >= 1 and levels.max() < len(width)), "the layers of a node are out of range")
    _require(offsets[0] == 0 and bool((np.diff(offsets) == width[levels]).all()), "a node's links have a wrong number")
    check("links", links, np.int32, (int(offsets[-1]),), lowest=-1, below=n)
    _require(graph.max_level == levels.max(initial=0) - 1, "its highest layer is wrong")
    first = graph.entry_point
    _require(first == -1 if not n else 0 <= first < n and levels[first] == levels.max(), "its entry point is wrong")
    # a link in a layer above 0 leads to a node that is in that layer: else its own links would be read beyond their end
    for layer in range(1, int(levels.max(initial=1))):
        nodes = np.flatnonzero(levels > layer)
        at = offsets[nodes, None] + np.arange(width[layer], width[layer + 1])
        linked = links[at]
        _require(bool((levels[linked[linked >= 0]] > layer).all()), "a link leads to a node of another layer")


def _code_size(index: Any) -> Any:
    """Return the bytes of a code that the scan reads, -1 for settings that are not saved."""
    if isinstance(index, faiss.IndexIVFScalarQuantizer):
        known = index.sq.qtype == faiss.ScalarQuantizer.QT_fp16 and index.sq.d == index.d and not index.by_residual
        return 2 * index.d if known else -1
    if isinstance(index, faiss.IndexIVFPQ):
        product = index.pq
        parts, width = product.M, product.dsub
        known = product.nbits == 8 and product.ksub == 256 and parts * width == index.d == product.d
        return parts if known and product.centroids.size() == 256 * index.d and not index.by_residual else -1
    return 4 * index.d


def _check_numbers(metadata: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        values = metadata[name]
        _require(values.shape == shape and values.dtype.kind in "fi" and not np.isnan(values).any(), f"{name} is wrong")


def _array(values: Any) -> Array:
    array: Array = faiss.vector_to_array(values)
    return array


def _require(condition: bool, cause: str) -> None:
    if not condition:
        raise ValueError(cause)
