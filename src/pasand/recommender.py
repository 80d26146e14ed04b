"""The recommender: filters, one retriever, stages; the object that is evaluated is the object that is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pasand.contracts import Filter, Model, Retriever, Stage
from pasand.stages.filtering import DropSeen
from pasand.stages.retrieval import Fallback, FromModel
from pasand.types import Candidates, Queries


@dataclass(frozen=True)
class Recommender:
    """Answers queries with their k best items: no item twice, none that a filter bars, padding last.

    A list holds fewer than k items only where fewer are allowed, or where the retriever has no more to say; end its
    ladder of fallbacks with a model that scores everything, such as popularity.
    """

    retriever: Retriever
    stages: Sequence[Stage] = ()
    """Rank and re-rank what was retrieved, in order."""
    filters: Sequence[Filter] = (DropSeen(),)
    """Narrow the query before retrieval, in order."""
    width: int = 0
    """Candidates retrieved for the stages to choose from; 0 or fewer than k: k."""

    def __call__(self, queries: Queries) -> Candidates:
        for narrow in self.filters:
            queries = narrow(queries)
        candidates = self.retriever(replace(queries, k=max(self.width, queries.k)))
        for stage in self.stages:
            candidates = stage(queries, candidates)
        return candidates.top(queries.k)


def ladder(*models: Model) -> Recommender:
    """Return the plain recommender of models that step in for each other, first choice first, without seen items."""
    return Recommender(Fallback([FromModel(model) for model in models]))
