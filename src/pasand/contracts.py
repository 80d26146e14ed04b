"""What each family promises. Protocols only: a member satisfies its contract by shape, not by inheritance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.truth import Relevance
from pasand.types import Arrays, Candidates, Queries, Rows, Scores, Vectors


@runtime_checkable
class Model(Protocol):
    """Hyper-parameters are dataclass fields; what is learnt is arrays."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn from the events and return itself; same data and same generator state give the same model."""

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return how well items suit queries: (B, K) -> (B, K); None: the whole catalogue, (B, N).

        Never nan. -inf where the model has nothing to say: item row -1, and a query that lacks what it needs.
        """

    def state(self) -> Arrays:
        """Return what was learnt, enough for `load_state` on an equal instance to score to the same bits."""

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""


@runtime_checkable
class TowerModel(Model, Protocol):
    """A model whose score is the inner product of two towers, so that an index can search it."""

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the queries' vectors, (B, D); all 0 where the query lacks what the model needs."""

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' vectors, (...) -> (..., D); all 0 at row -1."""


@runtime_checkable
class PredictsRatings(Protocol):
    """A model that also answers in units of the rating scale."""

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings, (B, K) -> (B, K), finite for every query and item, unknown ones included."""


@runtime_checkable
class Learns(Protocol):
    """A model that keeps its learning curves."""

    def curves(self) -> dict[str, list[float]]:
        """Return one list per curve, a value per epoch, under names such as "train rmse", "validation rmse"."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause of a recommendation: an item of the history, and its share of the score."""

    item: int
    """Row of the history item."""
    weight: float
    """Contribution to the score, in the score's units."""


@runtime_checkable
class Explains(Protocol):
    """A model that can say why, from what it really used."""

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return for each query and each of its (B, K) items the reasons, strongest first; empty: none known."""


class Retriever(Protocol):
    """Gives the first candidates: exactly k different allowed items a query while so many exist."""

    def __call__(self, queries: Queries) -> Candidates: ...


class Filter(Protocol):
    """Narrows a query (what is seen, denied, allowed) before anything is retrieved, so that lists are never short."""

    def __call__(self, queries: Queries) -> Queries: ...


class Stage(Protocol):
    """Ranks, blends or re-ranks: no item twice, nothing new, padding last."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates: ...


class ListMetric(Protocol):
    """One value per query, nan where undefined; means and intervals are taken in one place."""

    def __call__(self, candidates: Candidates, relevant: Relevance) -> NDArray[np.float64]: ...


class RunMetric(Protocol):
    """One value for a whole run, from how often each item of the catalogue was shown."""

    def __call__(self, exposure: NDArray[np.float64]) -> float:
        """Map exposure, (N,) at least 0, to one number."""


class RatingMetric(Protocol):
    """An error of predicted ratings: a loss per rating, and what is made of the mean loss."""

    def loss(self, predicted: Scores, actual: Scores) -> NDArray[np.float64]:
        """Return one loss per rating, (n,) -> (n,)."""

    def finish(self, mean_loss: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn mean losses into the metric, elementwise (a square root for RMSE)."""
