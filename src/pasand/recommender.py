"""The recommender: filters, one retriever, stages; the object that is evaluated is the object that is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeGuard, TypeVar

from pasand.contracts import CountsShown, Explains, Filter, Matches, Model, Reason, Retriever, Stage
from pasand.stages.filtering import DropSeen
from pasand.stages.retrieval import Fallback, FromModel
from pasand.types import Candidates, Queries, Rows

Part = TypeVar("Part")


@dataclass(frozen=True)
class Recommender:
    """Returns the k best items of each query: no item twice, no item that a filter excludes, padding last.

    A list holds fewer than k items only where fewer are allowed or the retriever finds fewer. For full lists, end the
    fallback chain of the retriever with a model that scores every item, such as popularity.
    """

    retriever: Retriever
    stages: Sequence[Stage] = ()
    """Rank and re-rank the retrieved candidates, in this order."""
    filters: Sequence[Filter] = (DropSeen(),)
    """Restrict the query before retrieval, in this order."""
    n_candidates: int = 0
    """Candidates retrieved for the stages; k if that is more. 0: k."""

    def __call__(self, queries: Queries) -> Candidates:
        *_, (_, candidates) = self.steps(self.narrowed(queries))
        top = candidates.top(queries.k)
        self.count(queries, top)
        return top

    def count(self, queries: Queries, lists: Candidates) -> None:
        """Count final lists as shown in the stages that are to count what is returned."""
        for stage in self.stages:
            if isinstance(stage, CountsShown) and stage.counts_returned:
                stage.shown(lists.items, queries.time)

    def narrowed(self, queries: Queries) -> Queries:
        """Return the queries with all filters applied."""
        for narrow in self.filters:
            queries = narrow(queries)
        return queries

    def steps(self, narrowed: Queries) -> Iterator[tuple[Retriever | Stage, Candidates]]:
        """Yield the retriever and then each stage with the lists that it returns; the last, cut to k, is the result.

        `narrowed` are queries with the filters applied.
        """
        candidates = self.retriever(replace(narrowed, k=max(self.n_candidates, narrowed.k)))
        yield self.retriever, candidates
        for stage in self.stages:
            candidates = stage(narrowed, candidates)
            yield stage, candidates


def fallback_chain(*models: Model) -> Recommender:
    """Return a recommender of unseen items from a chain of models: each fills what the models before it left empty."""
    return Recommender(Fallback([FromModel(model) for model in models]))


def reasons(recommender: Recommender, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
    """Return the reasons for each of the (B, K) items, from the first model inside the recommender that gives any.

    An empty list means that no history item contributed: the item is popular, or was drawn at random.
    """
    found: list[list[list[Reason]]] = [[[] for _ in row] for row in items]
    for model in _inside(recommender, _explains):
        for per_item, additional in zip(found, model.reasons(queries, items), strict=True):
            per_item[:] = [old or new for old, new in zip(per_item, additional, strict=True)]
    return found


def matches(recommender: Recommender, queries: Queries, items: Rows) -> list[list[list[str]]]:
    """Return the features of each of the (B, K) items that raise its score, such as "genres: Drama", strongest first.

    They are those of the first model inside the recommender that names any (`Matches`), such as `ContentFactors` for
    items without interactions. An empty list means that no model scored the item by its features.
    """
    found: list[list[list[str]]] = [[[] for _ in row] for row in items]
    for model in _inside(recommender, _matches):
        for per_item, additional in zip(found, model.matches(queries, items), strict=True):
            named = [[name for name, share in terms if share > 0] for terms in additional]
            per_item[:] = [old or new for old, new in zip(per_item, named, strict=True)]
    return found


def _inside(part: object, meets: Callable[[object], TypeGuard[Part]]) -> Iterator[Part]:
    """Yield the components inside a part that meet a contract, and none inside of these."""
    if meets(part):
        yield part
    elif isinstance(part, list | tuple):
        for element in part:
            yield from _inside(element, meets)
    elif is_dataclass(part):
        for field in fields(part):
            yield from _inside(getattr(part, field.name, None), meets)


def _explains(part: object) -> TypeGuard[Explains]:
    return isinstance(part, Explains)


def _matches(part: object) -> TypeGuard[Matches]:
    return isinstance(part, Matches)
