"""Contracts of pasand's components, as protocols: models, indexes, retrievers, filters, stages and metrics.

A class satisfies a contract by having its methods; nothing is inherited or registered. To write a model, implement
`Model` as a dataclass whose fields are the hyper-parameters. Then add the optional contracts that the model can meet,
such as `Explains` or `AddsItems`: callers test for them with `isinstance`. Shapes use the legend of `pasand.types`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pasand.data.dataset import Dataset
from pasand.data.features import Features
from pasand.data.relevance import Relevance
from pasand.types import Arrays, Candidates, Mask, Queries, Rows, Scores, Times, Vectors


@runtime_checkable
class Fits(Protocol):
    """A component that learns from data: a model, an index, or a filter that looks up item ids."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Learn from the dataset and return itself.

        The same data and the same generator state give the same component, bit for bit.
        """

    def state(self) -> Arrays:
        """Return the learnt arrays by name, enough for `load_state` on an instance with equal hyper-parameters."""

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned; outputs are then the same, bit for bit."""


@runtime_checkable
class Model(Fits, Protocol):
    """A model that scores items for queries. Hyper-parameters are dataclass fields; learnt parameters are arrays."""

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return the score of each item for each query, higher is better: (B, K) -> (B, K).

        With `items` None, return scores of the whole catalogue, (B, N). Scores are never nan. They are -inf where the
        model cannot score: at padding (row -1), at rows at or beyond N (items added after training), and for queries
        that lack the inputs that the model needs.
        """


@runtime_checkable
class EmbedsItems(Model, Protocol):
    """A model that has an embedding vector for every item."""

    def embed_items(self, items: Rows) -> Vectors:
        """Return the items' vectors, (...) -> (..., D); zeros at row -1 and for items without a vector."""


@runtime_checkable
class TowerModel(EmbedsItems, Protocol):
    """A model whose scores are inner products of query and item vectors, so that an index can search it."""

    def embed_queries(self, queries: Queries) -> Vectors:
        """Return the queries' vectors, (B, D); zeros for queries that lack the inputs that the model needs."""


@runtime_checkable
class AddsItems(Protocol):
    """A model that accepts new items after training, from their features."""

    def add_items(self, features: Features) -> None:
        """Append items to the catalogue, one per row of the features; they can be scored at once.

        A feature that the model reads and `features` lacks counts as unknown. Features that the model does not read are
        ignored.
        """


@runtime_checkable
class Explains(Protocol):
    """A model that names the history items behind a recommendation, from the computation that made the score."""

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        """Return the reasons for each of the (B, K) items, strongest first; an empty list where there are none."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for a recommendation: a history item and its share of the score."""

    item: int
    """Row of the history item."""
    weight: float
    """Contribution to the score, in the units of the score."""


@runtime_checkable
class Influences(Protocol):
    """A model that attributes its scores to input features, such as `pasand.stages.boosting.Boosted`."""

    def influences(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return features and their contributions to the score of each of the (B, K) items, strongest first."""


@runtime_checkable
class Matches(Protocol):
    """A content model that names the words, genres or people that the query and the item share."""

    def matches(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return shared features and their contributions to the score of each of the (B, K) items, strongest first."""


@runtime_checkable
class ScoresWithout(Protocol):
    """A model that can score as if one of its inputs were unknown."""

    def features_read(self) -> Sequence[str]:
        """Return the names of the inputs that can be left out."""

    def score_without(self, queries: Queries, items: Rows, feature: str) -> Scores:
        """Return the scores with one input unknown, (B, K) -> (B, K)."""


@runtime_checkable
class PredictsRatings(Protocol):
    """A model that also predicts ratings, in units of the rating scale."""

    def predict(self, queries: Queries, items: Rows) -> Scores:
        """Return predicted ratings, (B, K) -> (B, K), finite for every query and item, unknown ones included."""


@runtime_checkable
class Follows(Protocol):
    """A component that goes on counting the events of a log after training, such as popularity, and learns nothing."""

    def follow(self, data: Dataset | None) -> None:
        """Score each query from now on by the events of `data` strictly before its time; None: by the training data.

        `data` continue the training data, which they include. Where time is counted in days, it is by the events of
        earlier days. Raises InputError for data that cannot be followed, such as data of other items.
        """


@runtime_checkable
class AddsEvents(Follows, Protocol):
    """A component that follows a log to which events are added one by one, as a server receives them."""

    def add_events(self, data: Dataset) -> None:
        """Add these events to those that are followed; scores are then those of `follow` on all of them, to the bit."""

    def compact(self) -> None:
        """Hold only the events that queries after the last one need; an earlier query is scored as at its time."""


@runtime_checkable
class LearnsShown(Protocol):
    """A component that also learns from random slots, clicked or not, such as the uncertainty of an exploration."""

    def learn_shown(self, item: Rows, position: Rows, clicked: Mask) -> None:
        """Learn from these items of random slots, (n,) each, in place of earlier ones; call it after `fit`."""


@runtime_checkable
class PredictsMinutes(Follows, Protocol):
    """A model that also predicts watch time, and follows a log."""

    def minutes(self, queries: Queries, items: Rows) -> Scores:
        """Return the expected watch minutes of each item once it is shown, at least 0; (B, K) -> (B, K)."""


@runtime_checkable
class RecordsCurves(Protocol):
    """A model that records its learning curves."""

    def curves(self) -> dict[str, list[float]]:
        """Return the curves by name, such as "train rmse" and "validation rmse", with one value per epoch."""


@runtime_checkable
class ExportsONNX(Protocol):
    """A model that also runs as ONNX graphs, without the library that trained it."""

    def export(self) -> dict[str, bytes]:
        """Return the graphs by name ("query", "item"); {} before `fit`. Large weights stay in the state."""

    def use(self, graphs: Mapping[str, bytes]) -> None:
        """Score with these graphs from now on; call it after `load_state`."""


@runtime_checkable
class Owns(Protocol):
    """A component that fits other components of its recipe itself, and forwards new items to them."""

    @property
    def owned(self) -> tuple[object, ...]:
        """The components that no other component may fit."""


@runtime_checkable
class SavesFile(Protocol):
    """A component that keeps a file of its own beside its state, such as an index."""

    def save(self, path: Path) -> None:
        """Write the file."""

    def load(self, path: Path) -> object:
        """Restore what `save` wrote."""


@runtime_checkable
class Refreshes(Protocol):
    """A component that depends on the models' item vectors, such as a retriever with an index."""

    def refresh(self, rows: Rows) -> None:
        """Read the vectors of these items again, (n,); they were added or have changed."""


@runtime_checkable
class Index(Protocol):
    """An index of item vectors: finds the items with the largest inner products with a query vector.

    Rows are those of the catalogue. Searches return Candidates whose scores are the inner products.
    """

    def build(self, vectors: Vectors, *, rng: Generator, queries: Vectors | None = None) -> Self:
        """Index (N, D) vectors as rows 0..N-1, replacing any earlier content, and return itself.

        `queries`, (Q, D), are a sample of the queries to expect; settings are chosen and recall is measured by them.
        None: use item vectors as queries.
        """

    def search(
        self, vectors: Vectors, k: int, *, allowed: Mask | None = None, exclude: Rows | None = None
    ) -> Candidates:
        """Return the k best rows for each of the (B, D) vectors, (B, k), padded with -1 if fewer may be returned.

        The filters `allowed`, (1, N) or (B, N), and `exclude`, (B, X) padded with -1, apply during the search: k rows
        are returned whenever k rows are allowed and not excluded. Rows at or beyond the width of `allowed` are not
        allowed.
        """

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add rows with their (n, D) vectors, effective at once; the vectors of rows in the index are replaced."""

    def remove(self, rows: Rows) -> None:
        """Remove rows, effective at once; rows that are not in the index are ignored."""

    def __len__(self) -> int:
        """Return the number of rows that can be found."""

    @property
    def recall(self) -> float:
        """Share of the exact top 100 that a search finds, measured by `build`; 1 for an exact index."""

    def save(self, path: Path) -> None:
        """Write the index to one file."""

    def load(self, path: Path) -> Self:
        """Restore what `save` wrote and return itself; the file is mapped into memory where the kind allows."""


class Retriever(Protocol):
    """Retrieves the first candidates: k different allowed items per query, fewer only where fewer can be scored."""

    def __call__(self, queries: Queries) -> Candidates: ...


class Filter(Protocol):
    """Restricts queries before retrieval (items seen, denied, allowed), so that lists stay full."""

    def __call__(self, queries: Queries) -> Queries: ...


class Stage(Protocol):
    """Ranks or re-ranks candidates. It adds no item, repeats no item, and keeps padding last."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates: ...


@runtime_checkable
class Notes(Protocol):
    """A stage that reports what it could not do, such as a rule that cannot hold with the candidates."""

    def notes(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return sentences for each query; `candidates` are the final lists."""


@runtime_checkable
class CountsShown(Protocol):
    """A stage that chooses by what was shown so far, such as an exposure over requests; calling it counts nothing."""

    counts_returned: bool
    """Whether a recommender counts each list that it returns as shown; see `pasand.following.counting`."""

    def shown(self, items: Rows, time: Times) -> None:
        """Count final lists, (B, K) padded with -1, at the times of their queries, (B,), as shown."""

    def empty(self) -> None:
        """Begin with nothing shown."""

    def state(self) -> Arrays:
        """Return what was shown, enough for `load_state`."""

    def load_state(self, arrays: Arrays) -> None:
        """Restore what `state` returned."""


@runtime_checkable
class KeepsRules(Protocol):
    """A stage with rules on the list."""

    def broken(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return for each query the names of the rules that its final list does not keep."""

    def without(self, queries: Queries, candidates: Candidates) -> Iterator[tuple[str, Candidates]]:
        """Yield each part of the stage in words, such as "rule `new sellers`", and its lists without that part."""


class ListMetric(Protocol):
    """A metric of recommendation lists: one value per query, nan where undefined. Callers average."""

    def __call__(self, candidates: Candidates, relevant: Relevance) -> NDArray[np.float64]: ...


class RunMetric(Protocol):
    """A metric of a whole run: one value from how often each item of the catalogue was recommended."""

    def __call__(self, exposure: NDArray[np.float64]) -> float:
        """Return the metric of the exposure counts, (N,) at least 0."""


class RatingMetric(Protocol):
    """A metric of predicted ratings: a loss per rating, and a function of the mean loss."""

    def loss(self, predicted: Scores, actual: Scores) -> NDArray[np.float64]:
        """Return one loss per rating, (n,) -> (n,)."""

    def finish(self, mean_loss: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the metric of mean losses, elementwise: their square root for RMSE, for instance."""
