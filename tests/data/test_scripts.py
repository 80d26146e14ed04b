"""Scripts of texts, and Latin letters for Indian ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.scripts import BLOCKS, INDIAN, romanised, script


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


@pytest.mark.parametrize("name", INDIAN)
def test_letters_of_a_block_have_its_script(name: str) -> None:
    assert script(chr(BLOCKS[name][0] + 0x15) * 3 + " ab") == name


@given(st.text(max_size=20))
def test_any_text_has_a_script_or_none(text: str) -> None:
    assert script(text) in {"", "Latin", *BLOCKS}
