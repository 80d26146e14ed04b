"""Explanations of an item's rank: its sources, its rank after each stage, and what moved its score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pasand.attribution import attributions, field_values
from pasand.contracts import KeepsRules, Model, Reason
from pasand.data.dataset import Dataset
from pasand.recommender import Recommender, reasons
from pasand.stages.retrieval import Fallback, FromModel
from pasand.stages.switching import Switch
from pasand.types import Candidates, Queries

MAX_DEPTH = 10_000
"""List length to which a source is searched for an item that is not among its candidates."""

MAX_NAMED = 3
"""Items that a sentence about a move names at most."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source of candidates, and the item's position in its list."""

    name: str
    """Component of the recipe; the class if it has no name there."""
    kind: str
    """Class of the source's model, or of the source."""
    rank: int | None
    """Position in the source's own list, 1 is first; None: not in it."""
    score: float | None
    of: int
    """Number of items in that list."""
    used: bool
    """Whether the recommender uses this source for this query: later steps of a fallback chain may not be needed."""
    proposed: bool
    """Whether the item is among the candidates that the recommender takes from this source."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The item's rank after one step: the retrieval, then each stage."""

    name: str
    kind: str
    rank: int | None
    """None: not in the list."""
    score: float | None
    of: int
    """Number of items in the list."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """What one part of a stage, such as a rule, did to the item's rank."""

    step: str
    by: str
    """The part in words, such as "rule `new sellers`"."""
    before: int | None
    """Rank without that part; in the candidates if it is not in the list without it; None: in neither."""
    after: int | None
    """Rank after the stage; None: not in its list."""
    others: list[int]
    """Items that are not in the list, or follow the item, because of that part; of a lowered item the opposite."""

    def as_json(self, data: Dataset) -> dict[str, Any]:
        """Return the move in ids, titles and ranks, and as a sentence."""
        others = [named(data, row) for row in self.others]
        text = self._text([one["title"] or one["item_id"] for one in others])
        return {**asdict(self), "others": others, "text": text}

    def _text(self, others: list[str]) -> str:
        raised = self.before is None or (self.after is not None and self.after < self.before)
        if self.after is None:
            text = f"dropped from {self.before} by {self.by}"
        elif self.before is None:
            text = f"put at {self.after} by {self.by}"
        else:
            text = f"{'raised' if raised else 'lowered'} from {self.before} to {self.after} by {self.by}"
        more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        names = ", ".join(others[:MAX_NAMED])
        return f"{text}, {'displacing' if raised else 'in favour of'} {names}{more}" if others else text


@dataclass(frozen=True, kw_only=True)
class Influence:
    """The features that moved one model's score."""

    name: str
    kind: str
    method: str
    """How they are known: "own", "matches", or "left out", the fall of the score when the feature is unknown."""
    features: list[tuple[str, float]]
    """Features and their contributions to the score, strongest first."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The explanation of one item's rank for one query."""

    item: int
    excluded_by: list[str]
    """Filters that exclude the item; sources and steps are then those that it would have without them."""
    sources: list[Source]
    steps: list[Step]
    moves: list[Move]
    """What the rules of the stages did to the item's rank."""
    rank: int | None
    """Position in the final list; None: not in it."""
    top: Candidates
    """The final list."""
    reasons: list[Reason]
    """History items that contributed to the item's score, strongest first."""
    influences: list[Influence]
    unexplained: list[str]
    """Ranking models that neither attribute their scores to features nor change when an input is left out."""

    def as_json(self, data: Dataset) -> dict[str, Any]:
        """Return the explanation in ids, titles and numbers."""
        above = self.top.items[0][: (self.rank or self.top.items.shape[1] + 1) - 1]
        return {
            "item": named(data, self.item),
            "rank": self.rank,
            "k": self.top.items.shape[1],
            "excluded_by": self.excluded_by,
            "sources": [asdict(source) for source in self.sources],
            "steps": [asdict(step) for step in self.steps],
            "moves": [move.as_json(data) for move in self.moves],
            "above": [
                {"rank": position + 1, **named(data, int(row)), "score": float(self.top.scores[0, position])}
                for position, row in enumerate(above)
                if row >= 0
            ],
            "reason": [{**named(data, reason.item), "weight": float(reason.weight)} for reason in self.reasons],
            "influences": [
                {
                    "name": influence.name,
                    "kind": influence.kind,
                    "method": influence.method,
                    "features": [{"feature": n, "contribution": float(c)} for n, c in influence.features],
                }
                for influence in self.influences
            ],
            "unexplained": self.unexplained,
        }


def named(data: Dataset, row: int) -> dict[str, Any]:
    """Return the id and the title of an item."""
    return {"item_id": data.items.ids([row])[0], "title": data.title(row)}


def explain(recommender: Recommender, queries: Queries, item: int, names: Mapping[str, object]) -> Explanation:
    """Return the explanation of one item's rank for a single query.

    `names` are the components of the recipe by name. Every source of the retriever is queried separately, for as many
    items as the recommender takes from it; if the item is not among them, for up to 10,000 (`MAX_DEPTH`), to find its
    rank there. Raises ValueError for several queries.
    """
    if len(queries) != 1:
        raise ValueError(f"queries must be one, got {len(queries)}")
    component_names = _ComponentNames(names)
    narrowed, excluded_by = queries, []
    for narrow in recommender.filters:
        after = narrow(narrowed)
        if is_excluded(after, item) and not is_excluded(narrowed, item):
            excluded_by.append(component_names.of(narrow))
        else:
            narrowed = after
    wide = replace(narrowed, k=max(recommender.n_candidates, queries.k))
    # ranks are within the whole list: only the end of all stages is cut to k
    made = list(recommender.steps(narrowed))
    steps = [_step(part, component_names, candidates, item) for part, candidates in made]
    top = recommender(queries)
    found, unexplained = attributions(recommender, queries, item)
    return Explanation(
        item=item,
        excluded_by=excluded_by,
        sources=[
            _source(part, wide, item, component_names, used)
            for part, used in _leaves(recommender.retriever, wide, True)
        ],
        steps=steps,
        moves=[
            move
            for (_, before), (stage, after) in pairwise(made)
            if isinstance(stage, KeepsRules)
            for move in moves(stage, narrowed, before, after, item, component_names.of(stage))
        ],
        rank=_rank_and_score(top, item)[0],
        top=top,
        reasons=reasons(recommender, queries, np.array([[item]], np.int32))[0][0],
        influences=[
            Influence(
                name=component_names.of(attribution.model),
                kind=type(attribution.model).__name__,
                method=attribution.method,
                features=list(attribution.features),
            )
            for attribution in found
        ],
        unexplained=[component_names.of(model) for model in unexplained],
    )


def moves(
    stage: KeepsRules, queries: Queries, before: Candidates, after: Candidates, item: int, step: str
) -> list[Move]:
    """Return the parts of a stage without which an item would have another rank, and what they did to it.

    `before` are the candidates of a single query, `after` the list that the stage made of them. If the item has another
    rank only without several parts together, the move is by all of them. There is no move where none of them did it.
    """
    rank, at_first = _rank_and_score(after, item)[0], _rank_and_score(before, item)[0]
    found: list[Move] = []
    names = []
    for by, other in stage.without(queries, before):
        names.append(by)
        rank_without = _rank_and_score(other, item)[0]
        if rank_without != rank:
            others = _displaced(other, after, rank_without, rank)
            found.append(Move(step=step, by=by, before=rank_without or at_first, after=rank, others=others))
    in_list = at_first if at_first is None or at_first <= after.items.shape[1] else None
    if not found and names and in_list != rank:
        others = _displaced(before.top(after.items.shape[1]), after, in_list, rank)
        together = f"{', '.join(names)} together" if len(names) > 1 else names[0]
        found = [Move(step=step, by=together, before=at_first, after=rank, others=others)]
    return found


def _displaced(without: Candidates, after: Candidates, rank_without: int | None, rank: int | None) -> list[int]:
    """Return the items that a raised item displaced: out of the list, or below it; the opposite for a lowered one."""
    first, then = ([row for row in one.items[0].tolist() if row >= 0] for one in (without, after))
    if rank is None or (rank_without is not None and rank_without < rank):  # lowered: swap the two lists
        first, then, rank, rank_without = then, first, rank_without, rank
    gone = [row for row in first if row not in then]
    if rank_without is None or rank is None:
        return gone
    return [row for row in first[: rank_without - 1] if row not in then[:rank]]


def sources(
    recommender: Recommender, narrowed: Queries, names: Mapping[str, object]
) -> Iterator[tuple[str, str, bool, Candidates]]:
    """Yield the name and kind of every source of candidates, whether it is used for the query, and its lists."""
    component_names = _ComponentNames(names)
    for part, used in _leaves(recommender.retriever, narrowed, True):
        yield component_names.of_source(part), _kind_of_source(part), used, part(narrowed)


def is_excluded(queries: Queries, item: int) -> bool:
    """Return whether a single query excludes an item or does not allow it."""
    excluded = queries.exclude is not None and bool((queries.exclude == item).any())
    allowed = queries.allowed is None or (item < queries.allowed.shape[1] and bool(queries.allowed[0, item]))
    return excluded or not allowed


class _ComponentNames:
    """Names of a recipe's components."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = {id(part): name for name, part in names.items()}

    def of(self, part: object) -> str:
        """Return the name of a component; the name of its class if the recipe does not name it."""
        return self._names.get(id(part), type(part).__name__)

    def of_source(self, part: object) -> str:
        """Return the name of a source; that of its model if the recipe names only the model."""
        if isinstance(part, FromModel) and self.of(part) == "FromModel":
            return self.of(part.model)
        return self.of(part)


def _rank_and_score(candidates: Candidates, item: int) -> tuple[int | None, float | None]:
    positions = np.flatnonzero(candidates.items[0] == item)
    if not len(positions):
        return None, None
    return int(positions[0]) + 1, float(candidates.scores[0, positions[0]])


def _length(candidates: Candidates) -> int:
    return int((candidates.items[0] >= 0).sum())


def _step(part: object, names: _ComponentNames, candidates: Candidates, item: int) -> Step:
    rank, score = _rank_and_score(candidates, item)
    return Step(name=names.of(part), kind=type(part).__name__, rank=rank, score=score, of=_length(candidates))


def _leaves(part: Any, queries: Queries, used: bool) -> Iterator[tuple[Any, bool]]:
    """Yield every source under a retriever, and whether the recommender uses it for the query."""
    if isinstance(part, Fallback):
        for number, retriever in enumerate(part.retrievers):
            needed = not number or _length(Fallback(part.retrievers[:number])(queries)) < queries.k
            yield from _leaves(retriever, queries, used and needed)
    elif isinstance(part, Switch):
        warm = int((queries.history[0] >= 0).sum()) >= part.min_history
        yield from _leaves(part.warm, queries, used and warm)
        yield from _leaves(part.cold, queries, used and not warm)
    elif inner := _inner_retrievers(part):
        for retriever in inner:
            yield from _leaves(retriever, queries, used)
    else:
        yield part, used


def _inner_retrievers(part: object) -> list[Any]:
    """Return the retrievers that a retriever combines; each of a list of models counts as a `FromModel`."""
    if not is_dataclass(part):
        return []
    retrievers = [value for value in field_values(part) if callable(value) and is_dataclass(value)]
    values = [getattr(part, field.name, None) for field in fields(part)]
    models = [
        model for value in values if isinstance(value, list | tuple) for model in value if isinstance(model, Model)
    ]
    return retrievers or [FromModel(model) for model in models]


def _source(part: Any, queries: Queries, item: int, names: _ComponentNames, used: bool) -> Source:
    candidates: Candidates = part(queries)
    rank, score = _rank_and_score(candidates, item)
    proposed = rank is not None
    if not proposed and queries.k < MAX_DEPTH:
        candidates = part(replace(queries, k=MAX_DEPTH))
        rank, score = _rank_and_score(candidates, item)
    return Source(
        name=names.of_source(part),
        kind=_kind_of_source(part),
        rank=rank,
        score=score,
        of=_length(candidates),
        used=used,
        proposed=proposed and used,
    )


def _kind_of_source(part: object) -> str:
    """Return the class of a source's model, or of the source where it has none."""
    model = getattr(part, "model", None)
    return type(model if isinstance(model, Model) else part).__name__
