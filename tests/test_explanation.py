"""Explanations of an item's rank, for recommenders of components with known scores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pytest

from pasand.attribution import left_out
from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.explanation import Explanation, explain
from pasand.recommender import Recommender
from pasand.stages.blending import Blend
from pasand.stages.filtering import Allow, DropSeen
from pasand.stages.ranking import Rank
from pasand.stages.retrieval import Fallback, FromModel, Merge
from pasand.stages.switching import Switch
from pasand.types import Arrays, Candidates, Queries, Rows, Scores
from tests.logs import log

N = 6
"""Items of the catalogue."""


@dataclass
class Fixed:
    """Gives items fixed scores, the same for every query."""

    scores: list[float]

    def fit(self, data: Dataset, *, rng: np.random.Generator) -> Self:
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        given = np.array(self.scores, np.float32)
        return np.tile(given, (len(queries), 1)) if items is None else given[items]

    def state(self) -> Arrays:
        return {}

    def load_state(self, arrays: Arrays) -> None: ...


@dataclass
class Explaining(Fixed):
    """Attributes its scores to features and to the history."""

    def influences(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        return [[[("age", 0.5), ("genre", -0.25)] for _ in row] for row in items]

    def reasons(self, queries: Queries, items: Rows) -> list[list[list[Reason]]]:
        return [[[Reason(int(queries.history[b, -1]), 0.75)] for _ in row] for b, row in enumerate(items)]


@dataclass
class OfContent(Fixed):
    def matches(self, queries: Queries, items: Rows) -> list[list[list[tuple[str, float]]]]:
        return [[[("word: rain", 2.0)] for _ in row] for row in items]


@dataclass
class Linear(Fixed):
    """Adds the user's age to the score, and 1 for each event of the history."""

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        known = np.nan_to_num(queries.features["age"]) + (queries.history >= 0).sum(axis=1)
        scores: Scores = super().score(queries, items) + known[:, None].astype(np.float32)
        return scores


@dataclass
class Wide(Fixed):
    """Scores by a sum of inputs, each of which can be left out."""

    inputs: dict[str, float] = field(default_factory=lambda: {"year": 1.0, "genre": -3.0, "idle": 0.0})

    def features_read(self) -> list[str]:
        return list(self.inputs)

    def score_without(self, queries: Queries, items: Rows, feature: str) -> Scores:
        return self.score(queries, items) - np.float32(self.inputs[feature])


class Cut:
    """Keeps the first two of each list."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        return candidates.top(2)


def query(k: int = 3, history: tuple[int, ...] = (0,)) -> Queries:
    """Return the query of a new user with this history, in a catalogue of six items."""
    data = log([("u", f"i{n}", n, 5.0) for n in range(N)])
    plain = data.queries(np.array([-1], np.int32), k=k, features={"age": np.array([2.0], np.float32)})
    clicked = np.array([history], np.int32)
    times, values = np.zeros(clicked.shape, np.int64), np.full(clicked.shape, 5, np.float32)
    return replace(plain, history=clicked, history_time=times, history_value=values)


FALLING, RISING = Fixed([6, 5, 4, 3, 2, 1]), Fixed([1, 2, 3, 4, 5, 6])


def listed_sources(found: Explanation) -> list[tuple[str, int | None, bool, bool]]:
    return [(source.name, source.rank, source.used, source.proposed) for source in found.sources]


def test_sources_stages_and_the_final_rank() -> None:
    falling, rising = FromModel(FALLING), FromModel(RISING)
    ranking = Rank(RISING)
    recommender = Recommender(Merge([falling, rising]), [ranking, Cut()], n_candidates=4)
    names = {"falling": falling, "rising": rising, "ranking": ranking, "best": RISING}
    found = explain(recommender, query(k=2), 2, names)
    # 0 was seen: falling gives 1 2 3 4, rising 5 4 3 2; fused by rank 1/61 1/62 1/63 1/64
    assert listed_sources(found) == [("falling", 2, True, True), ("rising", 4, True, True)]
    assert [(source.score, source.of) for source in found.sources] == [(4, 4), (3, 4)]
    # in both lists: 4 (2nd, 4th), 2 (2nd, 4th), 3 (3rd, 3rd), so 2 and 4 tie before 3; 1 follows
    assert [(step.name, step.kind, step.rank, step.of) for step in found.steps] == [
        ("Merge", "Merge", 1, 4),
        ("ranking", "Rank", 3, 4),
        ("Cut", "Cut", None, 2),
    ]
    # ranked by rising: 4 3 2 1
    assert found.steps[0].score == pytest.approx(1 / 62 + 1 / 64)
    assert found.rank is None
    assert found.top.items.tolist() == [[4, 3]]
    first = explain(recommender, query(k=2), 4, names)
    assert (first.rank, [step.rank for step in first.steps]) == (1, [2, 1, 1])


def test_an_excluded_item_has_its_filters_and_the_rank_that_it_would_have() -> None:
    allow = Allow(["i1", "i2"]).fit(log([("u", f"i{n}", n, 5.0) for n in range(N)]), rng=np.random.default_rng(0))
    seen = DropSeen()
    recommender = Recommender(FromModel(FALLING), filters=(seen, allow))
    assert explain(recommender, query(), 0, {"seen": seen, "only": allow}).excluded_by == ["seen", "only"]
    found = explain(recommender, query(), 3, {"only": allow})
    assert found.excluded_by == ["only"]
    assert found.rank is None
    assert found.steps[0].rank == 3  # behind 1 and 2, if it were allowed
    assert explain(recommender, query(), 1, {}).excluded_by == []


def test_a_later_step_of_a_chain_counts_only_if_it_is_used() -> None:
    short = FromModel(Fixed([-np.inf, -np.inf, -np.inf, 1, 2, 3]))
    recommender = Recommender(Fallback([short, FromModel(FALLING)]))
    names = {"short": short}
    assert listed_sources(explain(recommender, query(k=3), 1, names)) == [
        ("short", None, True, False),
        ("Fixed", 1, False, False),
    ]
    assert listed_sources(explain(recommender, query(k=4), 1, names))[1] == ("Fixed", 1, True, True)


def test_the_rank_in_a_source_that_does_not_propose_the_item() -> None:
    found = explain(Recommender(FromModel(FALLING)), query(k=2), 4, {"falling": FALLING})
    assert listed_sources(found) == [("falling", 4, True, False)]
    assert found.steps[0].rank is None


def test_a_switch_uses_one_side_and_a_blend_all_its_models() -> None:
    cold, warm = FromModel(FALLING), Blend([FALLING, RISING], [2, 1])
    recommender = Recommender(Switch(cold, warm, min_history=2))
    names = {"falling": FALLING, "rising": RISING, "cold": cold}
    few = explain(recommender, query(), 1, names)
    assert listed_sources(few) == [("falling", 1, False, False), ("rising", 5, False, False), ("cold", 1, True, True)]
    many = explain(recommender, query(history=(0, 5)), 1, names)
    assert listed_sources(many) == [("falling", 1, True, True), ("rising", 4, True, False), ("cold", 1, False, False)]


def test_history_items_and_features_behind_a_score() -> None:
    explaining, content = Explaining(RISING.scores), OfContent(FALLING.scores)
    recommender = Recommender(FromModel(content), [Rank(explaining)])
    found = explain(recommender, query(history=(0, 5)), 2, {"explaining": explaining, "content": content})
    assert found.reasons == [Reason(5, 0.75)]
    influences = [(influence.name, influence.method, influence.features) for influence in found.influences]
    assert influences == [
        ("content", "matches", [("word: rain", 2.0)]),
        ("explaining", "own", [("age", 0.5), ("genre", -0.25)]),
    ]
    assert found.unexplained == []


def test_inputs_are_left_out_in_turn_if_the_model_does_not_attribute() -> None:
    item = np.array([[2]], np.int32)
    assert left_out(Linear([0] * N), query(history=(0, 5, 4)), item) == [("history", 3.0), ("age", 2.0)]
    assert left_out(Wide([0] * N), query(), item) == [("genre", -3.0), ("year", 1.0)]
    found = explain(Recommender(FromModel(FALLING), [Rank(RISING)]), query(), 2, {"ranks": RISING})
    assert found.influences == []
    assert found.unexplained == ["ranks"]


def test_several_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="queries must be one, got 2"):
        explain(Recommender(FromModel(FALLING)), query().take(np.array([0, 0])), 1, {})
