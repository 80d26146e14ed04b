"""`Diversifying`: the base of stages that choose items one by one, each at its score less what it repeats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.random import Generator

from pasand.contracts import EmbedsItems
from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.diversity.similarity import Compared, ItemSimilarity
from pasand.reranking.rules.rules import finite
from pasand.reranking.scale import spread
from pasand.types import Arrays, Candidates, Queries


@dataclass
class Diversifying(ABC):
    """Returns all candidates: the k chosen ones in the order of the choice, then the others.

    The score of a chosen item is its score less the penalty for what is chosen before it. That of another item is less
    the penalty for all that is chosen, so it is what a later stage, such as `Rules`, gains by adding it. Penalties are
    `strength` times the difference between the first score and the median of the candidates, so a strength means the
    same for models of any scale. At strength 0 the candidates are unchanged.
    """

    features: Sequence[str] = ()
    """Item features, of any kind, that similarity is the mean of."""
    model: EmbedsItems | None = None
    """Model of the recipe, as "@NAME", whose item vectors similarity is the cosine of."""
    strength: float = 0.2
    """Weight of the penalty; 0: none."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength < np.inf:
            raise ValueError(f"strength must be at least 0 and finite, got {self.strength}")
        self.similarity = ItemSimilarity(self.features, self.model)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Encode the features of the items; raises InputError for a feature or a model that cannot be compared by."""
        self.similarity.fit(data, type(self).__name__.lower())
        return self

    def add_items(self, features: Features) -> None:
        """Append items, one per row of the features; a feature that is not given is missing."""
        self.similarity.add_items(features)

    def state(self) -> Arrays:
        """Return the encoded features of the items."""
        return self.similarity.state()

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; raises ValueError for arrays that it cannot have returned."""
        self.similarity.load_state(arrays)

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the candidates in their new order, (B, K)."""
        positions = np.tile(np.arange(candidates.items.shape[1]), (len(candidates), 1))
        scores = candidates.scores.copy()
        for b, n in enumerate(np.count_nonzero(candidates.items >= 0, axis=1).tolist()):
            if n > 1 and self.strength > 0:
                known = finite(candidates.scores[b, :n])
                compared = self.similarity.compared(candidates.items[b, :n])
                chosen = self.chosen(known, compared, min(queries.k, n), self.strength * spread(known))
                positions[b, :n], scores[b, :n] = chosen
        at, propensity = (np.arange(len(positions))[:, None], positions), candidates.propensity
        return Candidates(
            items=candidates.items[at], scores=scores, propensity=None if propensity is None else propensity[at]
        )

    @abstractmethod
    def chosen(self, scores: Values, compared: Compared, k: int, weight: float) -> tuple[Counts, Values]:
        """Return the n candidates in their new order, the k chosen first, and their scores in that order, (n,) each.

        `scores`, (n,), are finite and non-increasing; `weight` is that of the penalty in their units.
        """
