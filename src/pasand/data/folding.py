"""Folding of texts for search: lower case without marks, Indic scripts in Latin letters, and spellings made alike."""

from __future__ import annotations

import re
import unicodedata

BLOCKS = (0x0900, 0x0980, 0x0A00, 0x0A80, 0x0B00, 0x0B80, 0x0C00, 0x0C80, 0x0D00)
"""First code points of Devanagari, Bengali, Gurmukhi, Gujarati, Oriya, Tamil, Telugu, Kannada and Malayalam.

They have one layout of 128 code points each, so that a letter's offset gives its sound (ISO 15919, without marks).
"""


def _sounds(begin: int, sounds: str) -> dict[int, str]:
    """Return the sounds, with spaces between them, by offset from `begin` on."""
    return dict(enumerate(sounds.split(), begin))


VOWELS = {**_sounds(0x05, "a aa i ii u uu ri l e e e ai o o o au"), 0x60: "ri"}
SIGNS = _sounds(0x3E, "aa i ii u uu ri ri e e e ai o o o au")
CONSONANTS = {
    **_sounds(0x15, "k kh g gh n ch chh j jh n t th d dh n t th d dh n n p ph b bh m y r r l l l v sh sh s h"),
    **_sounds(0x58, "k kh g z r rh f y"),
}
FINALS = _sounds(0x0D7A, "n n r l l k")
"""Consonants of Malayalam without a vowel."""
NASALS, NUKTA, DIGITS = (0x01, 0x02, 0x70), 0x3C, range(0x66, 0x70)
DOTTED = {"ph": "f", "j": "z", "d": "r", "dh": "rh"}
"""Consonants with a nukta that sound differently."""
SPELLINGS = (
    (r"a[yi]|e[yi]", "e"),
    (r"ee|ii|ea|y$|ie$", "i"),
    (r"oo|uu|ou", "u"),
    (r"aw|au", "o"),
    (r"chh?|tch", "c"),
    (r"ph", "f"),
    (r"ck|q|kh?", "k"),
    (r"w", "v"),
    (r"z|jh?", "j"),
    (r"s[hc]?", "s"),
    (r"([bdgtrnl])h", r"\1"),
    (r"x", "ks"),
    (r"(.)\1+", r"\1"),
    (r"(?<=..)a$", ""),
)
"""Spellings that are written for one sound, and the one that replaces them, in order."""
_COMPILED = [(re.compile(pattern), instead) for pattern, instead in SPELLINGS]


def folded(text: str) -> str:
    """Return a text in lower-case Latin letters without marks, where its script is Latin or Indic.

    An `a` that is not spoken at the end of a word is left out, as in Hindi.

    >>> folded("शोले"), folded("Amélie"), folded("தளபதி")
    ('shole', 'amelie', 'talapati')
    """
    if text.isascii():
        return text.lower()
    plain = "".join(_latin(text)) if any(0x0900 <= ord(letter) < 0x0D80 for letter in text) else text
    marked = unicodedata.normalize("NFKD", plain.lower())
    return "".join(letter for letter in marked if not unicodedata.combining(letter))


def skeleton(word: str) -> str:
    """Return what folded spellings of one word have in common.

    >>> skeleton("sholay") == skeleton("shole") == skeleton("sholey")
    True
    >>> skeleton("bachchan") == skeleton("bachan"), skeleton("deewar") == skeleton("diwaar")
    (True, True)
    """
    for pattern, instead in _COMPILED:
        word = pattern.sub(instead, word)
    return word


def _latin(text: str) -> list[str]:
    """Return the letters of a text, those of Indic scripts as Latin ones.

    A consonant has an `a` unless another vowel, a virama or the end of the word follows.
    """
    out: list[str] = []
    open_vowel = False  # after a consonant whose vowel is not known yet
    for letter in unicodedata.normalize("NFC", text):
        code = ord(letter)
        offset = code - max((begin for begin in BLOCKS if begin <= code), default=code)
        if not (0x0900 <= code < 0x0D80):
            out.append(letter)
            open_vowel = False
            continue
        if code in FINALS:
            out += ["a", FINALS[code]] if open_vowel else [FINALS[code]]
            open_vowel = False
            continue
        if offset in CONSONANTS:
            if open_vowel:
                out.append("a")
            out.append(CONSONANTS[offset])
            open_vowel = True
            continue
        if offset == NUKTA:
            out[-1:] = [DOTTED.get(out[-1], out[-1])] if out else []
            continue
        if offset in SIGNS:
            out.append(SIGNS[offset])
        elif offset in NASALS:
            out += ["a", "n"] if open_vowel else ["n"]
        elif offset in VOWELS:
            out += ["a", VOWELS[offset]] if open_vowel else [VOWELS[offset]]
        elif offset in DIGITS:
            out.append(str(offset - DIGITS.start))
        open_vowel = False
    return out
