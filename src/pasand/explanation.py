"""Why an item stands where it stands: its way through a recommender, from the sources to the final list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pasand.contracts import Model, Reason
from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN
from pasand.recommender import Recommender, reasons
from pasand.stages.retrieval import Fallback, FromModel
from pasand.stages.switching import Switch
from pasand.types import Array, Candidates, Queries, Rows, Scores

DEEPEST = 10_000
"""Places that a source is asked for where the item is not among those that the recommender takes from it."""


@runtime_checkable
class Influences(Protocol):
    """A model that can say which features moved a score, such as `pasand.stages.boosting.Boosted`."""

    def influences(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return of each of the (B, K) items the features and their contributions to the score, strongest first."""


@runtime_checkable
class Matches(Protocol):
    """A model of content that can say which words, genres or people made the match."""

    def matches(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        """Return of each of the (B, K) items the features and their contributions to the score, strongest first."""


@runtime_checkable
class ScoresWithout(Protocol):
    """A model that can score as if one of its inputs were not known."""

    def features_read(self) -> Sequence[str]:
        """Return the names of the inputs that can be left out."""

    def score_without(self, queries: Queries, items: Rows, feature: str) -> Scores:
        """Return the scores with one input not known; (B, K) -> (B, K)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one source of candidates has to say of the item."""

    name: str
    """Component of the recipe; the class where it has no name there."""
    kind: str
    rank: int | None
    """Place in the source's own list, 1 is the first; None: not in it."""
    score: float | None
    of: int
    """Items in that list."""
    asked: bool
    """Whether the recommender listens to it for this query: a later rung of a ladder may not be needed."""
    proposed: bool
    """Whether the item is among those that the recommender takes from it."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where the item stands after one step: the retrieval, then each stage."""

    name: str
    kind: str
    rank: int | None
    """None: not in the list."""
    score: float | None
    of: int
    """Items in the list."""


@dataclass(frozen=True, kw_only=True)
class Influence:
    """What moved the score that one model gives."""

    name: str
    kind: str
    method: str
    """How it is known: "own", "matches", or "left out": the fall of the score when the input is not known."""
    features: list[tuple[str, float]]
    """Inputs and contributions to the score, strongest first."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All that can be said of one item and one query."""

    item: int
    barred_by: list[str]
    """Filters that keep it out; the way below is then that which it would go without them."""
    sources: list[Source]
    steps: list[Step]
    rank: int | None
    """Place in the final list; None: not in it."""
    top: Candidates
    """The final list."""
    reasons: list[Reason]
    """Events of the history that speak for the item, strongest first."""
    influences: list[Influence]
    silent: list[str]
    """Models that rank and do not tell what moved their score, nor let an input be left out."""

    def as_json(self, data: Dataset) -> dict[str, Any]:
        """Return it in ids, titles and numbers."""
        above = self.top.items[0][: (self.rank or self.top.items.shape[1] + 1) - 1]
        return {
            "item": named(data, self.item),
            "rank": self.rank,
            "k": self.top.items.shape[1],
            "barred_by": self.barred_by,
            "sources": [asdict(source) for source in self.sources],
            "steps": [asdict(step) for step in self.steps],
            "above": [
                {"rank": place + 1, **named(data, int(row)), "score": float(self.top.scores[0, place])}
                for place, row in enumerate(above)
                if row >= 0
            ],
            "because": [{**named(data, reason.item), "weight": float(reason.weight)} for reason in self.reasons],
            "influences": [
                {
                    "name": influence.name,
                    "kind": influence.kind,
                    "method": influence.method,
                    "features": [{"feature": n, "contribution": float(c)} for n, c in influence.features],
                }
                for influence in self.influences
            ],
            "silent": self.silent,
        }


def named(data: Dataset, row: int) -> dict[str, Any]:
    """Return the id and the title of an item."""
    return {"item": data.items.ids([row])[0], "title": data.title(row)}


def explain(recommender: Recommender, queries: Queries, item: int, names: Mapping[str, object]) -> Explanation:
    """Return the way of one item through a recommender, for a single query.

    `names` are the components of the recipe by name. Every leaf of the retriever is asked by itself, for as many items
    as the recommender would take from it, and where the item is not among them, for up to 10,000 (`DEEPEST`) to tell
    how far away it is. Raises ValueError for several queries.
    """
    if len(queries) != 1:
        raise ValueError(f"queries must be one, got {len(queries)}")
    called = _Names(names)
    narrowed, barred = queries, []
    for narrow in recommender.filters:
        after = narrow(narrowed)
        if is_barred(after, item) and not is_barred(narrowed, item):
            barred.append(called.of(narrow))
        else:
            narrowed = after
    wide = replace(narrowed, k=max(recommender.n_candidates, queries.k))
    # ranks are within the whole list: only the end of all stages is cut to k
    steps = [_step(part, called, candidates, item) for part, candidates in recommender.steps(narrowed)]
    top = recommender(queries)
    found, silent = _influences(recommender, queries, item, called)
    return Explanation(
        item=item,
        barred_by=barred,
        sources=[
            _source(part, wide, item, called, asked) for part, asked in _leaves(recommender.retriever, wide, True)
        ],
        steps=steps,
        rank=_place(top, item)[0],
        top=top,
        reasons=reasons(recommender, queries, np.array([[item]], np.int32))[0][0],
        influences=found,
        silent=silent,
    )


def sources(
    recommender: Recommender, narrowed: Queries, names: Mapping[str, object]
) -> Iterator[tuple[str, str, bool, Candidates]]:
    """Yield of every source of candidates its name, its kind, whether it is listened to, and the lists it gives."""
    called = _Names(names)
    for part, asked in _leaves(recommender.retriever, narrowed, True):
        named = part.model if called.of(part) == "FromModel" and isinstance(part, FromModel) else part
        model = getattr(part, "model", None)
        yield called.of(named), type(model if isinstance(model, Model) else part).__name__, asked, part(narrowed)


def is_barred(queries: Queries, item: int) -> bool:
    """Return whether a single query excludes an item or does not allow it."""
    excluded = queries.exclude is not None and bool((queries.exclude == item).any())
    allowed = queries.allowed is None or (item < queries.allowed.shape[1] and bool(queries.allowed[0, item]))
    return excluded or not allowed


def _place(found: Candidates, item: int) -> tuple[int | None, float | None]:
    places = np.flatnonzero(found.items[0] == item)
    return (int(places[0]) + 1, float(found.scores[0, places[0]])) if len(places) else (None, None)


def _length(found: Candidates) -> int:
    return int((found.items[0] >= 0).sum())


def _step(part: object, called: _Names, found: Candidates, item: int) -> Step:
    rank, score = _place(found, item)
    return Step(name=called.of(part), kind=type(part).__name__, rank=rank, score=score, of=_length(found))


class _Names:
    """Names of a recipe's components."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = {id(part): name for name, part in names.items()}

    def of(self, part: object) -> str:
        return self._names.get(id(part), type(part).__name__)


def _leaves(part: Any, queries: Queries, asked: bool) -> Iterator[tuple[Any, bool]]:
    """Yield every leaf under a retriever, and whether it is listened to."""
    if isinstance(part, Fallback):
        for place, rung in enumerate(part.retrievers):
            short = not place or _length(Fallback(part.retrievers[:place])(queries)) < queries.k
            yield from _leaves(rung, queries, asked and short)
    elif isinstance(part, Switch):
        known = int((queries.history[0] >= 0).sum()) >= part.min_history
        yield from _leaves(part.warm, queries, asked and known)
        yield from _leaves(part.cold, queries, asked and not known)
    elif inner := _inner(part):
        for one in inner:
            yield from _leaves(one, queries, asked)
    else:
        yield part, asked


def _inner(part: object) -> list[Any]:
    """Return the retrievers that a retriever joins; a list of models counts as one `FromModel` each."""
    if not is_dataclass(part):
        return []
    joined = [one for one in _validation_split(part) if callable(one) and is_dataclass(one)]
    values = [getattr(part, field.name, None) for field in fields(part)]
    several = [one for value in values if isinstance(value, list | tuple) for one in value if isinstance(one, Model)]
    return joined or [FromModel(model) for model in several]


def _validation_split(part: object) -> list[Any]:
    """Return what the fields of a part hold, lists taken apart; [] of what has no fields."""
    values = [getattr(part, field.name, None) for field in fields(part)] if is_dataclass(part) else []
    return [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]


def _source(part: Any, queries: Queries, item: int, called: _Names, asked: bool) -> Source:
    found: Candidates = part(queries)
    rank, score = _place(found, item)
    proposed = rank is not None
    if not proposed and queries.k < DEEPEST:
        found = part(replace(queries, k=DEEPEST))
        rank, score = _place(found, item)
    named = part.model if called.of(part) == "FromModel" and isinstance(part, FromModel) else part
    return Source(
        name=called.of(named),
        kind=type(part.model).__name__ if isinstance(getattr(part, "model", None), Model) else type(part).__name__,
        rank=rank,
        score=score,
        of=_length(found),
        asked=asked,
        proposed=proposed and asked,
    )


def _influences(
    recommender: Recommender, queries: Queries, item: int, called: _Names
) -> tuple[list[Influence], list[str]]:
    """Return what moved the scores of every model that tells, and the ranking models that do not."""
    rows, found, silent = np.array([[item]], np.int32), [], []
    ranking = {id(one) for stage in recommender.stages for one in _validation_split(stage) if isinstance(one, Model)}
    for model in _models(recommender):
        method, features = "", None
        if isinstance(model, Influences):
            method, features = "own", model.influences(queries, rows)[0][0]
        elif isinstance(model, Matches):
            method, features = "matches", model.matches(queries, rows)[0][0]
        elif id(model) in ranking:
            method, features = "left out", left_out(model, queries, rows)
        if features:
            found.append(
                Influence(name=called.of(model), kind=type(model).__name__, method=method, features=list(features))
            )
        elif id(model) in ranking:
            silent.append(called.of(model))
    return found, silent


def left_out(model: Model, queries: Queries, item: Rows) -> list[tuple[str, float]]:
    """Return by how much the score of (1, 1) `item` falls when one input is not known, strongest first; [] if unknown.

    Left out are the inputs that the model lets be left out (`ScoresWithout`), or else what the query tells: the
    history, and each feature of the user. Inputs that change nothing are not listed.
    """
    whole = float(model.score(queries, item)[0, 0])
    if not np.isfinite(whole):
        return []
    if isinstance(model, ScoresWithout):
        without = {name: model.score_without(queries, item, name) for name in model.features_read()}
    else:
        without = {name: model.score(told, item) for name, told in _less(queries)}
    falls = [(name, whole - float(score[0, 0])) for name, score in without.items() if np.isfinite(score[0, 0])]
    return sorted((fall for fall in falls if fall[1] != 0), key=lambda fall: -abs(fall[1]))


def _less(queries: Queries) -> Iterator[tuple[str, Queries]]:
    """Yield the query without its history, and without each feature."""
    if (queries.history >= 0).any():
        bare = replace(
            queries,
            history=queries.history[:, :0],
            history_time=queries.history_time[:, :0],
            history_value=queries.history_value[:, :0],
        )
        yield "history", bare
    for name, values in queries.features.items():
        yield name, replace(queries, features={**queries.features, name: _blank(values)})


def _blank(values: Array) -> Array:
    """Return the values as they are where nothing is known: nan of numbers, -1 of codes, the least of times."""
    if values.dtype.kind == "f":
        return np.full_like(values, np.nan)
    if values.dtype == np.int64:
        return np.full_like(values, TIME_UNKNOWN)
    return np.full_like(values, -1) if values.dtype.kind == "i" else np.full_like(values, "")


def _models(part: object) -> Iterator[Model]:
    """Yield the models inside a part, each once, in the order of the fields that hold them."""
    seen: set[int] = set()

    def walk(one: object) -> Iterator[Model]:
        if isinstance(one, Model) and id(one) not in seen and not callable(one):
            seen.add(id(one))
            yield one
        elif isinstance(one, list | tuple):
            for inside in one:
                yield from walk(inside)
        if is_dataclass(one) and not isinstance(one, type):
            for field in fields(one):
                if not field.name.startswith("_"):
                    yield from walk(getattr(one, field.name, None))

    return walk(part)
