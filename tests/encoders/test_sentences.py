"""Sentence models in folders: pooling by hand, batches, empty texts, and what is no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pasand.encoders import Encoder, sentences
from pasand.encoders.sentences import SentenceOnnx
from pasand.errors import InputError
from tests.encoders.graphs import mean_word

pytest.importorskip("onnx")
pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mean_word(tmp_path_factory.mktemp("models") / "words")


def test_the_vector_is_the_mean_of_the_tokens(folder: Path) -> None:
    vectors = SentenceOnnx(model=str(folder)).encode(["red red blue", "", "green", "  "])
    np.testing.assert_allclose(vectors[0], np.array([2, 1, 0]) / np.sqrt(5), atol=1e-6)
    np.testing.assert_array_equal(vectors[1:], [[0, 0, 0], [0, 0, 1], [0, 0, 0]])


def test_batches_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SentenceOnnx(model=str(folder))
    texts = [" ".join(["red", "blue", "green"][: at % 3 + 1] * (at + 1)) for at in range(20)]
    whole = encoder.encode(texts)
    monkeypatch.setattr(sentences, "BATCH_TOKENS", 40)
    np.testing.assert_allclose(encoder.encode(texts), whole, atol=1e-6)
    assert encoder.encode([]).shape == (0, 3)


def test_the_prompt_of_the_folder_and_the_ends_are_read(folder: Path) -> None:
    assert SentenceOnnx(model=str(folder)).token_counts(["red blue"]) == [5]


def test_long_texts_are_cut(folder: Path) -> None:
    encoder = SentenceOnnx(model=str(folder))
    assert encoder.token_counts(["red " * 2000]) == [512]
    np.testing.assert_allclose(encoder.encode(["red " * 2000 + "blue " * 5000]), [[1, 0, 0]])


def test_the_contract(folder: Path, tmp_path: Path) -> None:
    encoder = SentenceOnnx(model=str(folder))
    assert isinstance(encoder, Encoder)
    assert encoder.fit(["red"]) is encoder
    assert encoder.state() == {}
    assert encoder.fingerprint() == SentenceOnnx(model=str(folder)).fingerprint()


def test_what_is_no_model_is_reported(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"'e5' is wrong: it is not on this machine\. Cure: pasand fetch e5"):
        SentenceOnnx().encode(["red"])
    with pytest.raises(InputError, match=r"no model\.onnx"):
        SentenceOnnx(model=str(tmp_path)).encode(["red"])
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="it is no ONNX model that onnxruntime"):
        SentenceOnnx(model=str(tmp_path)).encode(["red"])
    (tmp_path / "model.onnx").write_bytes((folder / "onnx" / "model.onnx").read_bytes())
    with pytest.raises(InputError, match=r"tokenizer\.json cannot be read"):
        SentenceOnnx(model=str(tmp_path)).encode(["red"])
