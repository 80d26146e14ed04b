"""Text encoders: by hand, against scikit-learn, and in scripts whose vowels are combining marks."""

from __future__ import annotations

import sys
from math import log, sqrt

import numpy as np
import pytest

from pasand.encoders import Encoder
from pasand.encoders.text import SentenceText, TfidfText, words
from pasand.errors import InputError

PLOTS = ["a dacoit meets a policeman", "the policeman loves the dacoit, the dacoit runs", "a love story in Shimla", ""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("दोस्ती की कहानी", ["दोस्ती", "की", "कहानी"]),
        ("காதல் கதை", ["காதல்", "கதை"]),
        ("ప్రేమ కథ", ["ప్రేమ", "కథ"]),
        ("প্রেমের গল্প।", ["প্রেমের", "গল্প"]),
        ("Love_story, 1942!", ["love", "story", "1942"]),
        ("क्\u200dया", ["क्या"]),
        ("a ? ।", []),
    ],
)
def test_words_of_many_scripts_stay_whole(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_weights_by_hand() -> None:
    """Two of three texts contain "red", one "blue"; the second contains "blue" twice."""
    weights = TfidfText(min_texts=1).fit(["red", "blue red blue", "green"]).weights(["red", "blue red blue"]).toarray()
    red, blue = log(4 / 3) + 1, 2 * (log(4 / 2) + 1)
    length = sqrt(red**2 + blue**2)
    np.testing.assert_allclose(weights, np.array([[0, 0, 1], [blue / length, 0, red / length]]), atol=1e-12)


def test_weights_agree_with_scikit_learn() -> None:
    peer = pytest.importorskip("sklearn.feature_extraction.text").TfidfVectorizer()
    encoder = TfidfText(min_texts=1).fit(PLOTS[:3])
    np.testing.assert_allclose(
        encoder.weights(PLOTS).toarray(), peer.fit(PLOTS[:3]).transform(PLOTS).toarray(), atol=1e-9
    )
    assert encoder.names() == peer.get_feature_names_out().tolist()


def test_axes_are_those_of_the_exact_decomposition() -> None:
    rng = np.random.default_rng(3)
    texts = [" ".join(f"w{word:02}" for word in rng.zipf(1.5, 20) % 40) for _ in range(60)]
    encoder = TfidfText(dimensions=5, min_texts=1).fit(texts)
    dense = encoder.weights(texts).toarray()
    exact = np.linalg.svd(dense)[2][:5].T
    axes = encoder.state()["axes"]
    np.testing.assert_allclose(np.linalg.norm(dense @ axes, axis=0), np.linalg.svd(dense)[1][:5], rtol=1e-3)
    assert np.abs((axes * exact).sum(axis=0))[:2].min() > 0.999
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(5)] > 0).all()


def test_all_axes_keep_the_cosines() -> None:
    encoder = TfidfText(min_texts=1).fit(PLOTS)
    weights, vectors = encoder.weights(PLOTS).toarray(), encoder.encode(PLOTS)
    np.testing.assert_allclose(vectors @ vectors.T, weights @ weights.T, atol=1e-6)


def test_empty_texts_have_zero_vectors_and_empty_catalogues_none() -> None:
    assert not TfidfText(min_texts=1).fit(PLOTS).encode(["", "zzz"]).any()
    assert TfidfText().fit([]).encode(["a word"]).shape == (1, 0)


def test_the_state_encodes_the_same() -> None:
    encoder, again = TfidfText(min_texts=1).fit(PLOTS), TfidfText(min_texts=1)
    again.load_state(encoder.state())
    np.testing.assert_array_equal(again.encode(PLOTS), encoder.encode(PLOTS))
    assert again.fingerprint() == encoder.fingerprint() != TfidfText(min_texts=1).fit(PLOTS[:2]).fingerprint()


def test_both_satisfy_the_contract() -> None:
    assert isinstance(TfidfText(), Encoder)
    assert isinstance(SentenceText(), Encoder)


def test_a_missing_library_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match="not installed"):
        SentenceText().encode(["a"])
