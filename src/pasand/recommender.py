"""The recommender: filters, one retriever, stages; the object that is evaluated is the object that is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

from pasand.contracts import Explains, Filter, Model, Reason, Retriever, Stage
from pasand.stages.filtering import DropSeen
from pasand.stages.retrieval import Fallback, FromModel
from pasand.types import Candidates, Queries, Rows


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
    n_candidates: int = 0
    """Candidates retrieved for the stages to choose from; 0 or fewer than k: k."""

    def __call__(self, queries: Queries) -> Candidates:
        *_, (_, candidates) = self.steps(self.narrowed(queries))
        return candidates.top(queries.k)

    def narrowed(self, queries: Queries) -> Queries:
        """Return the queries behind all filters."""
        for narrow in self.filters:
            queries = narrow(queries)
        return queries

    def steps(self, narrowed: Queries) -> Iterator[tuple[Retriever | Stage, Candidates]]:
        """Yield the retriever, then each stage, with the lists as it leaves them; the last, cut to k, is the answer."""
        candidates = self.retriever(replace(narrowed, k=max(self.n_candidates, narrowed.k)))
        yield self.retriever, candidates
        for stage in self.stages:
            candidates = stage(narrowed, candidates)
            yield stage, candidates


def fallback_chain(*models: Model) -> Recommender:
    """Return the plain recommender of models that step in for each other, first choice first, without seen items."""
    return Recommender(Fallback([FromModel(model) for model in models]))


def reasons(recommender: Recommender, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
    """Return why each of the (B, K) items: the reasons of the first model inside the recommender that has any.

    An empty list means that no history item speaks for it: it is popular, or drawn.
    """
    found: list[list[list[Reason]]] = [[[] for _ in row] for row in items]
    for model in _explaining(recommender):
        for whole, more in zip(found, model.reasons(queries, items), strict=True):
            whole[:] = [old or new for old, new in zip(whole, more, strict=True)]
    return found


def _explaining(part: object) -> Iterator[Explains]:
    if isinstance(part, Explains):
        yield part
    elif isinstance(part, list | tuple):
        for one in part:
            yield from _explaining(one)
    elif is_dataclass(part):
        for field in fields(part):
            yield from _explaining(getattr(part, field.name, None))
