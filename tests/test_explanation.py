"""The way of an item through recommenders whose every part is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pytest

from pasand.contracts import Reason
from pasand.data.dataset import Dataset
from pasand.explanation import Explanation, explain, left_out
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
    """Gives items the scores it is told, whoever asks."""

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
class Telling(Fixed):
    """Says what moved its score, and why."""

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
    """Adds the query's age to the score, and one for each event of the history."""

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        known = np.nan_to_num(queries.features["age"]) + (queries.history >= 0).sum(axis=1)
        whole: Scores = super().score(queries, items) + known[:, None].astype(np.float32)
        return whole


@dataclass
class Wide(Fixed):
    """Its score is the sum of two inputs, either of which can be left out."""

    inputs: dict[str, float] = field(default_factory=lambda: {"year": 1.0, "genre": -3.0, "idle": 0.0})

    def features_read(self) -> list[str]:
        return list(self.inputs)

    def score_without(self, queries: Queries, items: Rows, feature: str) -> Scores:
        return self.score(queries, items) - np.float32(self.inputs[feature])


class Cut:
    """Keeps the first two of each list."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        return candidates.top(2)


def one(k: int = 3, history: tuple[int, ...] = (0,)) -> Queries:
    """Return a query of somebody who took the given items, in a catalogue of six."""
    data = log([("u", f"i{n}", n, 5.0) for n in range(N)])
    query = data.queries(np.array([-1], np.int32), k=k, features={"age": np.array([2.0], np.float32)})
    clicked = np.array([history], np.int32)
    times, values = np.zeros(clicked.shape, np.int64), np.full(clicked.shape, 5, np.float32)
    return replace(query, history=clicked, history_time=times, history_value=values)


FALLING, RISING = Fixed([6, 5, 4, 3, 2, 1]), Fixed([1, 2, 3, 4, 5, 6])


def said(found: Explanation) -> list[tuple[str, int | None, bool, bool]]:
    return [(source.name, source.rank, source.asked, source.proposed) for source in found.sources]


def test_each_source_each_stage_and_the_place_in_the_end() -> None:
    falling, rising = FromModel(FALLING), FromModel(RISING)
    ranking = Rank(RISING)
    recommender = Recommender(Merge([falling, rising]), [ranking, Cut()], n_candidates=4)
    names = {"falling": falling, "rising": rising, "ranking": ranking, "best": RISING}
    found = explain(recommender, one(k=2), 2, names)
    # 0 was seen: falling gives 1 2 3 4, rising 5 4 3 2; fused by rank 1/61 1/62 1/63 1/64
    assert said(found) == [("falling", 2, True, True), ("rising", 4, True, True)]
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
    first = explain(recommender, one(k=2), 4, names)
    assert (first.rank, [step.rank for step in first.steps]) == (1, [2, 1, 1])


def test_a_barred_item_is_told_by_which_filters_and_where_it_would_go() -> None:
    allow = Allow(["i1", "i2"]).fit(log([("u", f"i{n}", n, 5.0) for n in range(N)]), rng=np.random.default_rng(0))
    seen = DropSeen()
    recommender = Recommender(FromModel(FALLING), filters=(seen, allow))
    assert explain(recommender, one(), 0, {"seen": seen, "only": allow}).barred_by == ["seen", "only"]
    found = explain(recommender, one(), 3, {"only": allow})
    assert found.barred_by == ["only"]
    assert found.rank is None
    assert found.steps[0].rank == 3  # behind 1 and 2, if it were allowed
    assert explain(recommender, one(), 1, {}).barred_by == []


def test_a_later_rung_counts_only_where_it_is_asked() -> None:
    short = FromModel(Fixed([-np.inf, -np.inf, -np.inf, 1, 2, 3]))
    recommender = Recommender(Fallback([short, FromModel(FALLING)]))
    names = {"short": short}
    assert said(explain(recommender, one(k=3), 1, names)) == [("short", None, True, False), ("Fixed", 1, False, False)]
    assert said(explain(recommender, one(k=4), 1, names))[1] == ("Fixed", 1, True, True)


def test_a_source_tells_how_far_down_an_item_is_that_it_does_not_propose() -> None:
    found = explain(Recommender(FromModel(FALLING)), one(k=2), 4, {"falling": FALLING})
    assert said(found) == [("falling", 4, True, False)]
    assert found.steps[0].rank is None


def test_a_switch_asks_one_side_and_a_blend_all_its_models() -> None:
    new, known = FromModel(FALLING), Blend([FALLING, RISING], [2, 1])
    recommender = Recommender(Switch(new, known, min_history=2))
    names = {"falling": FALLING, "rising": RISING, "new": new}
    few = explain(recommender, one(), 1, names)
    assert said(few) == [("falling", 1, False, False), ("rising", 5, False, False), ("new", 1, True, True)]
    many = explain(recommender, one(history=(0, 5)), 1, names)
    assert said(many) == [("falling", 1, True, True), ("rising", 4, True, False), ("new", 1, False, False)]


def test_history_and_features_that_speak_for_it() -> None:
    tells, content = Telling(RISING.scores), OfContent(FALLING.scores)
    recommender = Recommender(FromModel(content), [Rank(tells)])
    found = explain(recommender, one(history=(0, 5)), 2, {"tells": tells, "content": content})
    assert found.reasons == [Reason(5, 0.75)]
    told = [(influence.name, influence.method, influence.features) for influence in found.influences]
    assert told == [
        ("content", "matches", [("word: rain", 2.0)]),
        ("tells", "own", [("age", 0.5), ("genre", -0.25)]),
    ]
    assert found.silent == []


def test_inputs_are_left_out_in_turn_where_the_model_does_not_tell() -> None:
    item = np.array([[2]], np.int32)
    assert left_out(Linear([0] * N), one(history=(0, 5, 4)), item) == [("history", 3.0), ("age", 2.0)]
    assert left_out(Wide([0] * N), one(), item) == [("genre", -3.0), ("year", 1.0)]
    found = explain(Recommender(FromModel(FALLING), [Rank(RISING)]), one(), 2, {"ranks": RISING})
    assert found.influences == []
    assert found.silent == ["ranks"]


def test_one_query_at_a_time() -> None:
    with pytest.raises(ValueError, match="queries must be one, got 2"):
        explain(Recommender(FromModel(FALLING)), one().take(np.array([0, 0])), 1, {})
