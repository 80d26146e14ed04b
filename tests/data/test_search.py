"""Search of a catalogue: names, years, other spellings and scripts, slips of typing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pasand.data.features import Feature, Features
from pasand.data.scripts import INDIAN, romanised
from pasand.data.search import CatalogueSearch, is_near, plain_words
from pasand.data.search_words import Spellings
from pasand.data.spellings import consonants, skeleton
from pasand.sources import load

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


@pytest.mark.parametrize("written", ["शोले", "শোলে", "ਸ਼ੋਲੇ", "શોલે", "ଶୋଲେ", "ஷோலே", "షోలే", "ಶೋಲೇ", "ഷോലേ"], ids=INDIAN)
def test_a_title_is_found_in_every_indic_script(written: str) -> None:
    assert skeleton(romanised(written)) == skeleton("sholay")


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
    native = CatalogueSearch([FILMS[name][language] for name in names], {})
    latin = CatalogueSearch(names, {})
    forth = [native.find(name).tolist()[:1] == [row] for row, name in enumerate(names)]
    back = [latin.find(FILMS[name][language]).tolist()[:1] == [row] for row, name in enumerate(names)]
    assert min(sum(forth), sum(back)) >= 11, (forth, back)


@given(st.text(), st.text())
@example("𝘈", "")  # a capital letter without a lower case, but whose plain form has one
def test_folding_is_total_and_idempotent_and_every_title_finds_itself(title: str, other: str) -> None:
    plain = plain_words(title)
    assert plain_words(plain) == plain
    assert 0 in CatalogueSearch([title, other], {}).find(title) or not plain


class ByReading:
    """The same search by reading every text: an independent definition of what is found and in which order."""

    def __init__(self, titles: Sequence[str], features: Features) -> None:
        self.titles, self.raw = [plain_words(title) for title in titles], list(titles)
        named = [feature for feature in features.values() if feature.kind in ("categorical", "bag")]
        self.names: list[list[str]] = [[] for _ in titles]
        self.every = {word for title in self.titles for word in title.split()}
        native = {
            word for title, raw in zip(self.titles, titles, strict=True) if not raw.isascii() for word in title.split()
        }
        for feature in named:
            for row, code in zip(*feature.members(), strict=True):
                self.names[row].append(plain_words(feature.names[code]))
            self.every |= {word for name in feature.names for word in plain_words(name).split()}
            native |= {w for name in feature.names if not name.isascii() for w in plain_words(name).split()}
        self.native = native
        self.years = features["year"].values.tolist() if "year" in features else [math.nan] * len(titles)

    def words(self, row: int) -> set[str]:
        return {word for text in (self.titles[row], *self.names[row]) for word in text.split()}

    def rows(self, words: set[str]) -> set[int]:
        return {row for row in range(len(self.titles)) if self.words(row) & words}

    def scores(self, word: str, latin: bool) -> dict[int, int]:
        own, spelt = self.every, skeleton(word)
        exact = self.rows({one for one in own if one.startswith(word)})
        exact |= {row for row, year in enumerate(self.years) if word.isdecimal() and year == float(word)}
        long = len(spelt) >= 4
        alike = {one for one in own if skeleton(one) == spelt or (long and skeleton(one).startswith(spelt))}
        found = dict.fromkeys(self.rows(alike), 4) | dict.fromkeys(exact, 8)
        sound = consonants(word)
        if not found and len(sound) >= 2:
            found = dict.fromkeys(self.rows({w for w in (self.native if latin else own) if consonants(w) == sound}), 2)
        if not found and len(word) >= 4:
            found = dict.fromkeys(self.rows({one for one in own if is_near(skeleton(one), spelt)}), 1)
        return found

    def find(self, text: str) -> list[int]:
        wanted = plain_words(text)
        words = [self.scores(word, text.isascii()) for word in wanted.split()]
        total = {}
        for row, title in enumerate(self.titles if wanted else ()):
            whole = 100 * (wanted in title) + 200 * title.startswith(wanted)
            each = [word.get(row, 0) for word in words]
            if score := whole + (sum(each) if all(each) else 0):
                total[row] = (-score, len(title))
        return sorted(total, key=lambda row: (*total[row], row))


def test_bollywood_is_searched_as_by_reading_every_text() -> None:
    data = load("bollywood", impressions="none")
    titles = [data.title(row) for row in range(data.n_items)]
    reading = ByReading(titles, data.item_features)
    cast = data.item_features["cast"].names[:8]
    texts = [
        *titles[::7],
        *(title[1:4] for title in titles[::9]),
        *cast,
        "hindi 19",
        "shole amitab",
        "दिलवाले",
        "qzx",
        "a",
    ]
    for text in [*texts, *(title[:-1] for title in titles[3::16]), *(title[::-1] for title in titles[::30])]:
        assert data.search(text).tolist() == reading.find(text), text


@given(st.lists(st.text("abhi शो-", max_size=9), min_size=1, max_size=8), st.text("abhi शो-", max_size=6))
def test_any_catalogue_is_searched_as_by_reading_every_text(titles: list[str], text: str) -> None:
    names = tuple(dict.fromkeys([titles[0], "bahi", "ab शो"]))
    codes = np.arange(len(titles), dtype=np.int32) % len(names)
    features: Features = {"who": Feature(kind="categorical", values=codes, names=names)}
    assert CatalogueSearch(titles, features).find(text).tolist() == ByReading(titles, features).find(text)


@given(st.lists(st.text("abc", min_size=1, max_size=5)), st.text("abc", min_size=1, max_size=5))
def test_near_words_are_those_that_differ_by_a_slip(words: list[str], key: str) -> None:
    different = sorted(set(words))
    near = Spellings({word: [n] for n, word in enumerate(different)}).near(key)
    assert near == [n for n, word in enumerate(different) if is_near(word, key)]


@given(st.lists(st.text("aeiouychkpqwxzjsbdgtrnl0", min_size=1), min_size=1))
def test_spellings_of_lines_are_those_of_their_words(words: list[str]) -> None:
    for spelling in (skeleton, consonants):
        assert spelling("\n".join(words)).split("\n") == [spelling(word) for word in words]


@given(st.text("abc", min_size=1), st.integers(0, 20), st.sampled_from("abc"))
def test_one_slip_is_near(word: str, at: int, letter: str) -> None:
    at %= len(word)
    assert is_near(word, word[:at] + word[at + 1 :])
    assert is_near(word, word[:at] + letter + word[at:])
    assert is_near(word, word[:at] + letter + word[at + 1 :])
    assert is_near(word, word[:at] + word[at : at + 2][::-1] + word[at + 2 :])
