"""Spellings of words in Latin letters that sound alike, within a language and across scripts."""

from __future__ import annotations

import re

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
_COMPILED = [(re.compile(pattern, re.MULTILINE), instead) for pattern, instead in SPELLINGS]
CLASSES = (
    (re.compile(r"[cs]h+|ch|[cjzx]|s"), "s"),
    (re.compile(r"[kgq]h?"), "k"),
    (re.compile(r"[td]h?"), "t"),
    (re.compile(r"[pbf]h?|[vw]"), "p"),
    (re.compile(r"[aeiouyh]"), ""),
)
"""Sounds that scripts do not keep apart: Tamil writes k and g, t and d, p and b, s and ch alike, Bengali b and v."""


def skeleton(word: str) -> str:
    """Return what folded spellings of one word have in common; of words in lines, a line for each.

    >>> skeleton("sholay") == skeleton("shole") == skeleton("sholey")
    True
    >>> skeleton("bachchan") == skeleton("bachan"), skeleton("deewar") == skeleton("diwaar")
    (True, True)
    """
    for pattern, instead in _COMPILED:
        word = pattern.sub(instead, word)
    return word


def consonants(word: str) -> str:
    """Return the classes of consonants of a word, which are equal for a name written in different scripts.

    Of words in lines it returns a line for each.

    >>> consonants("devdas") == consonants("tevataas"), consonants("guide") == consonants("gaaid")
    (True, True)
    """
    letters = re.sub("[^a-z\n]", "", word)
    for pattern, instead in CLASSES:
        letters = pattern.sub(instead, letters)
    return re.sub(r"(.)\1+", r"\1", letters)
