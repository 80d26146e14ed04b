"""Search of a catalogue by title, names, such as those of a cast, and years, tolerant of spellings and scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from pasand.data.features import Features
from pasand.data.scripts import romanised
from pasand.data.search_words import Spellings, WordIndex
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

    Words are found in an index, not in the texts. What other spellings need is made by the first text that has one.
    """

    def __init__(self, titles: Sequence[str], features: Features) -> None:
        """Fold N titles, and the categorical and bag features of the items, and their `year` if it is a number."""
        self._titles, self._ascii = _folded(titles)
        self._named = [feature for feature in features.values() if feature.kind in ("categorical", "bag")]
        names = [_folded(feature.names)[0].to_list() for feature in self._named]
        self._index = WordIndex(self._titles, self._named, names)
        self._length = self._titles.str.len_chars().to_numpy()
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
        contains, begins = self._containing(wanted)
        score = contains * np.int32(CONTAINS) + begins * np.int32(BEGINS)
        words = wanted.split()
        by_word = {word: self._scores(word, text.isascii()) for word in dict.fromkeys(words)}
        all_words = np.min(list(by_word.values()), axis=0) > 0
        score += all_words * sum(by_word[word] for word in words)
        found = np.flatnonzero(score)
        order = _by(self._length[found])
        items: Rows = found[order[_by(-score[found][order])]].astype(np.int32)
        return items

    def _containing(self, wanted: str) -> tuple[Mask, Mask]:
        """Return whether each title contains a folded text, and whether it begins with it, (N,) each."""
        index, (start, *middle) = self._index, wanted.split(" ")
        if not middle:
            first, end = index.beginning(wanted)
            begins = (index.first >= first) & (index.first < end)
            return index.mask(index.titles.of(index.containing(wanted))), begins
        possible = index.mask(index.titles.of_range(*index.beginning(middle[-1])))
        possible &= index.mask(index.titles.of(index.ending(start)))
        rows = np.flatnonzero(possible)
        titles = self._titles.gather(rows)
        contains = titles.str.contains(wanted, literal=True).to_numpy()
        return index.mask(rows[contains]), index.mask(rows[titles.str.starts_with(wanted).to_numpy()])

    def _scores(self, word: str, latin: bool) -> Array:
        """Return how well each item has a word of a text in Latin letters or not, (N,), 0 if not at all."""
        index = self._index
        exact = index.having_beginning(word)
        if self._years is not None and word.isdecimal():
            exact |= self._years == float(word)
        spelt, spellings = skeleton(word), index.by_skeleton
        words = spellings.beginning(spelt) if len(spelt) >= PREFIX else spellings.words.get(spelt, [])
        scores = np.where(exact, np.int32(EXACT), np.int32(ALIKE) * index.having(words[:MAX_WORDS]))
        if not scores.any():
            sound = consonants(word)
            across = self._native if latin else index.by_sound
            if len(sound) >= CONSONANTS:
                scores = np.int32(ACROSS) * index.having(across.words.get(sound, [])[:MAX_WORDS])
        if scores.any() or len(word) < SLIP:
            return scores
        return np.int32(NEAR) * index.having(spellings.near(spelt)[:MAX_WORDS])

    @cached_property
    def _native(self) -> Spellings:
        """The words of titles and names that are not in Latin letters by their consonants."""
        names = [plain_words(name) for feature in self._named for name in feature.names if not name.isascii()]
        return self._index.by_sound_in([*self._titles.filter(~self._ascii).to_list(), *names])


def _folded(texts: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    """Return the folded words of each text with one space between them, and whether the text is in ASCII."""
    raw = pl.Series(list(texts), dtype=pl.String)
    in_ascii = raw.str.len_bytes() == raw.str.len_chars()
    plain = raw.str.to_lowercase().str.replace_all("[^a-z0-9_]+", " ").str.strip_chars(" ")
    if in_ascii.all():
        return plain, in_ascii
    known: dict[str, str] = {}

    def folded(text: str) -> str:
        for part in (parts := text.split()):
            if part not in known:
                known[part] = plain_words(part)
        return " ".join(known[part] for part in parts if known[part])

    others = [None if simple else folded(text) for text, simple in zip(raw, in_ascii, strict=True)]
    return pl.Series(others, dtype=pl.String).zip_with(~in_ascii, plain), in_ascii


def _by(values: Array) -> Array:
    """Return the order of whole numbers, equal ones as they are; fast where they differ by less than 2^16."""
    if len(values) and int(values.max()) - int(values.min()) < 1 << 16:
        values = (values - values.min()).astype(np.uint16)
    return np.argsort(values, kind="stable")


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
