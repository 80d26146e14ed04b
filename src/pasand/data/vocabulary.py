"""Vocabulary: translates external ids, always strings, to rows 0..n-1 and back."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import polars as pl

from pasand.data.packed_texts import Packed
from pasand.types import Array, Arrays, Rows

LATE = 1024
"""Ids appended to a vocabulary before it is sorted anew, which at a million ids takes a second."""


MANY = 1024
"""Ids from which on a data frame, where there is one, looks them up faster; fewer would only wake its threads."""


class Vocabulary:
    """Translates external ids, always strings, to rows 0..n-1 and back.

    Rows follow the sorted ids, so that the same ids give the same rows whatever file they came from. Ids that are
    appended later come after them, so that no row changes its meaning.
    """

    def __init__(self, ids: pl.Series | Iterable[str | int]) -> None:
        self._ids: pl.Series | None = _texts(ids).unique().sort()
        """In order of row, but those that came late; None: not asked for yet."""
        self._order = np.arange(len(self._ids), dtype=np.int32)
        """Rows in order of id."""
        self._late: dict[str, int] = {}
        """Rows of ids that were appended and are not among the ordered ones yet, in order."""

    @classmethod
    def in_order(cls, ids: pl.Series | Iterable[str | int]) -> Vocabulary:
        """Return the vocabulary whose rows follow the given order; ValueError for an id that comes twice."""
        made, texts = cls(()), _texts(ids)
        if texts.n_unique() < len(texts):
            twice = texts.filter(texts.is_duplicated())[0]
            raise ValueError(f"ids must differ, got {twice!r} twice")
        made._ids, made._order = texts, texts.arg_sort().to_numpy().astype(np.int32)
        return made

    @classmethod
    def unpack(cls, arrays: Arrays) -> Vocabulary:
        """Return the vocabulary that `pack` gave as arrays, whose ids are read where they lie."""
        packed = Packed(arrays["bytes"], arrays["ends"])
        order = arrays["order"] if "order" in arrays else np.arange(len(packed), dtype=np.int32)
        if len(order) != len(packed) or not packed.ascends(order):  # a bundle of old holds no order
            return cls.in_order(packed.texts())
        made = cls(())
        made._ids, made._order, made._packed = None, order, packed
        return made

    def pack(self) -> dict[str, Array]:
        """Return the ids as plain arrays: their "bytes" and "ends", and the "order" of rows where it is not theirs."""
        if self._late:
            return self.in_order(self.series).pack()
        ids = {"bytes": self._packed.data, "ends": self._packed.ends}
        return ids if (np.diff(self._order) > 0).all() else {**ids, "order": self._order}

    def appended(self, ids: Iterable[str | int]) -> Vocabulary:
        """Return a vocabulary with further ids in the rows after those of this one; ValueError for one that is there.

        >>> more = Vocabulary(["c", "a"]).appended(["b"])
        >>> more.ids([0, 1, 2]), more.rows(["b"])
        (['a', 'c', 'b'], array([2], dtype=int32))
        """
        more = _texts(ids).to_list()
        late = self._late | {one: len(self) + place for place, one in enumerate(more)}
        if len(late) > LATE:
            return self.in_order(pl.concat([self.series, _texts(more)]))
        there = np.flatnonzero(self.rows(more) >= 0)
        if len(there) or len(late) < len(self._late) + len(more):
            twice = more[there[0]] if len(there) else next(one for one in more if more.count(one) > 1)
            raise ValueError(f"ids must differ, got {twice!r} twice")
        made = Vocabulary(())
        made._ids, made._order, made._packed, made._late = self._ids, self._order, self._packed, late
        return made

    def _many(self, texts: list[str]) -> Rows:
        wanted = pl.Series(texts, dtype=pl.String)
        place = self._sorted.search_sorted(wanted, side="left").to_numpy().astype(np.int64)
        inside = np.minimum(place, len(self._sorted) - 1)
        found: Rows = np.where((self._sorted.gather(inside) == wanted).to_numpy(), self._order[inside], np.int32(-1))
        return found

    @cached_property
    def _sorted(self) -> pl.Series:
        assert self._ids is not None
        return self._ids.sort()

    @cached_property
    def _packed(self) -> Packed:
        """The ids in order of row, but those that came late."""
        assert self._ids is not None
        data = (self._ids.str.join("").item() or "").encode() if len(self._ids) else b""
        ends = self._ids.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
        return Packed(np.frombuffer(data, np.uint8), ends)

    def __len__(self) -> int:
        return len(self._order) + len(self._late)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.series.equals(other.series)

    __hash__ = None  # type: ignore[assignment]

    def rows(self, ids: Iterable[str | int]) -> Rows:
        """Return the row of each id, -1 where it is unknown; (n,).

        >>> Vocabulary(["b", "a"]).rows(["b", "z"])
        array([ 1, -1], dtype=int32)
        """
        texts = [str(i) for i in ids]
        if len(texts) > MANY and self._ids is not None and len(self._ids):
            found = self._many(texts)
        else:
            found = self._packed.find(texts, self._order)
        if self._late:
            for at in np.flatnonzero(found < 0).tolist():
                found[at] = self._late.get(texts[at], -1)
        return found

    def ids(self, rows: Rows | Iterable[int]) -> list[str]:
        """Return the id of each row; every row must be inside 0..n-1."""
        wanted = np.asarray(rows, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows must be inside 0..{len(self) - 1}, got {wanted.min()} to {wanted.max()}")
        packed, n = self._packed, len(self._order)
        if len(wanted) > MANY and self._ids is not None and not self._late:
            found: list[str] = self._ids.gather(wanted).to_list()
            return found
        late = list(self._late) if len(wanted) and wanted.max() >= n else []
        return [packed[row] if row < n else late[row - n] for row in wanted.tolist()]

    @property
    def series(self) -> pl.Series:
        """All ids in order of row."""
        if self._ids is None:
            self._ids = _texts(self._packed.texts())
        return pl.concat([self._ids, _texts(self._late)]) if self._late else self._ids


def _texts(ids: pl.Series | Iterable[str | int]) -> pl.Series:
    series = ids if isinstance(ids, pl.Series) else pl.Series([str(i) for i in ids], dtype=pl.String)
    return series.cast(pl.String).alias("id")
