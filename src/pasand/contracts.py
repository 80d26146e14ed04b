"""What each family promises. Protocols only: a member satisfies its contract by shape, not by inheritance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.data.relevance import Relevance
from pasand.types import Arrays, Candidates, Mask, Queries, Rows, Scores, Vectors


@runtime_checkable
class Model(Protocol):
    """Hyper-parameters are dataclass fields; what is learnt is arrays."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn from the events and return itself; same data and same generator state give the same model."""

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return how well items suit queries: (B, K) -> (B, K); None: the whole catalogue, (B, N).

        Never nan. -inf where the model has nothing to say: item row -1, and a query that lacks what it needs. Rows
        at or beyond the catalogue, of items that came after training, count as -1.
        """

    def state(self) -> Arrays:
        """Return what was learnt, enough for `load_state` on an equal instance to score to the same bits."""

    def load_state(self, arrays: Arrays) -> None:
        """Take over what `state` gave."""


@runtime_checkable
class EmbedsItems(Model, Protocol):
    """A model that has a vector for every item."""

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' vectors, (...) -> (..., D); all 0 at row -1."""


@runtime_checkable
class TowerModel(EmbedsItems, Protocol):
    """A model whose score is the inner product of two towers, so that an index can search it."""

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the queries' vectors, (B, D); all 0 where the query lacks what the model needs."""


@runtime_checkable
class Owns(Protocol):
    """A component that fits other components of its recipe itself, and hands them what it learns or adds."""

    @property
    def owned(self) -> tuple[object, ...]:
        """The components that nobody else may fit."""


@runtime_checkable
class AddsItems(Protocol):
    """A model that can take items into its catalogue after training, from what is known of them beyond the log."""

    def add_items(self, features: Features) -> None:
        """Append items, a row of every feature each, after the rows that there are; they are embedded at once.

        A feature that is missing there counts as not known; one that the model does not read is ignored.
        """


@runtime_checkable
class ExportsONNX(Protocol):
    """A model that also runs as ONNX graphs, without the library that trained it."""

    def export(self) -> dict[str, bytes]:
        """Return the graphs by name ("query", "item"), whose large weights stay in the state; {} before `fit`."""

    def use(self, graphs: Mapping[str, bytes]) -> None:
        """Answer from these graphs from now on; call after `load_state`."""


@runtime_checkable
class Index(Protocol):
    """Finds the items whose vectors have the largest inner products with a query's.

    Rows are those of the catalogue. Every search returns Candidates with the inner products as scores.
    """

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, in place of whatever was there, and return itself.

        `queries`, (Q, D), are vectors such as will be asked, to choose and measure recall by; None: made of the items.
        """

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each of the (B, D) vectors, (B, k), padded with -1 where fewer may be returned.

        `allowed`, (1, N) or (B, N), and `exclude`, (B, X) padded with -1, hold inside the search: k rows come back
        while so many are allowed and not excluded. Rows at or beyond the width of `allowed` are not allowed.
        """

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Take in the (n, D) vectors of rows at once; a row that is there already gets the new vector."""

    def remove(self, rows: Rows) -> None:
        """Forget rows at once; one that is not there is ignored."""

    def __len__(self) -> int:
        """Return the number of rows that can be found."""

    @property
    def recall(self) -> float:
        """Share of the true 100 best that a search finds, measured when it was built; 1 for an exact one."""

    def save(self, path: Path) -> None:
        """Write the index to one file."""

    def load(self, path: Path) -> Self:
        """Take over what `save` wrote, mapped into memory rather than read where the kind allows, and return itself."""


@runtime_checkable
class PredictsRatings(Protocol):
    """A model that also answers in units of the rating scale."""

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return expected ratings, (B, K) -> (B, K), finite for every query and item, unknown ones included."""


@runtime_checkable
class PredictsMinutes(Protocol):
    """A model that also answers in minutes, and whose counts of what is popular can follow the log."""

    def minutes(self, queries: Queries, items: Rows) -> Scores:
        """Return the minutes expected to be watched of each item once it is shown, at least 0; (B, K) -> (B, K)."""

    def follow(self, data: Dataset) -> None:
        """Count by `data`, which go on from those learnt from, without learning anew."""


@runtime_checkable
class RecordsCurves(Protocol):
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
