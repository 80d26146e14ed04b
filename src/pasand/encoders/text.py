"""Text encoders: `TfidfText` (TF-IDF reduced by an SVD) and `SentenceText` (a pretrained sentence model)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse

from pasand.data.features import pack_strings, unpack_strings
from pasand.errors import InputError
from pasand.types import Array, Arrays, Vectors

MIN_LENGTH = 2
"""Minimum length of a word in characters."""
JOINERS = str.maketrans("", "", "\u200c\u200d")
"""Zero-width joiners, which change the shape of letters but not the word."""


def words(text: str) -> list[str]:
    """Return the words of a text in order, case-folded, of two characters or more.

    A word is a run of letters, digits and combining marks, so that the vowel signs of Indian scripts stay inside it.

    >>> words("Sholay: दोस्ती की कहानी")
    ['sholay', 'दोस्ती', 'की', 'कहानी']
    """
    return _pattern().findall(unicodedata.normalize("NFC", text.translate(JOINERS)).casefold())


@cache
def _pattern() -> re.Pattern[str]:
    marks = [chr(code) for code in range(0x12000) if unicodedata.category(chr(code)).startswith("M")]
    return re.compile(f"(?:[^\\W_]|[{''.join(marks)}]){{{MIN_LENGTH},}}")


@dataclass(kw_only=True)
class TfidfText:
    """TF-IDF over the words of the catalogue, reduced by a truncated SVD (Deerwester et al. 1990).

    The weight of a word is tf * (ln((1 + n) / (1 + df)) + 1), and each text is scaled to length 1. The SVD is the
    randomised one of Halko, Martinsson and Tropp (2011, algorithm 4.4) with a fixed seed, and the largest entry of each
    axis is positive, so that the same texts give the same vectors.
    """

    dimensions: int = 128
    """Width of the vectors; less where the catalogue has fewer texts or words."""
    min_texts: int = 2
    """Minimum number of texts that contain a word, for the word to be kept."""
    max_words: int = 50_000
    """Maximum number of words: those in the most texts are kept."""
    reads_files: ClassVar[bool] = False
    _learnt: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _column: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("dimensions", "min_texts", "max_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the words, their inverse document frequencies and the axes; texts without words are ignored."""
        documents = [set(found) for text in texts if (found := words(text))]
        count = Counter(word for document in documents for word in document)
        frequent = sorted((word for word in count if count[word] >= self.min_texts), key=lambda w: (-count[w], w))
        kept = sorted(frequent[: self.max_words])
        idf = np.array([np.log((1 + len(documents)) / (1 + count[word])) + 1 for word in kept], np.float64)
        data, ends = pack_strings(kept)
        self._restore({"words.bytes": data, "words.ends": ends, "idf": idf})
        self._learnt["axes"] = axes(self.weights(texts), self.dimensions)
        return self

    def weights(self, texts: Sequence[str]) -> sparse.csr_array:
        """Return the TF-IDF weights, (n, words) float64: rows of length 1, zeros for a text without a known word."""
        start, columns, values = [0], [], []
        for text in texts:
            counts = Counter(self._column[word] for word in words(text) if word in self._column)
            column = np.array(sorted(counts), np.int64)
            weight = np.array([counts[c] for c in column.tolist()], np.float64) * self._learnt["idf"][column]
            columns.append(column)
            values.append(weight / np.linalg.norm(weight) if len(column) else weight)
            start.append(start[-1] + len(column))
        csr = (np.concatenate([np.empty(0), *values]), np.concatenate([np.empty(0, np.int64), *columns]), start)
        return sparse.csr_array(csr, shape=(len(texts), len(self._column)))

    def names(self) -> list[str]:
        """Return the word of each column of `weights`."""
        return list(self._column)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of length 1, (n, D); zeros for a text without a known word."""
        reduced = np.asarray(self.weights(texts) @ self._learnt["axes"])
        length = np.linalg.norm(reduced, axis=1, keepdims=True)
        vectors: Vectors = np.divide(reduced, length, out=np.zeros_like(reduced), where=length > 1e-9).astype(
            np.float32
        )
        return vectors

    def fingerprint(self) -> str:
        """Return the sha256 of all learnt arrays."""
        digest = hashlib.sha256(b"tfidf 1")
        for name in sorted(self._learnt):
            digest.update(name.encode() + np.ascontiguousarray(self._learnt[name]).tobytes())
        return digest.hexdigest()

    def state(self) -> Arrays:
        """Return the words, their "idf" (words,) and the "axes" (words, D)."""
        return dict(self._learnt)

    def load_state(self, arrays: Arrays) -> None:
        """Restore the arrays of `state`."""
        self._restore(arrays)

    def _restore(self, arrays: Arrays) -> None:
        self._learnt = dict(arrays)
        kept = unpack_strings(arrays["words.bytes"], arrays["words.ends"])
        self._column = {word: column for column, word in enumerate(kept)}


def axes(weights: sparse.csr_array, dimensions: int) -> Array:
    """Return the first right singular vectors of a sparse matrix, (C, D), each with its largest entry above 0."""
    width = min(dimensions, *weights.shape)
    if not width:
        return np.zeros((weights.shape[1], 0))
    start = np.random.default_rng(0).standard_normal((weights.shape[1], min(width + 10, *weights.shape)))
    basis = np.linalg.qr(weights @ start)[0]
    for _ in range(4):
        basis = np.linalg.qr(weights @ np.linalg.qr(weights.T @ basis)[0])[0]
    axes = np.linalg.svd((weights.T @ basis).T, full_matrices=False)[2][:width].T
    largest = np.abs(axes).argmax(axis=0)
    oriented: Array = axes * np.where(axes[largest, np.arange(width)] < 0, -1, 1)
    return oriented


@dataclass(kw_only=True)
class SentenceText:
    """A pretrained sentence model (Reimers and Gurevych 2019) that is on this machine; nothing is downloaded."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Folder of the model, or the name under which it was downloaded before."""
    reads_files: ClassVar[bool] = False
    _loaded: Any = field(default=None, init=False, repr=False, compare=False)

    def fit(self, texts: Sequence[str]) -> Self:
        """Return the encoder unchanged: it learns nothing."""
        return self

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of length 1, (n, D); zeros for an empty text.

        Raises InputError where the library is not installed, or the model is not on this machine.
        """
        loaded = self._load()
        vectors = np.asarray(loaded.encode(list(texts), normalize_embeddings=True), np.float32).reshape(len(texts), -1)
        return np.where(np.array([bool(text.strip()) for text in texts], np.bool_)[:, None], vectors, np.float32(0))

    def fingerprint(self) -> str:
        """Return the sha256 of the model's name; a folder whose content changes must change its name."""
        return hashlib.sha256(f"sentence 1 {self.model}".encode()).hexdigest()

    def state(self) -> Arrays:
        """Return no arrays: the weights stay in the model's folder."""
        return {}

    def load_state(self, arrays: Arrays) -> None:
        """Restore nothing."""

    def _load(self) -> Any:
        if self._loaded is None:
            try:
                from sentence_transformers import SentenceTransformer
            except ImportError as error:
                cure = "pip install sentence-transformers, or use the default model of text, or tfidf"
                raise InputError("encoders.text", cause="sentence-transformers is not installed", cure=cure) from error
            try:
                self._loaded = SentenceTransformer(self.model, device="cpu", local_files_only=True)
            except (OSError, ValueError) as error:
                cure = "give the folder of a sentence model"
                raise InputError("model", value=self.model, cause="no such model on this machine", cure=cure) from error
        return self._loaded
