"""Texts in Latin letters: which are written in their own script, with which words, and which stay."""

from __future__ import annotations

import pytest

from pasand.encoders.native_script import NativeScript

ENGLISH = ("the", "girl", "dances", "in", "rain", "hai")
HINDI = ("लड़की", "लड़का", "नाचती", "है", "बारिश", "में")
BENGALI = ("মেয়ে", "নাচে", "বৃষ্টি")


@pytest.fixture(scope="module")
def own_script() -> NativeScript:
    known = [(f"▁{word}", -9.0) for word in (*ENGLISH, *HINDI, *BENGALI)]
    return NativeScript([("<s>", 0.0), ("▁", -4.0), ("ी", -7.0), ("▁१२", -8.0), ("▁है।", -8.0), *known])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ladki nachti hai", "लड़की नाचती है"),
        ("Larki barish mein naachtee hai!", "लड़की बारिश में नाचती है!"),  # other spellings, signs stay
        ("ladki zorse nachti hai", "लड़की zorse नाचती है"),  # a word that the vocabulary has not
        ("meye brishti nache", "মেয়ে বৃষ্টি নাচে"),
    ],
)
def test_words_of_the_script_stand_for_those_that_sound_like_them(
    own_script: NativeScript, text: str, expected: str
) -> None:
    assert own_script(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "ladki", "ladki nachti", "The girl dances in the rain", "लड़की नाचती है", "1975 - 1980 - 1990", "Ça va être où"],
)
def test_other_texts_stay_as_they_are(own_script: NativeScript, text: str) -> None:
    assert own_script(text) == text


def test_the_nearest_spelling_wins_before_the_more_frequent_word() -> None:
    own_script = NativeScript([("▁बच्चन", -6.0), ("▁बचन", -12.0), ("▁है", -5.0)])
    assert own_script("bachan hai hai") == "बचन है है"
    assert own_script("bachchan hai hai") == "बच्चन है है"


def test_a_vocabulary_without_words_changes_nothing() -> None:
    assert NativeScript([])("ladki nachti hai") == "ladki nachti hai"
