"""Vector index: recall and time of a query among 1,000,000 hard vectors, with and without a mask, against plain faiss.

The vectors have 64 dimensions and length 1, from normal distributions with standard deviations that fall as
1 / sqrt(dimension). They form no clusters that lists or graphs could use. Queries are drawn in the same way and are not
in the index. One thread searches one query at a time, and times are medians. faiss gets the fewest probes that suffice
on these very queries.

Recall@k is the share of the exact k best items among the first k of a list. For product codes it falls with k: codes
find the neighbourhood and confuse its order. So it is measured at 1, 10 and 100, and again after the items that the
codes found are rescored with exact vectors, as `FromIndex` does with those of its model.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.rows import Row
from pasand.contracts import Index
from pasand.index.exact import Exact
from pasand.index.hnsw import HNSW
from pasand.index.ivf_pq import IVF
from pasand.types import Array, Mask, Rows, Vectors

MEASURES = ("index", "mapped.py")
engine: Any = faiss  # its stubs lack what its Python layer adds
ITEMS, QUERIES, DIMENSIONS, K = 1_000_000, 500, 64, 100
DEPTHS, RESCORED = (1, 10, 100), (300, 1000)
"""Lengths of lists for which recall is measured, and numbers of items found by product codes that are rescored."""
GRAPH = 200_000
"""Number of items in the graph, which takes minutes to build."""


def hard(n: int, seed: int) -> Vectors:
    """Return n vectors of length 1 with a decaying spectrum and no clusters."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, DIMENSIONS), dtype=np.float32)
    vectors *= np.arange(1, DIMENSIONS + 1, dtype=np.float32) ** -0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def truth(items: Vectors, queries: Vectors, allowed: Mask | None = None) -> Array:
    """Return the rows of the exact K best items, (B, K), among the allowed ones, (1, N)."""
    rows = np.arange(len(items)) if allowed is None else np.flatnonzero(allowed[0])
    vectors = items if allowed is None else items[rows]
    best: Array = rows[faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1]]
    return best


def measured(search: Callable[[Vectors], Array], queries: Vectors, best: Array) -> tuple[float, float]:
    """Return recall@K and the median milliseconds of a query."""
    search(queries[:1])
    hits, times = 0, []
    for query, rows in zip(queries, best, strict=True):
        began = time.perf_counter()
        found = search(query[None])
        times.append(time.perf_counter() - began)
        hits += len(np.intersect1d(found, rows))
    return hits / best.size, 1000 * statistics.median(times)


def search_of(index: Index, allowed: Mask | None = None) -> Callable[[Vectors], Array]:
    """Return a function that searches one of our indexes for the K best items."""
    return lambda query: index.search(query, K, allowed=allowed).items


def run() -> list[Row]:
    """Build every kind of index on the same vectors and search them with the same queries."""
    faiss.omp_set_num_threads(1)
    items, queries = hard(ITEMS, 0), hard(QUERIES, 1)
    best, rng = truth(items, queries), np.random.default_rng(2)
    began = time.perf_counter()
    index = IVF().build(items, rng=rng)
    seconds = time.perf_counter() - began
    rows = [*_against_faiss(index, items, queries, best, seconds)]
    rows += _changes(index)
    exact = Exact().build(items, rng=rng)
    detail = f"half floats swap items of nearly equal scores; stated recall {exact.recall:.4f}, of sums of two items; "
    rows += _recalls("Exact", search_of(exact), queries, best, detail)
    compact = IVF(codes="pq").build(items, rng=rng)
    detail = f"{_bytes(compact):.0f} bytes a vector; stated recall@100 {compact.recall:.4f}; "
    rows += _recalls("IVF, PQ", search_of(compact), queries, best, detail)
    for width in RESCORED:
        name = f"IVF, PQ, {width:,} found and rescored exactly"
        rows += _recalls(name, rescored(compact, items, width), queries, best, detail)
    fewer_items, began = items[:GRAPH], time.perf_counter()
    graph = HNSW().build(fewer_items, rng=rng)
    detail = f"{_bytes(graph):.0f} bytes a vector, built in {time.perf_counter() - began:.0f} s; "
    detail += f"stated recall@100 {graph.recall:.4f}; "
    rows += _recalls(f"HNSW, {GRAPH:,} items", search_of(graph), queries, truth(fewer_items, queries), detail)
    return rows


def _against_faiss(index: IVF, items: Vectors, queries: Vectors, best: Array, seconds: float) -> Iterator[Row]:
    peer = engine.index_factory(DIMENSIONS, f"IVF{len(index._lists)},SQfp16", faiss.METRIC_INNER_PRODUCT)
    peer.train(items[np.random.default_rng(3).choice(len(items), 64 * peer.nlist, replace=False)])
    peer.add(items)
    detail = f"built in {seconds:.0f} s, {_bytes(index):.0f} bytes a vector, stated recall {index.recall:.4f}"
    rng = np.random.default_rng(4)
    score = items @ queries[0]
    yield from _pair("all allowed", index, peer, queries, best, None, (0.99, 1.3), detail)
    for share, limits in ((0.5, None), (0.05, (0.97, 2.0)), (0.01, None)):
        allowed = rng.random((1, len(items))) < share
        true = truth(items, queries, allowed)
        yield from _pair(f"{share:.0%} allowed, at random", index, peer, queries, true, allowed, limits, "")
    # the allowed items are far from the query, as when a viewer of films in one language filters by another
    similarity = queries @ queries[0]
    similar = queries[similarity > np.quantile(similarity, 0.9)]
    allowed = (score < np.quantile(score, 0.05))[None]
    true = truth(items, similar, allowed)
    yield from _pair("5% allowed, the farthest from the queries", index, peer, similar, true, allowed, None, "")


def _pair(
    what: str,
    index: Index,
    peer: Any,
    queries: Vectors,
    best: Array,
    allowed: Mask | None,
    limits: tuple[float, float] | None,
    detail: str,
) -> Iterator[Row]:
    """Yield recall and time of our index and of faiss, with the fewest probes that reach our recall or its limit."""
    recall, milliseconds = measured(search_of(index, allowed), queries, best)
    target = min(recall, limits[0] if limits else recall)
    for probes in (2 ** (step / 2) for step in range(10, 30)):
        peer_recall, peer_time = measured(_peer(peer, min(int(probes), peer.nlist), allowed), queries, best)
        if peer_recall >= target or probes >= peer.nlist:
            break
    name = f"faiss {faiss.__version__} IVF{peer.nlist},SQfp16, nprobe {min(int(probes), peer.nlist)}"
    min_recall, max_time = limits or (None, None)
    yield Row(
        target=f"IVF, {what}: recall@{K}",
        value=recall,
        limit=min_recall,
        better="higher",
        comparable=True,
        peer=name,
        peer_value=peer_recall,
        detail=detail,
    )
    title = f"IVF, {what}: milliseconds, median"
    yield Row(
        target=title,
        value=milliseconds,
        limit=max_time,
        better="lower",
        comparable=True,
        peer=name,
        peer_value=peer_time,
    )


def _peer(peer: Any, probes: int, allowed: Mask | None) -> Callable[[Vectors], Array]:
    def search(query: Vectors) -> Array:
        selector = None if allowed is None else engine.IDSelectorBitmap(np.packbits(allowed[0], bitorder="little"))
        found: Array = peer.search(query, K, params=engine.SearchParametersIVF(nprobe=probes, sel=selector))[1]
        return found

    return search


def rescored(index: Index, items: Vectors, width: int) -> Callable[[Vectors], Array]:
    """Return a function that finds `width` items by the index and returns the K with the best exact scores."""

    def search(query: Vectors) -> Array:
        found = index.search(query, width).items[0]
        order = np.argsort(-(items[found] @ query[0]), kind="stable")
        best: Array = found[order[:K]][None]
        return best

    return search


def _recalls(
    name: str, search: Callable[[Vectors], Array], queries: Vectors, best: Array, detail: str = ""
) -> Iterator[Row]:
    """Yield the recall of the first 1, 10 and 100 items, each of as many exact best ones."""
    found, times = [], []
    search(queries[:1])
    for query in queries:
        began = time.perf_counter()
        found.append(search(query[None])[0])
        times.append(time.perf_counter() - began)
    for k in DEPTHS:
        hits = sum(len(np.intersect1d(own[:k], true[:k])) for own, true in zip(found, best, strict=True))
        yield Row(
            target=f"{name}, all allowed: recall@{k}",
            value=hits / (k * len(best)),
            limit=None,
            better="higher",
            detail=f"{detail}{1000 * statistics.median(times):.3f} ms",
        )


def _changes(index: IVF) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index"
        index.save(file)
        began = time.perf_counter()
        loaded = IVF().load(file)
        seconds = time.perf_counter() - began
    yield Row(target="IVF: milliseconds to load, mapped", value=1000 * seconds, limit=None, better="lower")
    new: Rows = np.arange(len(index), len(index) + 1000, dtype=np.int32)
    began = time.perf_counter()
    loaded.remove(new)
    seconds = time.perf_counter() - began
    yield Row(
        target="IVF: milliseconds to copy it at the first change", value=1000 * seconds, limit=None, better="lower"
    )
    vectors = hard(1000, 5)
    began = time.perf_counter()
    loaded.add(new, vectors)
    between = time.perf_counter()
    loaded.remove(new)
    ended = time.perf_counter()
    yield Row(target="IVF: milliseconds to add 1,000", value=1000 * (between - began), limit=None, better="lower")
    yield Row(target="IVF: milliseconds to remove 1,000", value=1000 * (ended - between), limit=None, better="lower")


def _bytes(index: Index) -> float:
    """Return the size of an index's file in bytes per vector."""
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        return (Path(folder) / "index").stat().st_size / len(index)
