"""The cache of vectors: by content, appended batch by batch, safe from damage and interruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pasand.encoders import UnreadableInput, vector_cache
from pasand.encoders.text import TfidfText
from pasand.types import Vectors

PLOTS = ["a dacoit meets a policeman", "the policeman loves the dacoit", "a love story in Shimla", ""]


class Recording(TfidfText):
    """Notes what it encodes."""

    encoded: list[str]

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.encoded = list(texts)
        return super().encode(texts)


class Lengths(TfidfText):
    """The length of a file, and its first byte; a file that begins with X cannot be read."""

    reads_files: ClassVar[bool] = True

    def encode(self, texts: Sequence[str]) -> Vectors:
        contents = [Path(text).read_bytes() for text in texts]
        if any(content.startswith(b"X") for content in contents):
            raise UnreadableInput("it begins with X")
        return np.array([[len(content), content[0]] for content in contents], np.float32).reshape(-1, 2)

    def fingerprint(self) -> str:
        return "lengths"


@pytest.fixture
def encoder() -> Recording:
    encoder = Recording(min_texts=1)
    encoder.fit(PLOTS)
    return encoder


def test_only_new_texts_are_encoded(tmp_path: Path, encoder: Recording) -> None:
    first = vector_cache.encode(encoder, PLOTS[:2], tmp_path)
    np.testing.assert_array_equal(first, TfidfText.encode(encoder, PLOTS[:2]))
    second = vector_cache.encode(encoder, [PLOTS[2], PLOTS[0], PLOTS[2]], tmp_path)
    assert encoder.encoded == [PLOTS[2]]
    np.testing.assert_allclose(second, TfidfText.encode(encoder, [PLOTS[2], PLOTS[0], PLOTS[2]]), atol=1e-6)
    assert [file.suffix for file in tmp_path.iterdir()] == [".vectors"]
    assert vector_cache.encode(encoder, [], tmp_path).shape == (0, first.shape[1])


@pytest.mark.parametrize(("keep", "again"), [(0, 4), (10, 4), (-1, 1), (-30, 1)])
def test_what_a_torn_write_left_is_kept(tmp_path: Path, encoder: Recording, keep: int, again: int) -> None:
    first = vector_cache.encode(encoder, PLOTS, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:keep])
    np.testing.assert_array_equal(vector_cache.encode(encoder, PLOTS, tmp_path), first)
    assert len(encoder.encoded) == again
    encoder.encoded = []
    np.testing.assert_array_equal(vector_cache.encode(encoder, PLOTS, tmp_path), first)
    assert encoder.encoded == []


def test_a_changed_byte_is_detected(tmp_path: Path, encoder: Recording) -> None:
    first = vector_cache.encode(encoder, PLOTS, tmp_path)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    at = data.find(first[0].tobytes())
    assert at > 0
    data[at] ^= 255
    file.write_bytes(data)
    np.testing.assert_array_equal(vector_cache.encode(encoder, PLOTS, tmp_path), first)
    assert encoder.encoded == [PLOTS[0]]


def test_an_interruption_loses_one_batch_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(Recording):
        def encode(self, texts: Sequence[str]) -> Vectors:
            if "stop" in texts:
                raise KeyboardInterrupt
            return super().encode(texts)

    monkeypatch.setattr(vector_cache, "TEXTS", 2)
    encoder = Stopping(min_texts=1)
    encoder.fit(PLOTS)
    with pytest.raises(KeyboardInterrupt):
        vector_cache.encode(encoder, ["one", "two", "three", "four", "stop"], tmp_path)
    vector_cache.encode(encoder, ["one", "two", "three", "four", "five"], tmp_path)
    assert encoder.encoded == ["five"]


def test_a_bad_file_has_a_cause_and_costs_no_other(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b", "same", "none")]
    for file, content in zip(files, (b"abc", b"Xyz", b"abc"), strict=False):
        file.write_bytes(content)
    paths, folder = [str(file) for file in files], tmp_path / "vectors"
    with pytest.raises(UnreadableInput, match="begins with X"):
        vector_cache.encode(Lengths(), paths[:3], folder)
    faults: dict[int, str] = {}
    vectors = vector_cache.encode(Lengths(), paths, folder, faults=faults)
    assert faults == {1: "it begins with X", 3: "there is no such file"}
    np.testing.assert_array_equal(vectors, [[3, 97], [np.nan, np.nan], [3, 97], [np.nan, np.nan]])
    files[0].write_bytes(b"longer")
    assert vector_cache.encode(Lengths(), paths[:1], folder)[0, 0] == 6
