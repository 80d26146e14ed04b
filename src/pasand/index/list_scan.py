"""Kernels that scan inverted lists: best lists first, masks inside, no further list once none can have better items.

faiss owns the lists, in memory or mapped from a file; the kernels read them by their addresses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from pasand.types import Array, Mask, Rows, Scores

HALF_BITS = np.float32(2.0**112)
"""Factor missing from a half float whose bits are shifted to those of a float; queries are multiplied by it instead."""

PRODUCT_CODES, HALVES, FLOATS = 0, 1, 2
"""Kinds of codes: bytes of a product quantiser, half floats, floats."""

ROW_CLASSES = 1024
"""Number of classes of rows, by their lowest bits: only rows in a class of an excluded row are looked up."""
ROWS = np.int32(2**31 - 1)
"""Largest row."""


def _pointer_to(kind: Any) -> Any:
    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    return pointer


_bytes_at, _halves_at, _ids_at = _pointer_to(types.uint8), _pointer_to(types.int16), _pointer_to(types.int64)
_floats_at = _pointer_to(types.float32)


@njit(cache=True, nogil=True)
def scan(
    tables: Scores,
    bounds: Scores,
    lists: Array,
    kind: int,
    allowed: Mask,
    masked: bool,
    exclude: Rows,
    k: int,
) -> tuple[Rows, Scores]:
    """Return the k best rows of each query and their scores, (B, k) each; equal scores: the lower row first.

    `kind` is that of the codes. `tables`: for halves, queries (B, D) times HALF_BITS; for floats, queries (B, D); for
    product codes, lookup tables of inner products, (B, 256 * parts), one entry for each value of each byte of a code.
    `bounds`, (B, L): scores that the items of a list are expected not to exceed. `lists`, (L, 3) int64: addresses of
    codes and of ids, and their number. `exclude`, (B, X): rows sorted within each query. `masked`: whether `allowed`,
    (1 | B, W), applies; ids at or beyond W are then not allowed.
    """
    n_queries, n_lists = bounds.shape
    items = np.full((n_queries, k), -1, np.int32)
    scores = np.full((n_queries, k), -np.inf, np.float32)
    heap = np.empty(n_lists, np.int64)
    picked = np.empty(lists[:, 2].max() if masked and n_lists else 0, np.int64)
    touched = np.zeros(1, np.int16)
    width = tables.shape[1] // 256 if kind == PRODUCT_CODES else tables.shape[1]
    best = np.empty(k + max(2 * k, 1024), np.int64)
    classes = np.zeros(ROW_CLASSES, np.bool_)
    for b in range(n_queries):
        query, bound, excluded = tables[b], bounds[b], exclude[b]
        allow = allowed[b if len(allowed) > 1 else 0]
        for row in excluded:
            classes[row & (ROW_CLASSES - 1)] = True
        waiting, size, threshold = _heapify(heap, bound, lists), 0, np.float32(-np.inf)
        while waiting:
            current = heap[0]
            # bounds are estimates, so equality may stop the scan: for a query of zeros any k rows are as good
            if bound[current] <= threshold:
                break
            waiting -= 1
            heap[0] = heap[waiting]
            _sift_down(heap, bound, 0, waiting)
            n = lists[current, 2]
            ids = carray(_ids_at(lists[current, 1]), (n,))
            if kind == HALVES:
                half_codes = carray(_halves_at(lists[current, 0]), (n, width))
                size, threshold = _scan_halves(
                    half_codes, ids, query, allow, masked, excluded, classes, best, size, threshold, k, picked, touched
                )
            elif kind == FLOATS:
                floats = carray(_floats_at(lists[current, 0]), (n, width))
                size, threshold = _scan_floats(
                    floats, ids, query, allow, masked, excluded, classes, best, size, threshold, k
                )
            else:
                product_codes = carray(_bytes_at(lists[current, 0]), (n, width))
                size, threshold = _scan_product_codes(
                    product_codes, ids, query, allow, masked, excluded, classes, best, size, threshold, k
                )
            if size >= k + k // 4 or (size >= k and threshold == -np.inf):
                size, threshold = _select_top(best, size, k), _score_of(best[k - 1])
        keys = np.sort(best[: _select_top(best, size, k)])[::-1]
        for i in range(len(keys)):
            items[b, i], scores[b, i] = ROWS - np.int32(keys[i] & ROWS), _score_of(keys[i])
        for row in excluded:
            classes[row & (ROW_CLASSES - 1)] = False
    return items, scores


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scan_halves(
    codes: Array,
    ids: Array,
    query: Scores,
    allow: Mask,
    masked: bool,
    excluded: Rows,
    classes: Mask,
    best: Array,
    size: int,
    threshold: np.float32,
    k: int,
    picked: Array,
    touched: Array,
) -> tuple[int, np.float32]:
    """Add the allowed items of a list of half floats that reach the threshold; return the new size and threshold."""
    n, width = len(ids), len(query)
    if masked:
        # first find the allowed codes and touch them, so that memory is fetched while the processor multiplies
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
            # shift sign, exponent and fraction of the half float to their positions in a float
            bits = np.int32((np.int32(code[d]) << np.int32(13)) & np.int32(-1879056384))
            score += query[d] * bits.view(np.float32)
        if score >= threshold and not _is_excluded(ids[i], excluded, classes):
            size, threshold = _insert(best, size, threshold, k, _key(score, ids[i]))
    return size, threshold


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scan_floats(
    codes: Array,
    ids: Array,
    query: Scores,
    allow: Mask,
    masked: bool,
    excluded: Rows,
    classes: Mask,
    best: Array,
    size: int,
    threshold: np.float32,
    k: int,
) -> tuple[int, np.float32]:
    """Do the same as `_scan_halves` for a list of floats."""
    for i in range(len(ids)):
        if masked and (ids[i] >= len(allow) or not allow[ids[i]]):
            continue
        code, score = codes[i], np.float32(0)
        for d in range(len(query)):
            score += query[d] * code[d]
        if score >= threshold and not _is_excluded(ids[i], excluded, classes):
            size, threshold = _insert(best, size, threshold, k, _key(score, ids[i]))
    return size, threshold


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _scan_product_codes(
    codes: Array,
    ids: Array,
    table: Scores,
    allow: Mask,
    masked: bool,
    excluded: Rows,
    classes: Mask,
    best: Array,
    size: int,
    threshold: np.float32,
    k: int,
) -> tuple[int, np.float32]:
    """Do the same as `_scan_halves` for a list of product-quantised codes; `table` holds their inner products."""
    for i in range(len(ids)):
        if masked and (ids[i] >= len(allow) or not allow[ids[i]]):
            continue
        score = np.float32(0)
        for part in range(codes.shape[1]):
            score += table[256 * part + codes[i, part]]
        if score >= threshold and not _is_excluded(ids[i], excluded, classes):
            size, threshold = _insert(best, size, threshold, k, _key(score, ids[i]))
    return size, threshold


@njit(cache=True, nogil=True)
def _insert(best: Array, size: int, threshold: np.float32, k: int, key: int) -> tuple[int, np.float32]:
    """Append a key to the first `size` keys; where that fills `best`, keep the k largest. Return size and threshold."""
    best[size] = key
    size += 1
    if size == len(best):
        return _select_top(best, size, k), _score_of(best[k - 1])
    return size, threshold


@njit(cache=True, nogil=True)
def _is_excluded(row: int, excluded: Rows, classes: Mask) -> bool:
    """Return whether a row is among the sorted excluded rows; most rows are ruled out by their class."""
    if not classes[row & (ROW_CLASSES - 1)]:
        return False
    i = np.searchsorted(excluded, row)
    return bool(i < len(excluded) and excluded[i] == row)


@njit(cache=True, nogil=True)
def _key(score: np.float32, row: int) -> int:
    """Return an integer that is larger for a better item: by higher score, then by lower row."""
    bits = np.int64(np.float32(score + np.float32(0)).view(np.int32))  # adding 0 turns -0 into 0
    return int(((bits if bits >= 0 else bits ^ np.int64(ROWS)) << np.int64(32)) | (np.int64(ROWS) - row))


@njit(cache=True, nogil=True)
def _score_of(key: int) -> np.float32:
    """Return the score of a key."""
    bits = key >> np.int64(32)
    return np.int32(bits if bits >= 0 else bits ^ np.int64(ROWS)).view(np.float32)


@njit(cache=True, nogil=True)
def _select_top(keys: Array, size: int, k: int) -> int:
    """Move the k largest of the first `size` distinct keys to the front, the k-th at k - 1; return min(size, k).

    This is Hoare's quickselect.
    """
    low, high = 0, size - 1 if size >= k else -1
    while low < high:
        first, middle, last = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(first, middle), min(max(first, middle), last))
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
    """Build a heap of the nonempty lists with the highest bound at the root; return their number."""
    size = 0
    for i in range(len(lists)):
        if lists[i, 2]:
            heap[size] = i
            size += 1
    for node in range(size // 2 - 1, -1, -1):
        _sift_down(heap, bound, node, size)
    return size


@njit(cache=True, nogil=True)
def _sift_down(heap: Array, bound: Scores, node: int, size: int) -> None:
    """Move the entry at a node down until no child has a higher bound."""
    moving = heap[node]
    while True:
        child = 2 * node + 1
        if child >= size:
            break
        if child + 1 < size and bound[heap[child + 1]] > bound[heap[child]]:
            child += 1
        if bound[heap[child]] <= bound[moving]:
            break
        heap[node] = heap[child]
        node = child
    heap[node] = moving
