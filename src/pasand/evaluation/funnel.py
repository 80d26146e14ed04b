"""What each part of a recommender gives and takes: recall of the candidates, order and time of every stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pasand.contracts import Model
from pasand.evaluation.split import Split
from pasand.metrics.accuracy import NDCG, Recall
from pasand.recommender import Recommender
from pasand.types import Candidates, Queries

DEPTHS = (100, 200, 500)
"""Lengths of the list of candidates at which recall is told."""
K = 10
"""Length of list that NDCG is told of."""
TIMED = 50
"""Single queries that are timed, evenly spaced over the questions."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The lists as the retriever or a stage leaves them."""

    name: str
    """Its class, and that of the model in it."""
    ndcg: float
    """NDCG@10 of the lists behind it; nan where nothing is relevant."""
    milliseconds: float
    """Median time of a call with a single query; nan where nothing is asked."""


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """A recommender part by part."""

    n_candidates: int
    """Candidates that the stages get."""
    queries: int
    recall: dict[int, float]
    """Share of the relevant items among so many candidates, by their number; nan where nothing is relevant."""
    parts: list[Part]
    """The retriever, then each stage; the last is the recommender as a whole."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures in numbers, strings and lists; nan is None."""
        return {
            "n_candidates": self.n_candidates,
            "queries": self.queries,
            "recall": {str(depth): _number(value) for depth, value in self.recall.items()},
            "parts": [
                {"name": part.name, f"ndcg@{K}": _number(part.ndcg), "milliseconds": _number(part.milliseconds)}
                for part in self.parts
            ],
        }


def has_stages(recommender: object) -> bool:
    """Return whether there is anything to report: stages, or more candidates than are shown."""
    return isinstance(recommender, Recommender) and bool(recommender.stages or recommender.n_candidates)


def stages_report(recommender: Recommender, split: Split, *, depths: Sequence[int] = DEPTHS) -> Funnel:
    """Return recall of the candidates at `depths`, NDCG@10 before and after each stage, and the time of each.

    Figures are means over users of means over the user's questions for lists, as in `evaluate`, so that the last NDCG
    is the recommender's own. Recall is that of one list as long as the deepest of `depths`; NDCG is that of the lists
    of `n_candidates` candidates that the stages really get.
    """
    n_items, questions = max(split.train.n_items, 1), split.lists
    parts = [recommender.retriever, *recommender.stages]
    recalled = {depth: np.full(len(questions), np.nan) for depth in depths}
    ranked = [np.full(len(questions), np.nan) for _ in parts]
    timed = np.unique(np.linspace(0, max(len(questions) - 1, 0), TIMED).astype(np.int64))
    seconds: list[list[float]] = [[] for _ in parts]
    for asked in split.queries(min(K, n_items)):
        queries = recommender.narrowed(asked.queries)
        deep = recommender.retriever(replace(queries, k=min(max(depths), n_items)))
        for depth, values in recalled.items():
            values[asked.which] = Recall(depth)(deep, asked.relevant)
        for place, candidates in enumerate(_passes(recommender, queries, None)):
            ranked[place][asked.which] = NDCG(K)(candidates.top(queries.k), asked.relevant)
        for one in np.flatnonzero(np.isin(asked.which, timed)):
            _passes(recommender, queries.take(np.array([one])), seconds)
    return Funnel(
        n_candidates=min(max(recommender.n_candidates, K), n_items),
        queries=len(questions),
        recall={depth: _by_user(questions.user, values) for depth, values in recalled.items()},
        parts=[
            Part(name=_name(part), ndcg=_by_user(questions.user, values), milliseconds=1000 * _median(times))
            for part, values, times in zip(parts, ranked, seconds, strict=True)
        ],
    )


def _passes(recommender: Recommender, queries: Queries, seconds: list[list[float]] | None) -> list[Candidates]:
    """Return the lists behind the retriever and behind each stage; add the time that each took to its list."""
    began, found, ended = time.perf_counter(), [], []
    for _, candidates in recommender.steps(queries):
        found.append(candidates)
        ended.append(time.perf_counter())
    if seconds is not None:
        for times, end, start in zip(seconds, ended, [began, *ended], strict=False):
            times.append(end - start)
    return found


def _name(part: object) -> str:
    inside = [getattr(part, field.name, None) for field in fields(part)] if is_dataclass(part) else []
    models = ", ".join(type(one).__name__ for one in inside if isinstance(one, Model))
    return type(part).__name__ + (f" ({models})" if models else "")


def _by_user(user: NDArray[np.int32], values: NDArray[np.float64]) -> float:
    """Return the mean over users of their means over defined values; nan where none is."""
    defined = ~np.isnan(values)
    _, who = np.unique(user[defined], return_inverse=True)
    if not len(who):
        return float("nan")
    return float(np.mean(np.bincount(who, values[defined]) / np.bincount(who)))


def _median(times: list[float]) -> float:
    return float(np.median(times)) if times else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
