"""Search of a catalogue: names, years, other spellings and scripts, slips of typing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.features import Feature
from pasand.data.folding import BLOCKS, folded, skeleton
from pasand.data.search import CatalogueSearch, is_near, plain_words

TITLES = ["Sholay", "शोले", "Deewaar", "Mughal-e-Azam", "Lagaan", "Bombay", "Amélie", "Sholay Returns", "The Lagoon", ""]
CAST = Feature(
    kind="bag",
    values=np.array([[0, -1], [0, 1], [0, -1], [2, -1]] + [[-1, -1]] * 6, np.int32),
    names=("Amitabh Bachchan", "धर्मेन्द्र", "Dilip Kumar"),
)
LANGUAGE = Feature(kind="categorical", values=np.array([0] * 5 + [1] * 5, np.int32), names=("Hindi", "Tamil"))
YEAR = Feature(
    kind="number", values=np.array([1975, 1975, 1975, 1960, 2001, 1995, 2001, 1980, 1980, np.nan], np.float32)
)


@pytest.fixture(scope="module")
def catalogue() -> CatalogueSearch:
    return CatalogueSearch(TITLES, {"cast": CAST, "language": LANGUAGE, "year": YEAR})


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("sholay", [0, 1, 7]),
        ("शोले", [0, 1, 7]),
        ("azam", [3]),
        ("MUGHAL E AZAM", [3]),
        ("diwar", [2]),
        ("lagan", [4]),
        ("lagna", [4, 8]),  # a slip
        ("amelie", [6]),
        ("amitabh bachan", [0, 1, 2]),
        ("अमिताभ बच्चन", [0, 1, 2]),
        ("dharmendra", [1]),
        ("1975 hindi amitabh", [0, 1, 2]),
        ("tamil 1995", [5]),
        ("holay", [0, 1, 7]),  # contained in the title
        ("nothing of that", []),
        (" - ", []),
        ("zz", []),
    ],
)
def test_what_a_text_finds(catalogue: CatalogueSearch, text: str, rows: list[int]) -> None:
    assert sorted(catalogue.find(text).tolist()) == rows


def test_titles_that_begin_with_the_text_come_first(catalogue: CatalogueSearch) -> None:
    assert catalogue.find("sholay").tolist() == [0, 7, 1]
    assert catalogue.find("lago").tolist() == [8]


@pytest.mark.parametrize(
    "written", ["शोले", "শোলে", "ਸ਼ੋਲੇ", "શોલે", "ଶୋଲେ", "ஷோலே", "షోలే", "ಶೋಲೇ", "ഷോലേ"], ids=[f"{block:x}" for block in BLOCKS]
)
def test_a_title_is_found_in_every_indic_script(written: str) -> None:
    assert skeleton(folded(written)) == skeleton("sholay")


@given(st.text(), st.text())
def test_folding_is_total_and_idempotent_and_every_title_finds_itself(title: str, other: str) -> None:
    plain = plain_words(title)
    assert plain_words(plain) == plain
    assert 0 in CatalogueSearch([title, other], {}).find(title) or not plain


@given(st.text("abc", min_size=1), st.integers(0, 20), st.sampled_from("abc"))
def test_one_slip_is_near(word: str, at: int, letter: str) -> None:
    at %= len(word)
    assert is_near(word, word[:at] + word[at + 1 :])
    assert is_near(word, word[:at] + letter + word[at:])
    assert is_near(word, word[:at] + letter + word[at + 1 :])
    assert is_near(word, word[:at] + word[at : at + 2][::-1] + word[at + 2 :])
