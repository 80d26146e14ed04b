"""Texts of Indian languages in Latin letters, written in their own script with the words of a tokenizer's vocabulary.

Sentence models know "लड़की" much better than "ladki", of which they see pieces. The vocabulary of a multilingual unigram
tokenizer has thousands of whole words of each script, with the logarithm of how frequent each is. That is a lexicon: a
word in Latin letters is replaced by the word of the script that sounds like it (`spellings.skeleton`), the nearest in
spelling. The same frequencies decide whether a text is in Latin letters by nature, as English is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from unicodedata import normalize

from pasand.data.scripts import BLOCKS, INDIAN, NUKTA, romanised, script
from pasand.data.spellings import skeleton

WORD = re.compile("[a-z]+", re.IGNORECASE)
START = "\u2581"
"""How tokenizers write the beginning of a word."""
NUKTAS = {chr(BLOCKS[name][0] + NUKTA) for name in INDIAN}
"""Signs that change a consonant; in Latin letters they are written or not."""
UNSPOKEN = re.compile("([aeiou][b-df-hj-np-tv-z]h?)a(?=[b-df-hj-np-tv-z]h?[aeiou])")
"""A vowel a between syllables, which Indo-Aryan languages do not speak."""
MIN_WORDS = 3
"""Words that a text needs: one word, such as a name, may be of any language."""
UNKNOWN = -18.0
"""Log probability of a word that is not in the vocabulary, below those of nearly all that are."""
SPELLING = 4.0
"""Loss of log probability of a word whose spelling has nothing in common with the one that is read."""
MOST_WORDS = 100_000
"""Words whose script is remembered at most."""
MARGIN = 1.5
"""A text is Latin by nature if its mean log probability is larger than that of each script by this."""


@dataclass
class NativeScript:
    """Writes texts in their own script where their words are more probable in it; other texts stay as they are."""

    vocabulary: Sequence[tuple[str, float]]
    """Pieces and their log probabilities; pieces that begin a word have `START` before it."""
    _latin: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _sounds: dict[str, dict[str, list[tuple[float, str, str]]]] = field(init=False, repr=False)
    """By script and skeleton: log probability, romanised word and word."""
    _words: dict[str, dict[str, tuple[float, str]]] = field(default_factory=dict, init=False, repr=False)
    """By word that was read, and script: log probability and word of the script."""

    def __post_init__(self) -> None:
        self._sounds = {name: defaultdict(list) for name in INDIAN}
        for piece, score in self.vocabulary:
            word = piece[1:]
            if not piece.startswith(START) or not word:
                continue
            if WORD.fullmatch(word):
                lower = word.lower()
                self._latin[lower] = max(score, self._latin.get(lower, UNKNOWN))
            elif not word.isascii() and (name := script(word)) in self._sounds and not _has_digit(word):
                for sound in _sounds(word):
                    self._sounds[name][skeleton(sound)].append((score, sound, word))

    def __call__(self, text: str) -> str:
        """Return the text in its own script; as it is if it has too few words, other letters, or is likely Latin."""
        words = [word.lower() for word in WORD.findall(text)]
        if len(words) < MIN_WORDS or script(text) != "Latin":
            return text
        known = {word: self._known(word) for word in words}
        by_script = {name: sum(known[word].get(name, (UNKNOWN, ""))[0] for word in words) for name in self._sounds}
        best = max(by_script, key=lambda name: by_script[name])
        if sum(self._latin.get(word, UNKNOWN) for word in words) > by_script[best] + MARGIN * len(words):
            return text
        return WORD.sub(lambda match: known[match[0].lower()].get(best, (0.0, match[0]))[1], text)

    def _known(self, word: str) -> dict[str, tuple[float, str]]:
        """Return the log probability and the word of each script that has a word of this sound."""
        if word not in self._words:
            if len(self._words) >= MOST_WORDS:
                self._words.clear()
            sound, found = skeleton(word), {}
            for name, sounds in self._sounds.items():
                near = [(_nearness(word, other), score, own) for score, other, own in sounds.get(sound, ())]
                if near:
                    closest = max(near)
                    probable = max(score - SPELLING * (1 - nearness) for nearness, score, _ in near)
                    found[name] = max(probable, UNKNOWN), closest[2]
            self._words[word] = found
        return self._words[word]


def _sounds(word: str) -> set[str]:
    """Return how a word is written in Latin letters, with and without its nuktas and the vowels that are not spoken.

    "लड़की" is larki and ladki, "नाचती" naachatee and naachtee.
    """
    plain = "".join(part for part in normalize("NFD", word) if part not in NUKTAS)
    written = {romanised(word), romanised(plain)}
    return written | {UNSPOKEN.sub(r"\1", one) for one in written}


def _nearness(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second).ratio()


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() or letter in "।॥" for letter in word)
