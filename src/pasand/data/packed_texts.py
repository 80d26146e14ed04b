"""Texts in little memory: `PackedTexts` keeps them as UTF-8 bytes, also of a mapped file; `TextArray` can change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numba import njit

from pasand.mapped import check, check_offsets
from pasand.types import Array, Mask, Offsets, Rows

FEW = 8
"""Number of texts up to which comparing each of them with all others is faster than hashing all."""


class PackedTexts:
    """Immutable sequence of texts, stored as concatenated UTF-8 bytes."""

    def __init__(self, data: Array, ends: Offsets) -> None:
        """Wrap the bytes of all texts, (total,) uint8, and the offset at which each ends, (n,)."""
        self.data, self.ends = _writable(data), _writable(ends)
        self._bytes, self._ends = memoryview(self.data), memoryview(self.ends)

    @classmethod
    def of(cls, texts: Iterable[str]) -> PackedTexts:
        """Return the packed texts; UnicodeEncodeError for half of a surrogate pair.

        >>> PackedTexts.of(["a", "bc"]).ends
        array([1, 3])
        """
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    @classmethod
    def stored(cls, data: Array, ends: Offsets) -> PackedTexts:
        """Return the texts of arrays from a file; raises ValueError unless their ends rise to the number of bytes."""
        check("the bytes of texts", data, np.uint8, (None,))
        check_offsets("the ends of texts", ends, len(data))
        return cls(data, ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> str:
        return str(self._bytes[self._ends[row - 1] if row else 0 : self._ends[row]], "utf-8")

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedTexts, (self.data, self.ends)

    def texts(self) -> list[str]:
        """Return all texts.

        >>> PackedTexts.of(["पसंद", ""]).texts()
        ['पसंद', '']
        """
        data, start, texts = self.data.tobytes(), 0, []
        for end in self.ends.tolist():
            texts.append(data[start:end].decode())
            start = end
        return texts

    def is_sorted(self, order: Rows) -> bool:
        """Whether the texts at these rows are strictly ascending in their bytes, and so all different."""
        return bool(_is_sorted(self.data, self.ends, _writable(order)))

    def rows_of(self, wanted: str) -> Rows:
        """Return the rows of a text, (m,), ascending, by comparison with all texts of its length.

        >>> PackedTexts.of(["b", "a", "bc", "a"]).rows_of("a")
        array([1, 3], dtype=int32)
        """
        encoded = np.frombuffer(wanted.encode(errors="surrogatepass"), np.uint8)
        length = np.diff(self.ends, prepend=0)
        rows = np.flatnonzero(length == len(encoded)).astype(np.int32)
        for back, byte in enumerate(encoded[::-1], 1):  # from the end, where texts differ sooner
            rows = rows[self.data[self.ends[rows] - back] == byte]
        return rows

    def isin(self, wanted: Iterable[str]) -> Mask:
        """Return whether each text is among the given ones, (n,), by hashing: its time hardly depends on their number.

        >>> PackedTexts.of(["b", "a", "bc", "a"]).isin(["a", "bc", "d"])
        array([False,  True,  True,  True])
        """
        encoded = [text.encode(errors="surrogatepass") for text in set(wanted)]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        data = np.frombuffer(bytearray().join(encoded), np.uint8)
        found: Mask = _isin(self.data, self.ends, data, ends)
        return found

    def find(self, wanted: list[str], order: Rows) -> Rows:
        """Return the row of each text, -1 where it is absent; `order` is the rows, (n,), in order of their texts."""
        # half of a surrogate pair is in no text, and no error
        encoded = [text.encode(errors="surrogatepass") for text in wanted]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        data = np.frombuffer(bytearray().join(encoded), np.uint8)
        rows: Rows = _find(self.data, self.ends, _writable(order), data, ends)
        return rows


class TextArray:
    """An array of strings, (n,), that stays packed until all of them are needed.

    It supports those operations of NumPy's `StringDType` arrays that this project uses. A copy shares the packed texts
    and costs no more than the changed rows.
    """

    dtype = np.dtypes.StringDType()
    ndim = 1

    def __init__(self, packed: PackedTexts, changed: Mapping[int, str] | None = None) -> None:
        """Wrap packed texts, and by row the texts that replace them or come after them."""
        self._packed, self._changed = packed, dict(changed or {})
        self._length = max([len(packed), *(row + 1 for row in self._changed)])

    @property
    def shape(self) -> tuple[int]:
        """(n,)"""
        return (self._length,)

    @property
    def packed(self) -> PackedTexts:
        """The current texts, packed."""
        return PackedTexts.of(self) if self._changed else self._packed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: Any) -> Any:
        """Return the text of a row, or the texts of several rows as a NumPy array."""
        if isinstance(rows, int):  # the fast path, needed in every response
            return self._text(range(self._length)[rows]) if self._changed or rows < 0 else self._packed[rows]
        if isinstance(rows, np.integer):
            return self[int(rows)]
        return np.array([self._text(row) for row in self._rows(rows)], self.dtype)

    def __setitem__(self, rows: Any, texts: Any) -> None:
        chosen = self._rows([rows] if isinstance(rows, int | np.integer) else rows)
        values = [texts] * len(chosen) if isinstance(texts, str) else list(texts)
        self._changed |= zip(chosen, map(str, values), strict=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.tolist(), self.dtype if dtype is None else dtype)

    def __eq__(self, other: object) -> Any:
        return self.isin([other]) if isinstance(other, str) else np.asarray(self) == np.asarray(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return TextArray, (self._packed, self._changed)

    def tolist(self) -> list[str]:
        """Return all texts."""
        texts = self._packed.texts() + [""] * (self._length - len(self._packed))
        for row, text in self._changed.items():
            texts[row] = text
        return texts

    def isin(self, wanted: Iterable[str]) -> Mask:
        """Return whether each text is among the given ones, (n,)."""
        texts, found = set(wanted), np.zeros(self._length, np.bool_)
        if len(texts) <= FEW:
            for text in texts:
                found[self._packed.rows_of(text)] = True
        else:
            found[: len(self._packed)] = self._packed.isin(texts)
        for row, text in self._changed.items():
            found[row] = text in texts
        return found

    def copy(self) -> TextArray:
        """Return a copy, whose texts can be changed independently."""
        return TextArray(self._packed, self._changed)

    def extended(self, texts: Iterable[str]) -> TextArray:
        """Return these texts followed by further ones."""
        return TextArray(self._packed, self._changed | dict(enumerate(map(str, texts), self._length)))

    def _rows(self, rows: Any) -> list[int]:
        if isinstance(rows, slice):
            return list(range(self._length)[rows])
        chosen: list[int] = np.arange(self._length)[rows].tolist()
        return chosen

    def _text(self, row: int) -> str:
        changed = self._changed.get(row)
        return self._packed[row] if changed is None else changed


def packed_or_none(values: object) -> TextArray | None:
    """Return the values if they are a `TextArray`, else None."""
    return values if isinstance(values, TextArray) else None


def _writable(array: Array) -> Array:
    """Return the array, or a copy if it is read-only, since compiled code is called faster with writable arrays."""
    return array if array.flags.writeable else array.copy()


@njit(cache=True)
def _compare(left: Array, a: int, b: int, right: Array, c: int, d: int) -> int:
    """Return less than 0, 0 or more than 0, as left[a:b] is less than, equal to or greater than right[c:d]."""
    for i in range(min(b - a, d - c)):
        if left[a + i] != right[c + i]:
            return 1 if left[a + i] > right[c + i] else -1
    return (b - a) - (d - c)


@njit(cache=True)
def _is_sorted(data: Array, ends: Offsets, order: Rows) -> bool:
    for at in range(1, len(order)):
        i, j = order[at - 1], order[at]
        begin, start = ends[i - 1] if i else 0, ends[j - 1] if j else 0
        if _compare(data, begin, ends[i], data, start, ends[j]) >= 0:
            return False
    return True


@njit(cache=True)
def _find(data: Array, ends: Offsets, order: Rows, wanted: Array, wanted_ends: Offsets) -> Rows:
    """Return the row of each wanted text by binary search, -1 where it is absent; (n,)."""
    found = np.full(len(wanted_ends), -1, np.int32)
    for w in range(len(wanted_ends)):
        begin, end = wanted_ends[w - 1] if w else 0, wanted_ends[w]
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            i = order[middle]
            if _compare(data, ends[i - 1] if i else 0, ends[i], wanted, begin, end) < 0:
                low = middle + 1
            else:
                high = middle
        if low < len(order):
            i = order[low]
            if _compare(data, ends[i - 1] if i else 0, ends[i], wanted, begin, end) == 0:
                found[w] = i
    return found


@njit(cache=True)
def _hash(data: Array, begin: int, end: int) -> int:
    """Return the FNV-1a hash of data[begin:end] in 32 bits."""
    value = 2166136261
    for i in range(begin, end):
        value = ((value ^ data[i]) * 16777619) & 0xFFFFFFFF
    return value ^ (value >> 15)


@njit(cache=True)
def _isin(data: Array, ends: Offsets, wanted: Array, wanted_ends: Offsets) -> Mask:
    """Return whether each text is among the wanted ones, (n,), by a hash table with linear probing."""
    size = 16
    while size < 4 * len(wanted_ends):
        size *= 2
    table = np.full(size, -1, np.int64)
    for w in range(len(wanted_ends)):
        at = _hash(wanted, wanted_ends[w - 1] if w else 0, wanted_ends[w]) & (size - 1)
        while table[at] >= 0:
            at = (at + 1) & (size - 1)
        table[at] = w
    found = np.zeros(len(ends), np.bool_)
    for row in range(len(ends)):
        begin, end = ends[row - 1] if row else 0, ends[row]
        at = _hash(data, begin, end) & (size - 1)
        while table[at] >= 0 and not found[row]:
            w = table[at]
            start = wanted_ends[w - 1] if w else 0
            found[row] = _compare(data, begin, end, wanted, start, wanted_ends[w]) == 0
            at = (at + 1) & (size - 1)
    return found
