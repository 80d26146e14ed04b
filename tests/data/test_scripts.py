"""Scripts of texts, Latin letters for Indian ones, and films that are found in any script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.scripts import BLOCKS, INDIAN, Titles, romanised, script, skeleton

FILMS = {
    "Sholay": ("शोले", "ஷோலே", "షోలే", "শোলে"),
    "Deewaar": ("दीवार", "தீவார்", "దీవార్", "দিওয়ার"),
    "Mother India": ("मदर इंडिया", "மதர் இந்தியா", "మదర్ ఇండియా", "মাদার ইন্ডিয়া"),
    "Lagaan": ("लगान", "லகான்", "లగాన్", "লগান"),
    "Devdas": ("देवदास", "தேவதாஸ்", "దేవదాసు", "দেবদাস"),
    "Guide": ("गाइड", "கைடு", "గైడ్", "গাইড"),
    "Pakeezah": ("पाकीज़ा", "பாக்கீசா", "పాకీజా", "পাকিজা"),
    "Zanjeer": ("ज़ंजीर", "சஞ்சீர்", "జంజీర్", "জঞ্জির"),
    "Anand": ("आनंद", "ஆனந்த்", "ఆనంద్", "আনন্দ"),
    "Roja": ("रोजा", "ரோஜா", "రోజా", "রোজা"),
    "Nayakan": ("नायकन", "நாயகன்", "నాయకన్", "নায়কন"),
    "Bombay": ("बॉम्बे", "பம்பாய்", "బొంబాయి", "বম্বে"),
}


@pytest.mark.parametrize("language", range(4))
def test_films_are_found_in_any_script(language: int) -> None:
    """Of twelve films at least eleven are found by their Latin title, and by their native one."""
    names = list(FILMS)
    native = Titles([FILMS[name][language] for name in names])
    latin = Titles(names)
    forth = [native.find(name, 1).tolist() == [row] for row, name in enumerate(names)]
    back = [latin.find(FILMS[name][language], 1).tolist() == [row] for row, name in enumerate(names)]
    assert min(sum(forth), sum(back)) >= 11, (forth, back)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("दोस्ती", "dostee"),
        ("संगम", "sangam"),
        ("कंबल", "kambal"),
        ("ज़िंदगी", "zindagee"),
        ("১৯৭৫", "1975"),
        ("ਸ਼ੋਲੇ", "shole"),
        ("മണിച്ചിത്രത്താഴ്", "manichchitrattaal"),
        ("", ""),
    ],
)
def test_latin_letters(text: str, expected: str) -> None:
    assert romanised(text) == expected


def test_spellings_and_marks_do_not_matter() -> None:
    titles = Titles(["Kabhi Khushi Kabhie Gham", "Kabhi Kabhie", "Amélie", "Oye"])
    assert titles.find("kabhi khushi").tolist() == [0]
    assert titles.find("kabi kabi").tolist() == [1]
    assert titles.find("amelie").tolist() == [2]
    assert titles.find("oye").tolist() == [3]
    assert titles.find("").tolist() == titles.find("xyz").tolist() == []


@pytest.mark.parametrize("name", INDIAN)
def test_letters_of_a_block_have_its_script(name: str) -> None:
    assert script(chr(BLOCKS[name][0] + 0x15) * 3 + " ab") == name


@given(st.text(max_size=20))
def test_any_text_has_a_skeleton_that_is_its_own(text: str) -> None:
    key = skeleton(text)
    assert skeleton(key) == key or any(letter.isdigit() for letter in key)
    assert script(text) in {"", "Latin", *BLOCKS}
