"""`Bags`: several codes for each row, stored one after the other with the offset at which each row starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit

from pasand.growable import extended
from pasand.mapped import check, check_offsets
from pasand.types import Array, Offsets, Rows


class Bags:
    """An immutable list of codes for each of n rows, in as much memory as there are codes, however long one row is."""

    def __init__(self, codes: Rows, start: Offsets) -> None:
        """Wrap the codes of all rows, (T,), and offsets, (n + 1,): row i has the codes[start[i]:start[i + 1]]."""
        self.codes, self.start = codes, start

    @classmethod
    def of(cls, padded: Array) -> Bags:
        """Return the bags of an array of codes, (n, L), padded with -1 anywhere.

        >>> Bags.of(np.array([[4, -1], [-1, -1], [2, 4]])).start
        array([0, 1, 1, 3])
        """
        inside = padded >= 0
        return cls(padded[inside].astype(np.int32), _offsets(inside.sum(axis=1)))

    @classmethod
    def empty(cls, n: int) -> Bags:
        """Return n bags without codes."""
        return cls(np.zeros(0, np.int32), np.zeros(n + 1, np.int64))

    @classmethod
    def stored(cls, codes: Array, start: Array) -> Bags:
        """Return the bags of arrays from a file; raises ValueError unless the offsets rise from 0 to all codes."""
        check("the codes of bags", codes, np.int32, (None,))
        check_offsets("the offsets of bags", start, len(codes))
        if not len(start) or start[0]:
            raise ValueError("the offsets of bags must begin with 0")
        return cls(codes, start)

    def __len__(self) -> int:
        return len(self.start) - 1

    def __getitem__(self, rows: Any) -> Any:
        """Return the codes of one row, (m,), or the bags of a slice, a mask or an array of rows."""
        if isinstance(rows, int | np.integer):
            row = range(len(self))[rows]
            return self.codes[self.start[row] : self.start[row + 1]]
        if isinstance(rows, slice) and rows.step in (None, 1):
            begin, end, _ = rows.indices(len(self))
            end = max(begin, end)
            first = self.start[begin]
            start = self.start[begin : end + 1]
            return Bags(self.codes[first : self.start[end]], start - first if first else start)
        return self.select(np.arange(len(self))[rows])

    def __iter__(self) -> Iterator[Rows]:
        return (self[row] for row in range(len(self)))

    @property
    def nbytes(self) -> int:
        """Bytes of codes and offsets."""
        return self.codes.nbytes + self.start.nbytes

    @property
    def longest(self) -> int:
        """Codes of the longest row, 0 without rows."""
        return int(np.diff(self.start).max(initial=0))

    def row_of_code(self) -> Offsets:
        """Return the row of each code, (T,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def select(self, rows: Array) -> Bags:
        """Return the bags of the rows, (m,), in their order; empty ones where a row is -1 or beyond the table."""
        rows = np.asarray(rows)
        known = (rows >= 0) & (rows < len(self))
        row = np.where(known, rows, 0)
        begin, end = (self.start[row], self.start[row + 1]) if len(self) else (row, row)
        count = np.where(known, end - begin, 0)
        start = _offsets(count)
        at = np.repeat(begin - start[:-1], count) + np.arange(start[-1])
        return Bags(self.codes[at], start)

    def padded(self, rows: Array, most: int) -> Rows:
        """Return the first codes of each row, at most `most`, padded with -1 to the longest of them; (...) -> (..., L).

        L is at least 1. A row that is -1 or beyond the table has none.

        >>> Bags.of(np.array([[4, -1, -1], [7, 2, 4]])).padded(np.array([1, 0, -1]), 2)
        array([[ 7,  2],
               [ 4, -1],
               [-1, -1]], dtype=int32)
        """
        flat = np.asarray(rows, np.int64).reshape(-1)
        table: Rows = _padded(self.codes, self.start, flat, most)
        return table.reshape(*np.shape(rows), table.shape[1])

    def recoded(self, new_codes: Rows) -> Bags:
        """Return the bags with each code c replaced by new_codes[c], without those for which it is -1."""
        codes = new_codes[self.codes]
        kept = codes >= 0
        return self if not len(codes) else Bags(codes[kept], _offsets(kept)[self.start])

    def extended(self, more: Bags) -> Bags:
        """Return these bags followed by further ones; large tables are not copied each time (`growable.extended`)."""
        return Bags(extended(self.codes, more.codes), extended(self.start, more.start[1:] + self.start[-1]))

    def replaced(self, rows: Array, more: Bags) -> Bags:
        """Return the bags with those of different rows, (m,), replaced by further ones, in their order."""
        order = np.argsort(rows)
        parts, at = [], 0
        count = np.zeros(len(self) + 1, np.int64)
        for row, new in zip(np.asarray(rows)[order].tolist(), order.tolist(), strict=True):
            begin, end = int(self.start[row]), int(self.start[row + 1])
            parts += [self.codes[at:begin], more[new]]
            count[row + 1], at = len(more[new]) - (end - begin), end
        return Bags(np.concatenate([*parts, self.codes[at:]]), self.start + np.cumsum(count))


def _offsets(count: Array) -> Offsets:
    """Return 0 and the running sums of counts, (n,) -> (n + 1,)."""
    start = np.zeros(len(count) + 1, np.int64)
    np.cumsum(count, out=start[1:])
    return start


@njit(cache=True, nogil=True)
def _padded(codes: Rows, start: Offsets, rows: Offsets, most: int) -> Rows:
    width = 1
    for row in rows:
        if 0 <= row < len(start) - 1:
            width = max(width, min(most, start[row + 1] - start[row]))
    out = np.full((len(rows), width), -1, np.int32)
    for i in range(len(rows)):
        if 0 <= rows[i] < len(start) - 1:
            begin = start[rows[i]]
            for j in range(min(most, start[rows[i] + 1] - begin)):
                out[i, j] = codes[begin + j]
    return out
