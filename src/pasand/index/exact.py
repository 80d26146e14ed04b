"""Exact search over all item vectors; the right index for catalogues of up to some 100,000 items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from numpy.random import Generator

from pasand.index.index_files import checked_vectors
from pasand.index.inverted_lists import InvertedLists
from pasand.types import Vectors


@dataclass(kw_only=True)
class Exact(InvertedLists):
    """Returns the exact best items, up to rounding of vectors; about 5 ns per item of 64 dimensions.

    Vectors are rounded to half floats, or to floats where one is more than some 16,000 times longer than another.
    `recall` is what rounding leaves of the exact lists; vectors added later are rounded like those of the build.
    """

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, replacing earlier content, and return itself."""
        vectors = checked_vectors(vectors, None, what="vectors to index")
        self._fill_one_list(vectors, queries, rng)
        return self
