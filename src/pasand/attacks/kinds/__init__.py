"""The kinds of attack, one per file; `fill` draws the filler of one profile, as positions in `RatingStatistics`."""

from __future__ import annotations

from typing import Protocol

from numpy.random import Generator

from pasand.attacks.kinds import average, average_over_popular, bandwagon, love_hate, random
from pasand.attacks.ratings import RatingStatistics
from pasand.types import Offsets, Scores


class Fill(Protocol):
    """A kind of attack."""

    def __call__(self, known: RatingStatistics, n: int, rng: Generator) -> tuple[Offsets, Scores]:
        """Return n positions in `known.items`, none twice, and their values, (n,) each; n is at most M."""


KINDS: dict[str, Fill] = {
    "random": random.fill,
    "average": average.fill,
    "bandwagon": bandwagon.fill,
    "average-over-popular": average_over_popular.fill,
    "love-hate": love_hate.fill,
}
"""The kinds of attack by name."""

NEED_RATINGS = ("average", "love-hate")
"""Kinds that are nothing but `random` where events have no ratings."""
