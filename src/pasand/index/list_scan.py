"""The scan of inverted lists: the best lists first, masks inside, no more lists once none can hold a better item.

faiss owns the lists, in memory or mapped from a file; this kernel reads them where they lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from pasand.types import Array, Mask, Rows, Scores

HALF_BITS = np.float32(2.0**112)
"""What a half float's bits, shifted into a float's place, are too small by; the query is multiplied by it instead."""

SUSPECTS = 1024
"""Classes of rows, by their last digits, that are told apart before a row is looked up among the barred ones."""
ROWS = np.int32(2**31 - 1)
"""The largest row."""


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
    best = np.empty(k + max(2 * k, 1024), np.int64)
    suspect = np.zeros(SUSPECTS, np.bool_)
    for b in range(n_queries):
        query, bound, barred = tables[b], bounds[b], exclude[b]
        allow = allowed[b if len(allowed) > 1 else 0]
        for row in barred:
            suspect[row & (SUSPECTS - 1)] = True
        waiting, size, least = _heapify(heap, bound, lists), 0, np.float32(-np.inf)
        while waiting:
            place = heap[0]
            # an estimate, so equality may stop: with a query of zeros the first k rows will do
            if bound[place] <= least:
                break
            waiting -= 1
            heap[0] = heap[waiting]
            _settle(heap, bound, 0, waiting)
            n = lists[place, 2]
            ids = carray(_ids_at(lists[place, 1]), (n,))
            if halves:
                codes = carray(_halves_at(lists[place, 0]), (n, width))
                size, least = _scan_halves(
                    codes, ids, query, allow, masked, barred, suspect, best, size, least, k, picked, touched
                )
            else:
                words = carray(_bytes_at(lists[place, 0]), (n, width))
                size, least = _scan_words(words, ids, query, allow, masked, barred, suspect, best, size, least, k)
            if size >= k + k // 4 or (size >= k and least == -np.inf):
                size, least = _keep(best, size, k), _score_of(best[k - 1])
        kept = np.sort(best[: _keep(best, size, k)])[::-1]
        for at in range(len(kept)):
            items[b, at], scores[b, at] = ROWS - np.int32(kept[at] & ROWS), _score_of(kept[at])
        for row in barred:
            suspect[row & (SUSPECTS - 1)] = False
    return items, scores


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scan_halves(
    codes: Array,
    ids: Array,
    query: Scores,
    allow: Mask,
    masked: bool,
    barred: Rows,
    suspect: Mask,
    best: Array,
    size: int,
    least: np.float32,
    k: int,
    picked: Array,
    touched: Array,
) -> tuple[int, np.float32]:
    """Take the allowed items of a list of half floats that are good enough; return the new size and least score."""
    n, width = len(ids), len(query)
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
        if score >= least and not _is_barred(ids[i], barred, suspect):
            best[size] = _key(score, ids[i])
            size += 1
            if size == len(best):
                size, least = _keep(best, size, k), _score_of(best[k - 1])
    return size, least


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scan_words(
    words: Array,
    ids: Array,
    table: Scores,
    allow: Mask,
    masked: bool,
    barred: Rows,
    suspect: Mask,
    best: Array,
    size: int,
    least: np.float32,
    k: int,
) -> tuple[int, np.float32]:
    """As `_scan_halves` for a list of product-quantised codes."""
    for i in range(len(ids)):
        if masked and (ids[i] >= len(allow) or not allow[ids[i]]):
            continue
        score = np.float32(0)
        for part in range(words.shape[1]):
            score += table[256 * part + words[i, part]]
        if score >= least and not _is_barred(ids[i], barred, suspect):
            best[size] = _key(score, ids[i])
            size += 1
            if size == len(best):
                size, least = _keep(best, size, k), _score_of(best[k - 1])
    return size, least


@njit(cache=True, nogil=True)
def _is_barred(row: int, barred: Rows, suspect: Mask) -> bool:
    """Return whether a row is among the sorted barred ones; `suspect` says by its last digits that it may be."""
    if not suspect[row & (SUSPECTS - 1)]:
        return False
    place = np.searchsorted(barred, row)
    return bool(place < len(barred) and barred[place] == row)


@njit(cache=True, nogil=True)
def _key(score: np.float32, row: int) -> int:
    """Return a whole number that is larger for a better item: a higher score, then a lower row."""
    bits = np.int64(np.float32(score + np.float32(0)).view(np.int32))  # 0 is added because -0 is no less than 0
    return int(((bits if bits >= 0 else bits ^ np.int64(ROWS)) << np.int64(32)) | (np.int64(ROWS) - row))


@njit(cache=True, nogil=True)
def _score_of(key: int) -> np.float32:
    """Return the score that a key was made of."""
    bits = key >> np.int64(32)
    return np.int32(bits if bits >= 0 else bits ^ np.int64(ROWS)).view(np.float32)


@njit(cache=True, nogil=True)
def _keep(keys: Array, size: int, k: int) -> int:
    """Put the k largest of the first `size` keys, all different, in front, the least of them last; return how many."""
    low, high = 0, size - 1 if size >= k else -1
    while low < high:
        one, two, three = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(one, two), min(max(one, two), three))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i, j = i + 1, j - 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    return min(size, k)


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
