"""The scan of inverted lists: the best lists first, masks inside, no more lists once none can hold a better item.

faiss owns the lists, in memory or mapped from a file; this kernel reads them where they lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from pasand.heap import sink
from pasand.types import Array, Mask, Rows, Scores

HALF_BITS = np.float32(2.0**112)
"""What a half float's bits, shifted into a float's place, are too small by; the query is multiplied by it instead."""


def _pointer_to(kind: Any) -> Any:
    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    return pointer


_bytes_at, _halves_at, _ids_at = _pointer_to(types.uint8), _pointer_to(types.int16), _pointer_to(types.int64)


@njit(cache=True, nogil=True)
def scan(
    tables: Scores,
    bounds: Scores,
    lists: Array,
    halves: bool,
    allowed: Mask,
    masked: bool,
    exclude: Rows,
    k: int,
) -> tuple[Rows, Scores]:
    """Return the k best rows of each query and their scores, (B, k) each; equal scores: the lower row first.

    `tables`: with `halves`, (B, D) queries times HALF_BITS against fp16 codes; else (B, D) looked-up inner products,
    256 for each byte of a code. `bounds`: (B, L) the score that no item of a list is expected to exceed. `lists`,
    (L, 3) int64: the addresses of codes and of ids, and their number. `exclude`: (B, X), sorted within a query.
    `masked`: whether `allowed`, (1 | B, W), is to be looked at; ids at or beyond W are then not allowed.
    """
    n_queries, n_lists = bounds.shape
    items = np.full((n_queries, k), -1, np.int32)
    scores = np.full((n_queries, k), -np.inf, np.float32)
    heap = np.empty(n_lists, np.int64)
    picked = np.empty(lists[:, 2].max() if masked and n_lists else 0, np.int64)
    touched = np.zeros(1, np.int16)
    width = tables.shape[1] if halves else tables.shape[1] // 256
    for b in range(n_queries):
        query, bound, out, top, barred = tables[b], bounds[b], items[b], scores[b], exclude[b]
        allow = allowed[b if len(allowed) > 1 else 0]
        waiting = _heapify(heap, bound, lists)
        while waiting:
            place = heap[0]
            # an estimate, so equality may stop: with a query of zeros the first k rows will do
            if bound[place] <= top[0]:
                break
            waiting -= 1
            heap[0] = heap[waiting]
            _settle(heap, bound, 0, waiting)
            n = lists[place, 2]
            ids = carray(_ids_at(lists[place, 1]), (n,))
            if halves:
                codes = carray(_halves_at(lists[place, 0]), (n, width))
                _scan_halves(codes, ids, query, allow, masked, barred, out, top, picked, touched)
            else:
                words = carray(_bytes_at(lists[place, 0]), (n, width))
                _scan_words(words, ids, query, allow, masked, barred, out, top)
        for last in range(k - 1, 0, -1):
            score, item = top[last], out[last]
            top[last], out[last] = top[0], out[0]
            sink(top, out, last, score, item)
    return items, scores


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scan_halves(
    codes: Array,
    ids: Array,
    query: Scores,
    allow: Mask,
    masked: bool,
    barred: Rows,
    items: Rows,
    top: Scores,
    picked: Array,
    touched: Array,
) -> None:
    """Offer the allowed items of a list of half floats."""
    n, width, least = len(ids), len(query), top[0]
    if masked:
        # first which, touching their codes, then their products: so memory is fetched while the processor multiplies
        n = 0
        for i in range(len(ids)):
            if ids[i] < len(allow) and allow[ids[i]]:
                picked[n] = i
                n += 1
                touched[0] |= codes[i, 0] | codes[i, width - 1]
    for j in range(n):
        i = picked[j] if masked else j
        code, score = codes[i], np.float32(0)
        for d in range(width):
            # sign, exponent and fraction of the half float, moved to where a float has them
            bits = np.int32((np.int32(code[d]) << np.int32(13)) & np.int32(-1879056384))
            score += query[d] * bits.view(np.float32)
        if score >= least:
            _offer(items, top, score, np.int32(ids[i]), barred)
            least = top[0]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scan_words(
    words: Array, ids: Array, table: Scores, allow: Mask, masked: bool, barred: Rows, items: Rows, top: Scores
) -> None:
    """Offer the allowed items of a list of product-quantised codes."""
    for i in range(len(ids)):
        if masked and (ids[i] >= len(allow) or not allow[ids[i]]):
            continue
        score = np.float32(0)
        for part in range(words.shape[1]):
            score += table[256 * part + words[i, part]]
        if score >= top[0]:
            _offer(items, top, score, np.int32(ids[i]), barred)


@njit(cache=True, nogil=True)
def _offer(items: Rows, top: Scores, score: np.float32, item: np.int32, barred: Rows) -> None:
    """Take an item into the heap of the best, whose root is the worst of them, if it is better and not barred."""
    if score == top[0] and item > items[0]:
        return
    place = np.searchsorted(barred, item)
    if place < len(barred) and barred[place] == item:
        return
    sink(top, items, len(items), score, item)


@njit(cache=True, nogil=True)
def _heapify(heap: Array, bound: Scores, lists: Array) -> int:
    """Make a heap of the lists that hold anything, the highest bound at the root; return their number."""
    size = 0
    for place in range(len(lists)):
        if lists[place, 2]:
            heap[size] = place
            size += 1
    for place in range(size // 2 - 1, -1, -1):
        _settle(heap, bound, place, size)
    return size


@njit(cache=True, nogil=True)
def _settle(heap: Array, bound: Scores, place: int, size: int) -> None:
    moving = heap[place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and bound[heap[child + 1]] > bound[heap[child]]:
            child += 1
        if bound[heap[child]] <= bound[moving]:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = moving
