"""`Vocabulary`: maps external ids, always strings, to rows 0..n-1 and back."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import polars as pl

from pasand.data.packed_texts import PackedTexts
from pasand.mapped import check
from pasand.types import Array, Arrays, Rows

MAX_APPENDED = 1024
"""Number of appended ids above which a vocabulary is sorted again, which takes a second for a million ids."""

BULK = 1024
"""Number of ids above which polars, where the ids are a series, finds them faster than the packed texts."""


class Vocabulary:
    """Maps external ids, always strings, to rows 0..n-1 and back.

    Rows follow the sorted ids, so that the same ids get the same rows whatever file they came from. Appended ids get
    the rows after them, so that existing rows keep their meaning.
    """

    def __init__(self, ids: pl.Series | Iterable[str | int]) -> None:
        self._ids: pl.Series | None = _texts(ids).unique().sort()
        """Ids in order of row, without those in `_appended`; None: not unpacked yet."""
        self._order = np.arange(len(self._ids), dtype=np.int32)
        """Rows of these ids in order of id."""
        self._appended: dict[str, int] = {}
        """Rows of appended ids that are not in the sorted order yet, in order of row."""

    @classmethod
    def in_order(cls, ids: pl.Series | Iterable[str | int]) -> Vocabulary:
        """Return the vocabulary whose rows follow the given order; ValueError for a repeated id."""
        vocabulary, texts = cls(()), _texts(ids)
        if texts.n_unique() < len(texts):
            repeated = texts.filter(texts.is_duplicated())[0]
            raise ValueError(f"ids must be unique, got {repeated!r} twice")
        vocabulary._ids, vocabulary._order = texts, texts.arg_sort().to_numpy().astype(np.int32)
        return vocabulary

    @classmethod
    def unpack(cls, arrays: Arrays) -> Vocabulary:
        """Return the vocabulary of the arrays that `pack` returned; ids are read from these arrays without a copy.

        Raises ValueError for arrays that it cannot have returned.
        """
        packed = PackedTexts.stored(arrays["bytes"], arrays["ends"])
        order = arrays["order"] if "order" in arrays else np.arange(len(packed), dtype=np.int32)
        check("the order of ids", order, np.int32, (None,), lowest=0, below=len(packed))
        if len(order) != len(packed) or not packed.is_sorted(order):  # older bundles have no order
            return cls.in_order(packed.texts())
        vocabulary = cls(())
        vocabulary._ids, vocabulary._order, vocabulary._packed = None, order, packed
        return vocabulary

    def pack(self) -> dict[str, Array]:
        """Return the ids as arrays: "bytes", "ends", and the "order" of rows by id unless rows are in that order."""
        if self._appended:
            return self.in_order(self.series).pack()
        ids = {"bytes": self._packed.data, "ends": self._packed.ends}
        return ids if (np.diff(self._order) > 0).all() else {**ids, "order": self._order}

    def appended(self, ids: Iterable[str | int]) -> Vocabulary:
        """Return a vocabulary with further ids in the rows after those of this one; ValueError for a repeated id.

        >>> grown = Vocabulary(["c", "a"]).appended(["b"])
        >>> grown.ids([0, 1, 2]), grown.rows(["b"])
        (['a', 'c', 'b'], array([2], dtype=int32))
        """
        new = _texts(ids).to_list()
        appended = self._appended | {text: len(self) + i for i, text in enumerate(new)}
        if len(appended) > MAX_APPENDED:
            return self.in_order(pl.concat([self.series, _texts(new)]))
        existing = np.flatnonzero(self.rows(new) >= 0)
        if len(existing) or len(appended) < len(self._appended) + len(new):
            repeated = new[existing[0]] if len(existing) else next(text for text in new if new.count(text) > 1)
            raise ValueError(f"ids must be unique, got {repeated!r} twice")
        grown = Vocabulary(())
        grown._ids, grown._order, grown._packed, grown._appended = self._ids, self._order, self._packed, appended
        return grown

    def _bulk_rows(self, texts: list[str]) -> Rows:
        """Return the row of each sorted id, -1 where it is unknown, by binary search in polars; (n,)."""
        wanted = pl.Series(texts, dtype=pl.String)
        position = self._sorted.search_sorted(wanted, side="left").to_numpy().astype(np.int64)
        inside = np.minimum(position, len(self._sorted) - 1)
        rows: Rows = np.where((self._sorted.gather(inside) == wanted).to_numpy(), self._order[inside], np.int32(-1))
        return rows

    @cached_property
    def _sorted(self) -> pl.Series:
        assert self._ids is not None
        return self._ids.sort()

    @cached_property
    def _packed(self) -> PackedTexts:
        """The ids in order of row, without those in `_appended`."""
        assert self._ids is not None
        data = (self._ids.str.join("").item() or "").encode() if len(self._ids) else b""
        ends = self._ids.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
        return PackedTexts(np.frombuffer(data, np.uint8), ends)

    def __len__(self) -> int:
        return len(self._order) + len(self._appended)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.series.equals(other.series)

    __hash__ = None  # type: ignore[assignment]

    def rows(self, ids: Iterable[str | int]) -> Rows:
        """Return the row of each id, -1 where it is unknown; (n,).

        >>> Vocabulary(["b", "a"]).rows(["b", "z"])
        array([ 1, -1], dtype=int32)
        """
        texts = [str(i) for i in ids]
        if len(texts) > BULK and self._ids is not None and len(self._ids):
            rows = self._bulk_rows(texts)
        else:
            rows = self._packed.find(texts, self._order)
        if self._appended:
            for i in np.flatnonzero(rows < 0).tolist():
                rows[i] = self._appended.get(texts[i], -1)
        return rows

    def ids(self, rows: Rows | Iterable[int]) -> list[str]:
        """Return the id of each row; IndexError for a row outside 0..n-1."""
        wanted = np.asarray(rows, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows must be inside 0..{len(self) - 1}, got {wanted.min()} to {wanted.max()}")
        packed, n = self._packed, len(self._order)
        if len(wanted) > BULK and self._ids is not None and not self._appended:
            ids: list[str] = self._ids.gather(wanted).to_list()
            return ids
        appended = list(self._appended) if len(wanted) and wanted.max() >= n else []
        return [packed[row] if row < n else appended[row - n] for row in wanted.tolist()]

    @property
    def series(self) -> pl.Series:
        """All ids in order of row."""
        if self._ids is None:
            self._ids = _texts(self._packed.texts())
        return pl.concat([self._ids, _texts(self._appended)]) if self._appended else self._ids


def _texts(ids: pl.Series | Iterable[str | int]) -> pl.Series:
    series = ids if isinstance(ids, pl.Series) else pl.Series([str(i) for i in ids], dtype=pl.String)
    return series.cast(pl.String).alias("id")
