"""Attribution of scores: which input features moved the score that each model of a recommender gives an item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from pasand.contracts import Influences, Matches, Model, ScoresWithout
from pasand.data.features import TIME_UNKNOWN
from pasand.recommender import Recommender
from pasand.types import Array, Queries, Rows


@dataclass(frozen=True)
class Attribution:
    """The features that moved one model's score."""

    model: Model
    method: str
    """How they are known: "own" (`Influences`), "matches" (`Matches`) or "left out" (`left_out`)."""
    features: Sequence[tuple[str, float]]
    """Features and their contributions to the score, strongest first."""


def attributions(recommender: Recommender, queries: Queries, item: int) -> tuple[list[Attribution], list[Model]]:
    """Return the attributions of an item's scores for a single query, and the ranking models that have none.

    Every model inside the recommender is covered that attributes its scores itself, and every model of a stage.
    """
    rows = np.array([[item]], np.int32)
    found: list[Attribution] = []
    unexplained: list[Model] = []
    ranking = {id(part) for stage in recommender.stages for part in field_values(stage) if isinstance(part, Model)}
    for model in _models(recommender):
        method, features = "", None
        if isinstance(model, Influences):
            method, features = "own", model.influences(queries, rows)[0][0]
        elif isinstance(model, Matches):
            method, features = "matches", model.matches(queries, rows)[0][0]
        elif id(model) in ranking:
            method, features = "left out", left_out(model, queries, rows)
        if features:
            found.append(Attribution(model, method, features))
        elif id(model) in ranking:
            unexplained.append(model)
    return found, unexplained


def left_out(model: Model, queries: Queries, item: Rows) -> list[tuple[str, float]]:
    """Return by how much the score of (1, 1) `item` falls when one input is unknown, strongest first.

    The inputs are those that the model can leave out (`ScoresWithout`), or else those of the query: the history and the
    user features. Inputs that change nothing are not listed. [] if the model cannot score the item.
    """
    score = float(model.score(queries, item)[0, 0])
    if not np.isfinite(score):
        return []
    if isinstance(model, ScoresWithout):
        without = {name: model.score_without(queries, item, name) for name in model.features_read()}
    else:
        without = {name: model.score(reduced, item) for name, reduced in _queries_without(queries)}
    falls = [(name, score - float(reduced[0, 0])) for name, reduced in without.items() if np.isfinite(reduced[0, 0])]
    return sorted((fall for fall in falls if fall[1] != 0), key=lambda fall: -abs(fall[1]))


def field_values(part: object) -> list[Any]:
    """Return the values of a dataclass's fields, with lists flattened; [] for anything else."""
    values = [getattr(part, field.name, None) for field in fields(part)] if is_dataclass(part) else []
    return [element for value in values for element in (value if isinstance(value, list | tuple) else [value])]


def _queries_without(queries: Queries) -> Iterator[tuple[str, Queries]]:
    """Yield the query without its history, then without each of its features."""
    if (queries.history >= 0).any():
        without_history = replace(
            queries,
            history=queries.history[:, :0],
            history_time=queries.history_time[:, :0],
            history_value=queries.history_value[:, :0],
        )
        yield "history", without_history
    for name, values in queries.features.items():
        yield name, replace(queries, features={**queries.features, name: _unknown(values)})


def _unknown(values: Array) -> Array:
    """Return feature values of the same shape that mean unknown: nan, -1 for codes, `TIME_UNKNOWN` or an empty text."""
    if values.dtype.kind == "f":
        return np.full_like(values, np.nan)
    if values.dtype == np.int64:
        return np.full_like(values, TIME_UNKNOWN)
    return np.full_like(values, -1) if values.dtype.kind == "i" else np.full_like(values, "")


def _models(part: object) -> Iterator[Model]:
    """Yield the models inside a part, each once, in the order of the fields that hold them."""
    seen: set[int] = set()

    def walk(value: object) -> Iterator[Model]:
        if isinstance(value, Model) and id(value) not in seen and not callable(value):
            seen.add(id(value))
            yield value
        elif isinstance(value, list | tuple):
            for element in value:
                yield from walk(element)
        if is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):
                if not field.name.startswith("_"):
                    yield from walk(getattr(value, field.name, None))

    return walk(part)
