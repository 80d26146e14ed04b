"""Search of a catalogue by title, names, such as those of a cast, and years, tolerant of spellings and scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
import polars as pl

from pasand.data.features import Feature, Features
from pasand.data.scripts import romanised
from pasand.data.spellings import consonants, skeleton
from pasand.types import Array, Mask, Rows

EXACT, ALIKE, ACROSS, NEAR = 8, 4, 2, 1
"""Scores of an item for a word: it has it, one that is spelt for the same sound, one of another script with the same
consonants, or one with a slip of typing."""
CONTAINS, BEGINS = 100, 200
"""Scores of a title for the whole text."""
PREFIX, SLIP, CONSONANTS = 4, 4, 2
"""Letters from which on another spelling may be a beginning, and a slip may be forgiven; consonants that a word of
another script must have."""
MAX_WORDS = 500
"""Words of the catalogue that one word of a text is looked for as, at most."""


def plain_words(text: str) -> str:
    """Return the folded words of a text with one space between them.

    >>> plain_words("Mughal-e-Azam (1960)")
    'mughal e azam 1960'
    """
    return " ".join(re.findall(r"\w+", romanised(text)))


class CatalogueSearch:
    """The texts of a catalogue of N items, folded once: titles, names of categories, and years.

    What other spellings need is made by the first text that has one.
    """

    def __init__(self, titles: Sequence[str], features: Features) -> None:
        """Fold N titles, and the categorical and bag features of the items, and their `year` if it is a number."""
        raw = pl.Series(list(titles), dtype=pl.String)
        ascii_only = raw.str.len_bytes() == raw.str.len_chars()
        plain = raw.str.to_lowercase().str.replace_all("[^a-z0-9_]+", " ").str.strip_chars(" ")
        if not ascii_only.all():
            others = [None if simple else plain_words(text) for text, simple in zip(raw, ascii_only, strict=True)]
            plain = pl.Series(others, dtype=pl.String).zip_with(~ascii_only, plain)
        self._titles, self._ascii = plain, ascii_only
        self._padded = " " + plain + " "
        self._n = len(titles)
        self._named = [feature for feature in features.values() if feature.kind in ("categorical", "bag")]
        self._names = [[f" {plain_words(name)} " for name in feature.names] for feature in self._named]
        year = features.get("year")
        self._years = year.values if year is not None and year.kind == "number" else None

    def find(self, text: str) -> Rows:
        """Return the items that have every word of a text, (n,), best first.

        A word is found as the beginning of a word of the title or of a name, or as a year, or else in another
        spelling, in another script by its consonants, or with a slip. Titles that begin with the text come first,
        then those that contain it, then items by how well their words agree, and shorter titles first. Texts without
        letters or digits find nothing.
        """
        wanted = plain_words(text)
        if not wanted:
            return np.empty(0, np.int32)
        position = self._titles.str.find(wanted, literal=True)
        whole = position.is_not_null().to_numpy() * CONTAINS + (position == 0).fill_null(False).to_numpy() * BEGINS
        of_words = [self._scores(word, text.isascii()) for word in wanted.split()]
        all_words = np.min(of_words, axis=0) > 0
        score = whole + all_words * np.sum(of_words, axis=0)
        found = np.flatnonzero(score)
        length = self._titles.str.len_chars().to_numpy()[found]
        items: Rows = found[np.lexsort((length, -score[found]))].astype(np.int32)
        return items

    def _scores(self, word: str, latin: bool) -> Array:
        """Return how well each item has a word of a text in Latin letters or not, (N,), 0 if not at all."""
        exact = self._having([f" {word}"])
        if self._years is not None and word.isdecimal():
            exact |= self._years == float(word)
        spelt = skeleton(word)
        alike = self._having(self._words(one for one in self._skeletons if self._is_alike(one, spelt)))
        scores = np.where(exact, EXACT, np.where(alike, ALIKE, 0))
        if not scores.any():
            sound = consonants(word)
            across = self._native if latin else self._sounds
            if len(sound) >= CONSONANTS:
                scores = ACROSS * self._having([f" {one} " for one in across.get(sound, [])[:MAX_WORDS]])
        if scores.any() or len(word) < SLIP:
            return scores
        return NEAR * self._having(self._words(one for one in self._skeletons if is_near(one, spelt)))

    def _is_alike(self, other: str, spelt: str) -> bool:
        return other == spelt or (len(spelt) >= PREFIX and other.startswith(spelt))

    def _words(self, skeletons: Iterable[str]) -> list[str]:
        """Return the words of the catalogue that have these skeletons, with spaces around them."""
        return [f" {word} " for one in skeletons for word in self._skeletons[one]][:MAX_WORDS]

    def _having(self, parts: list[str]) -> Mask:
        """Return whether the title or a name of each item has one of the parts, (N,)."""
        if not parts:
            return np.zeros(self._n, np.bool_)
        mask: Mask = self._padded.str.contains_any(parts).to_numpy().copy()
        for feature, names in zip(self._named, self._names, strict=True):
            codes = [code for code, name in enumerate(names) if any(part in name for part in parts)]
            if codes:
                mask |= _has_code(feature, codes, self._n)
        return mask

    @cached_property
    def _skeletons(self) -> dict[str, list[str]]:
        """The words of titles and names by their skeleton."""
        return _by_key(self._every_word, skeleton)

    @cached_property
    def _sounds(self) -> dict[str, list[str]]:
        """The words of titles and names by their consonants."""
        return _by_key(self._every_word, consonants)

    @cached_property
    def _native(self) -> dict[str, list[str]]:
        """The words of titles and names that are not in Latin letters by their consonants."""
        names = [name for feature in self._named for name in feature.names if not name.isascii()]
        texts = [*self._titles.filter(~self._ascii).to_list(), *map(plain_words, names)]
        return _by_key((word for text in texts for word in text.split()), consonants)

    @property
    def _every_word(self) -> Iterable[str]:
        yield from self._titles.str.split(" ").explode().unique().drop_nulls().to_list()
        yield from (word for names in self._names for name in names for word in name.split())


def _by_key(words: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    """Return the different words by their key, sorted."""
    found: dict[str, list[str]] = {}
    for word in sorted(set(words) - {""}):
        found.setdefault(key(word), []).append(word)
    return found


def _has_code(feature: Feature, codes: list[int], n: int) -> Mask:
    rows, all_codes = feature.members()
    mask = np.zeros(n, np.bool_)
    mask[rows[np.isin(all_codes, codes)]] = True
    return mask


def is_near(one: str, other: str) -> bool:
    """Return whether two words differ by one letter: added, left out, replaced, or swapped with the next.

    >>> is_near("lagan", "lagna"), is_near("dangal", "dangl"), is_near("roja", "bombay")
    (True, True, False)
    """
    if abs(len(one) - len(other)) > 1:
        return False
    begin = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[begin:], other[begin:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])
