"""The funnel of a multi-stage recommender: recall of the candidates, and NDCG and time of every stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pasand.contracts import Model
from pasand.evaluation.intervals import number_or_none
from pasand.evaluation.split import Split
from pasand.following import counting, following
from pasand.metrics.accuracy import NDCG, Recall
from pasand.recommender import Recommender
from pasand.types import Candidates, Queries

DEPTHS = (100, 200, 500)
"""Numbers of candidates at which recall is reported."""
K = 10
"""Length of the lists for NDCG."""
N_TIMED = 50
"""Number of single queries that are timed, evenly spaced over the test queries."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The retriever or one stage, with the quality of the lists that it returns."""

    name: str
    """Its class, with the class of its model."""
    ndcg: float
    """NDCG@10 of the lists that it returns; nan if no item is relevant."""
    milliseconds: float
    """Median time of a call with a single query; nan without test queries."""


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """The parts of a recommender, each with its quality and time."""

    n_candidates: int
    """Number of candidates that the stages rank."""
    queries: int
    """Number of test queries."""
    recall: dict[int, float]
    """Share of the relevant items among the first candidates, by number of candidates; nan if no item is relevant."""
    parts: list[Part]
    """The retriever, then each stage; the lists of the last are those of the recommender."""

    def as_json(self) -> dict[str, Any]:
        """Return the funnel for JSON; nan is None."""
        return {
            "n_candidates": self.n_candidates,
            "queries": self.queries,
            "recall": {str(depth): number_or_none(value) for depth, value in self.recall.items()},
            "parts": [
                {
                    "name": part.name,
                    f"ndcg@{K}": number_or_none(part.ndcg),
                    "milliseconds": number_or_none(part.milliseconds),
                }
                for part in self.parts
            ],
        }


def has_stages(recommender: object) -> bool:
    """Return whether a recommender has stages, or retrieves more candidates than it returns."""
    return isinstance(recommender, Recommender) and bool(recommender.stages or recommender.n_candidates)


def stages_report(recommender: Recommender, split: Split, *, depths: Sequence[int] = DEPTHS) -> Funnel:
    """Return recall of the candidates at `depths`, and NDCG@10 and time of the retriever and each stage.

    Values are means over users of means over the user's test queries, as in `evaluate`, so the last NDCG is that of the
    recommender. Recall is computed on one list per query with the most candidates of `depths`, NDCG on the lists of
    `n_candidates` candidates that the stages rank.
    """
    n_items, test = max(split.train.n_items, 1), split.test_queries
    parts = [recommender.retriever, *recommender.stages]
    recall = {depth: np.full(len(test), np.nan) for depth in depths}
    ndcg = [np.full(len(test), np.nan) for _ in parts]
    timed = np.unique(np.linspace(0, max(len(test) - 1, 0), N_TIMED).astype(np.int64))
    seconds: list[list[float]] = [[] for _ in parts]
    single: list[Queries] = []
    with following(recommender, split.followed), counting(recommender):
        for batch in split.list_batches(min(K, n_items)):
            queries = recommender.narrowed(batch.queries)
            retrieved = recommender.retriever(replace(queries, k=min(max(depths), n_items)))
            for depth, values in recall.items():
                values[batch.which] = Recall(depth)(retrieved, batch.relevant)
            for values, candidates in zip(ndcg, _lists_by_part(recommender, queries, None), strict=True):
                values[batch.which] = NDCG(K)(candidates.top(queries.k), batch.relevant)
            single += [queries.take(np.array([b])) for b in np.flatnonzero(np.isin(batch.which, timed))]
        for query in sorted(single, key=lambda query: int(query.time[0])):  # counts go forward, as in a server
            _lists_by_part(recommender, query, seconds)
    return Funnel(
        n_candidates=min(max(recommender.n_candidates, K), n_items),
        queries=len(test),
        recall={depth: _mean_over_users(test.user, values) for depth, values in recall.items()},
        parts=[
            Part(name=_name(part), ndcg=_mean_over_users(test.user, values), milliseconds=1000 * _median(times))
            for part, values, times in zip(parts, ndcg, seconds, strict=True)
        ],
    )


def _lists_by_part(recommender: Recommender, queries: Queries, seconds: list[list[float]] | None) -> list[Candidates]:
    """Return the lists of the retriever and of each stage, and append the time of each to its list in `seconds`."""
    began, lists, ended = time.perf_counter(), [], []
    for _, candidates in recommender.steps(queries):
        lists.append(candidates)
        ended.append(time.perf_counter())
    recommender.count(queries, lists[-1].top(queries.k))
    if seconds is not None:
        for times, end, start in zip(seconds, ended, [began, *ended], strict=False):
            times.append(end - start)
    return lists


def _name(part: object) -> str:
    values = [getattr(part, field.name, None) for field in fields(part)] if is_dataclass(part) else []
    models = ", ".join(type(value).__name__ for value in values if isinstance(value, Model))
    return type(part).__name__ + (f" ({models})" if models else "")


def _mean_over_users(user: NDArray[np.int32], values: NDArray[np.float64]) -> float:
    """Return the mean over users of each user's mean over defined values; nan if none is defined."""
    defined = ~np.isnan(values)
    _, row = np.unique(user[defined], return_inverse=True)
    if not len(row):
        return float("nan")
    return float(np.mean(np.bincount(row, values[defined]) / np.bincount(row)))


def _median(times: list[float]) -> float:
    return float(np.median(times)) if times else float("nan")
