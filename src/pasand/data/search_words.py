"""`WordIndex`: the rows of a catalogue by the words of its texts and names, and the words by their spelling."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl

from pasand.data.features import Feature
from pasand.data.spellings import consonants, skeleton
from pasand.types import Array, Mask, Rows

LAST = chr(0x10FFFF)
"""Sorts after every letter."""


class Postings:
    """What has each of V words: rows of a catalogue, or codes of a feature."""

    def __init__(self, word: Array, row: Array, n_words: int) -> None:
        """Sort pairs of a word and a row, (T,) each, by word."""
        order = np.argsort(word, kind="stable")
        self.row: Array = row[order].astype(np.int32)
        self.start = np.append(0, np.cumsum(np.bincount(word, minlength=n_words)))

    def of_range(self, first: int, end: int) -> Array:
        """Return what has a word from `first` up to `end`, with repetitions."""
        rows: Array = self.row[self.start[first] : self.start[end]]
        return rows

    def of(self, words: Array) -> Array:
        """Return what has one of these words, with repetitions."""
        count = self.start[words + 1] - self.start[words]
        offset = np.repeat(self.start[words] - np.append(0, np.cumsum(count)[:-1]), count)
        rows: Array = self.row[np.arange(len(offset)) + offset]
        return rows


class Names:
    """The items of a categorical feature or a bag by the words of its names."""

    def __init__(self, feature: Feature, words: Postings) -> None:
        rows, codes = feature.members()
        self.words = words
        self._items = Postings(codes, rows, len(feature.names))

    def rows(self, codes: Array) -> Array:
        """Return the rows of items that have one of the codes, with repetitions."""
        return self._items.of(np.unique(codes)) if len(codes) else codes


class WordIndex:
    """The N texts and the features of a catalogue by their different words, V of them, sorted.

    Memory is one number for each word of a text or a name and for each category of an item, and the words themselves.
    """

    def __init__(self, texts: pl.Series, features: Sequence[Feature], names: Sequence[list[str]]) -> None:
        """Index N folded texts, and the folded names of features by code."""
        parts = [_split(texts), *(_split(pl.Series(own, dtype=pl.String)) for own in names)]
        different = pl.concat([words for _, words in parts]).unique().sort()
        self.words: list[str] = different.to_list()
        self.n_rows, n = len(texts), len(self.words)
        self._sorted = different
        ids = [_ids(words, different) for _, words in parts]
        self.titles = Postings(ids[0], parts[0][0], n)
        self.names = [
            Names(feature, Postings(own, codes, n))
            for feature, own, (codes, _) in zip(features, ids[1:], parts[1:], strict=True)
        ]
        self.first = np.full(self.n_rows, -1, np.int32)
        """(N,) first word of each text; -1: it has none."""
        self.first[parts[0][0][::-1]] = ids[0][::-1]

    def beginning(self, part: str) -> tuple[int, int]:
        """Return the first word that begins with a text, and the one after the last of them."""
        return bisect_left(self.words, part), bisect_left(self.words, part + LAST)

    def containing(self, part: str) -> Array:
        """Return the words that contain a text."""
        return np.flatnonzero(self._sorted.str.contains(part, literal=True).to_numpy())

    def ending(self, part: str) -> Array:
        """Return the words that end with a text."""
        return np.flatnonzero(self._sorted.str.ends_with(part).to_numpy())

    def mask(self, rows: Array) -> Mask:
        """Return whether each row is among these, (N,)."""
        mask = np.zeros(self.n_rows, np.bool_)
        mask[rows] = True
        return mask

    def having_beginning(self, part: str) -> Mask:
        """Return whether the text or a name of each row has a word that begins with this, (N,)."""
        first, end = self.beginning(part)
        mask = self.mask(self.titles.of_range(first, end))
        for own in self.names:
            mask[own.rows(own.words.of_range(first, end))] = True
        return mask

    def having(self, words: Sequence[int]) -> Mask:
        """Return whether the text or a name of each row has one of these words, (N,)."""
        chosen = np.array(words, np.int64)
        mask = self.mask(self.titles.of(chosen))
        for own in self.names if len(chosen) else ():
            mask[own.rows(own.words.of(chosen))] = True
        return mask

    @cached_property
    def by_skeleton(self) -> Spellings:
        """The words by their skeleton."""
        return Spellings.of(self.words, range(len(self.words)), skeleton)

    @cached_property
    def by_sound(self) -> Spellings:
        """The words by their consonants."""
        return Spellings.of(self.words, range(len(self.words)), consonants)

    def by_sound_in(self, texts: Iterable[str]) -> Spellings:
        """Return the words of some of the texts by their consonants."""
        own = sorted({word for text in texts for word in text.split()})
        return Spellings.of(own, (bisect_left(self.words, word) for word in own), consonants)


class Spellings:
    """Words by what their spellings have in common, in the order of the first word of each."""

    def __init__(self, words: dict[str, list[int]]) -> None:
        self.words = words
        self._keys = sorted(words)
        self._letters = sorted({letter for key in words for letter in key})

    @classmethod
    def of(cls, words: Sequence[str], numbers: Iterable[int], key: Callable[[str], str]) -> Self:
        """Return words with these numbers by a key, which is computed for all of them in one text."""
        found: dict[str, list[int]] = {}
        for number, own in zip(numbers, key("\n".join(words)).split("\n") if words else (), strict=True):
            found.setdefault(own, []).append(number)
        return cls(found)

    def beginning(self, part: str) -> list[int]:
        """Return the words whose key begins with a text."""
        return self._of(self._keys[bisect_left(self._keys, part) : bisect_left(self._keys, part + LAST)])

    def near(self, key: str) -> list[int]:
        """Return the words whose key differs by a letter at most: added, left out or replaced, or two swapped."""
        cut = [(key[:at], key[at:]) for at in range(len(key) + 1)]
        wanted = {key, *(a + b[1:] for a, b in cut), *(a + b[1::-1] + b[2:] for a, b in cut if len(b) > 1)}
        for letter in self._letters:
            wanted |= {a + letter + b for a, b in cut} | {a + letter + b[1:] for a, b in cut if b}
        return self._of(one for one in wanted if one in self.words)

    def _of(self, keys: Iterable[str]) -> list[int]:
        groups = sorted(self.words[key] for key in keys)  # no word is in two groups
        return [word for group in groups for word in group]


def _split(texts: pl.Series) -> tuple[Rows, pl.Series]:
    """Return the row and the text of every word, (T,) each, by row."""
    table = pl.DataFrame({"row": np.arange(len(texts), dtype=np.int32), "word": texts.str.split(" ")})
    words = table.explode("word").filter(pl.col("word") != "")
    return words["row"].to_numpy(), words["word"]


def _ids(words: pl.Series, different: pl.Series) -> Array:
    table = pl.DataFrame({"word": different, "id": np.arange(len(different), dtype=np.int32)})
    joined = pl.DataFrame({"word": words}).join(table, on="word", how="left", maintain_order="left")
    ids: Array = joined["id"].to_numpy()
    return ids
