"""Many texts in little memory: one after the other as UTF-8, read where they lie, be it in a mapped file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numba import njit

from pasand.types import Array, Mask, Offsets, Rows


class Packed:
    """Texts by place, as UTF-8, which nobody changes."""

    def __init__(self, data: Array, ends: Offsets) -> None:
        """Take the texts' bytes, (total,) uint8, and where each ends among them, (n,)."""
        self.data, self.ends = _plain(data), _plain(ends)
        self._bytes, self._ends = memoryview(self.data), memoryview(self.ends)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Packed:
        """Return texts packed; UnicodeEncodeError for half of a surrogate pair.

        >>> Packed.of(["a", "bc"]).ends
        array([1, 3])
        """
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(piece) for piece in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> str:
        return str(self._bytes[self._ends[place - 1] if place else 0 : self._ends[place]], "utf-8")

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self.data, self.ends)

    def texts(self) -> list[str]:
        """Return all of them.

        >>> Packed.of(["पसंद", ""]).texts()
        ['पसंद', '']
        """
        whole, start, texts = self.data.tobytes(), 0, []
        for end in self.ends.tolist():
            texts.append(whole[start:end].decode())
            start = end
        return texts

    def ascends(self, order: Rows) -> bool:
        """Whether the texts at these places are all different and each above the one before, byte by byte."""
        return bool(_ascends(self.data, self.ends, _plain(order)))

    def equal(self, wanted: str) -> Rows:
        """Return the places of a text, (m,), rising; all texts of its length are looked through.

        >>> Packed.of(["b", "a", "bc", "a"]).equal("a")
        array([1, 3], dtype=int32)
        """
        sought = np.frombuffer(wanted.encode(errors="surrogatepass"), np.uint8)
        length = np.diff(self.ends, prepend=0)
        places = np.flatnonzero(length == len(sought)).astype(np.int32)
        for back, byte in enumerate(sought[::-1], 1):  # from the end, where texts differ sooner
            places = places[self.data[self.ends[places] - back] == byte]
        return places

    def find(self, wanted: list[str], order: Rows) -> Rows:
        """Return where each text stands, -1 where it does not; `order` are the places, (n,), in order of the texts."""
        sought = [text.encode(errors="surrogatepass") for text in wanted]  # such a half is in no text, and no error
        ends = np.cumsum([len(piece) for piece in sought], dtype=np.int64)
        together = np.frombuffer(bytearray().join(sought), np.uint8)
        found: Rows = _find(self.data, self.ends, _plain(order), together, ends)
        return found


class Texts:
    """An array of strings, (n,), that stays packed until somebody asks for all of them.

    What NumPy's arrays of `StringDType` are asked for in this project it answers alike; a copy costs what was changed.
    """

    dtype = np.dtypes.StringDType()
    ndim = 1

    def __init__(self, packed: Packed, changed: Mapping[int, str] | None = None) -> None:
        """Take texts, and by row those that are others now, or that come after them."""
        self._packed, self._changed = packed, dict(changed or {})
        self._length = max([len(packed), *(row + 1 for row in self._changed)])

    @property
    def shape(self) -> tuple[int]:
        """(n,)"""
        return (self._length,)

    @property
    def packed(self) -> Packed:
        """The texts as they are now."""
        return Packed.of(self) if self._changed else self._packed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: Any) -> Any:
        """Return the text of a row, or those of several as an array of NumPy."""
        if isinstance(rows, int):  # what is asked for in every answer
            return self._of(range(self._length)[rows]) if self._changed or rows < 0 else self._packed[rows]
        if isinstance(rows, np.integer):
            return self[int(rows)]
        return np.array([self._of(row) for row in self._rows(rows)], self.dtype)

    def __setitem__(self, rows: Any, texts: Any) -> None:
        chosen = self._rows([rows] if isinstance(rows, int | np.integer) else rows)
        several = [texts] * len(chosen) if isinstance(texts, str) else list(texts)
        self._changed |= zip(chosen, map(str, several), strict=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.tolist(), self.dtype if dtype is None else dtype)

    def __eq__(self, other: object) -> Any:
        return self.isin([other]) if isinstance(other, str) else np.asarray(self) == np.asarray(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Texts, (self._packed, self._changed)

    def tolist(self) -> list[str]:
        """Return all of them."""
        texts = self._packed.texts() + [""] * (self._length - len(self._packed))
        for row, text in self._changed.items():
            texts[row] = text
        return texts

    def isin(self, wanted: Iterable[str]) -> Mask:
        """Return which are among some texts, (n,)."""
        chosen, found = set(wanted), np.zeros(self._length, np.bool_)
        for text in chosen:
            found[self._packed.equal(text)] = True
        for row, text in self._changed.items():
            found[row] = text in chosen
        return found

    def copy(self) -> Texts:
        """Return the same texts; those of the copy may be changed."""
        return Texts(self._packed, self._changed)

    def extended(self, texts: Iterable[str]) -> Texts:
        """Return these texts and further ones behind them."""
        return Texts(self._packed, self._changed | dict(enumerate(map(str, texts), self._length)))

    def _rows(self, rows: Any) -> list[int]:
        if isinstance(rows, slice):
            return list(range(self._length)[rows])
        chosen: list[int] = np.arange(self._length)[rows].tolist()
        return chosen

    def _of(self, row: int) -> str:
        found = self._changed.get(row)
        return self._packed[row] if found is None else found


def still_packed(values: object) -> Texts | None:
    """Return an array of strings where it is packed, else None."""
    return values if isinstance(values, Texts) else None


def _plain(array: Array) -> Array:
    """Return an array that could be written, since compiled code is called faster with those."""
    return array if array.flags.writeable else array.copy()


@njit(cache=True)
def _compare(one: Array, a: int, b: int, other: Array, c: int, d: int) -> int:
    """Return less than 0, 0 or more, as the bytes a to b of one stand to the bytes c to d of the other."""
    for step in range(min(b - a, d - c)):
        if one[a + step] != other[c + step]:
            return 1 if one[a + step] > other[c + step] else -1
    return (b - a) - (d - c)


@njit(cache=True)
def _ascends(data: Array, ends: Offsets, order: Rows) -> bool:
    for at in range(1, len(order)):
        i, j = order[at - 1], order[at]
        begin, start = ends[i - 1] if i else 0, ends[j - 1] if j else 0
        if _compare(data, begin, ends[i], data, start, ends[j]) >= 0:
            return False
    return True


@njit(cache=True)
def _find(data: Array, ends: Offsets, order: Rows, sought: Array, sought_ends: Offsets) -> Rows:
    found = np.full(len(sought_ends), -1, np.int32)
    for w in range(len(sought_ends)):
        begin, end = sought_ends[w - 1] if w else 0, sought_ends[w]
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            i = order[middle]
            if _compare(data, ends[i - 1] if i else 0, ends[i], sought, begin, end) < 0:
                low = middle + 1
            else:
                high = middle
        if low < len(order):
            i = order[low]
            if _compare(data, ends[i - 1] if i else 0, ends[i], sought, begin, end) == 0:
                found[w] = i
    return found
