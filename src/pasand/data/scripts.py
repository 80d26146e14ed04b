"""Script of a text by Unicode blocks, and Indian scripts in Latin letters."""

from __future__ import annotations

import unicodedata
from collections import Counter

BLOCKS = {
    "Devanagari": (0x0900, 0x097F),
    "Bengali": (0x0980, 0x09FF),
    "Gurmukhi": (0x0A00, 0x0A7F),
    "Gujarati": (0x0A80, 0x0AFF),
    "Odia": (0x0B00, 0x0B7F),
    "Tamil": (0x0B80, 0x0BFF),
    "Telugu": (0x0C00, 0x0C7F),
    "Kannada": (0x0C80, 0x0CFF),
    "Malayalam": (0x0D00, 0x0D7F),
    "Sinhala": (0x0D80, 0x0DFF),
    "Thai": (0x0E00, 0x0E7F),
    "Arabic": (0x0600, 0x06FF),
    "Hebrew": (0x0590, 0x05FF),
    "Greek": (0x0370, 0x03FF),
    "Cyrillic": (0x0400, 0x04FF),
    "Hangul": (0xAC00, 0xD7AF),
    "Kana": (0x3040, 0x30FF),
    "Han": (0x4E00, 0x9FFF),
}
"""First and last code of the block of each script; other letters are Latin if their Unicode name begins so."""
INDIAN = tuple(BLOCKS)[:9]
"""Scripts whose blocks have the same letters at the same offsets, those of ISCII (Indian Standard 13194, 1991)."""
LETTERS = "k kh g gh n ch chh j jh n t th d dh n t th d dh n n p ph b bh m y r r l l l v sh sh s h"
CONSONANTS = dict(enumerate(LETTERS.split(), 0x15)) | {0x58: "q", 0x59: "kh", 0x5A: "g", 0x5B: "z", 0x5C: "r"}
CONSONANTS |= {0x5D: "rh", 0x5E: "f", 0x5F: "y", 0x4E: "t"}
"""Consonants by offset in the block."""
SOUNDS = "a aa i ee u oo ri li e e e ai o o o au"
VOWELS = dict(enumerate(SOUNDS.split(), 0x05))
SIGNS = dict(enumerate("aa i ee u oo ri ri e e e ai o o o au".split(), 0x3E)) | {0x4D: ""}  # noqa: SIM905
"""Vowels by offset, as letters and as signs after a consonant; the last sign takes its vowel away."""
NASAL, NUKTA = {0x01, 0x02, 0x70}, 0x3C
LABIAL = range(0x2A, 0x2F)
FINALS = {0x7A: "n", 0x7B: "n", 0x7C: "r", 0x7D: "l", 0x7E: "l"}
"""Consonants of Malayalam without a vowel."""
WITH_NUKTA = {"k": "q", "s": "sh", "j": "z", "ph": "f", "d": "r", "dh": "rh", "g": "g", "kh": "kh"}
BENGALI_W = unicodedata.normalize("NFC", "\u0993\u09df")
"""How Bengali writes w."""


def script(text: str) -> str:
    """Return the script of most letters of a text, such as "Devanagari" or "Latin"; "" without a known letter.

    >>> script("शोले (1975)"), script("Sholay"), script("காதல் கதை"), script("2012")
    ('Devanagari', 'Latin', 'Tamil', '')
    """
    counts = Counter(found for letter in text if (found := _script_of(letter)))
    return max(counts, key=lambda name: counts[name]) if counts else ""


def _script_of(letter: str) -> str:
    code = ord(letter)
    if unicodedata.category(letter)[0] not in "LM":
        return ""
    for name, (first, last) in BLOCKS.items():
        if first <= code <= last:
            return name
    return "Latin" if "LATIN" in unicodedata.name(letter, "") else ""


def romanised(text: str) -> str:
    """Return a text in lower-case Latin letters: Indian scripts by sound, Latin ones without marks, others as they are.

    The vowel a that a consonant has by itself is written but at the end of a word.

    >>> romanised("शोले"), romanised("காதல்"), romanised("Amélie")
    ('shole', 'kaatal', 'amelie')
    """
    out: list[str] = []
    codes = [ord(letter) for letter in unicodedata.normalize("NFC", text).replace(BENGALI_W, "\u09ac")]
    for at, code in enumerate(codes):
        first = next((BLOCKS[name][0] for name in INDIAN if BLOCKS[name][0] <= code <= BLOCKS[name][1]), 0)
        if not first:
            out.append(chr(code))
            continue
        offset = code - first
        following = codes[at + 1] - first if at + 1 < len(codes) else -1
        if offset in CONSONANTS:
            after = codes[at + 2] - first if following == NUKTA and at + 2 < len(codes) else following
            letters = (
                WITH_NUKTA.get(CONSONANTS[offset], CONSONANTS[offset]) if following == NUKTA else CONSONANTS[offset]
            )
            within = 0 <= after < 0x80 and (after in CONSONANTS or after in NASAL or after in VOWELS or after in FINALS)
            out.append(letters + ("a" if within else ""))
        elif offset in NASAL:
            out.append("m" if following in LABIAL else "n")
        else:
            out.append(VOWELS.get(offset) or SIGNS.get(offset) or FINALS.get(offset) or _digit(chr(code)))
    plain = "".join(out)
    for _ in range(2):  # 𝘈 becomes A, and only then a
        plain = unicodedata.normalize("NFKD", plain.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _digit(letter: str) -> str:
    return str(unicodedata.digit(letter)) if letter.isdigit() else ""
