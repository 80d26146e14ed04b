"""Exact search: every item is looked at; the right index for catalogues up to some 100,000 items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from numpy.random import Generator

from pasand.index.index_files import checked
from pasand.index.inverted_lists import InvertedLists, one_list, scale_of
from pasand.types import Vectors


@dataclass(kw_only=True)
class Exact(InvertedLists):
    """Finds the true best, up to the rounding of vectors to half floats; about 5 ns for an item of 64 dimensions."""

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, in place of whatever was there, and return itself."""
        vectors = checked(vectors, None, what="vectors to index")
        self._fill(one_list(vectors.shape[1]), vectors, scale_of(vectors))
        return self
