"""Ranking candidates by another model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pasand.stages.ranking import Rank
from pasand.types import Candidates, Queries, Rows, Scores


@dataclass
class TableScores:
    """Scores each item by a table."""

    table: list[float]

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        assert items is not None
        return np.where(items >= 0, np.array(self.table, np.float32)[items], np.float32(-np.inf))


def queries(n: int) -> Queries:
    nothing = np.empty((n, 0))
    return Queries(
        users=np.full(n, -1, np.int32),
        history=nothing.astype(np.int32),
        history_time=nothing.astype(np.int64),
        history_value=nothing.astype(np.float32),
        time=np.zeros(n, np.int64),
        k=3,
    )


def found(*items: list[int]) -> Candidates:
    rows = np.array(items, np.int32)
    scores = np.where(rows >= 0, 10 - np.arange(rows.shape[1], dtype=np.float32), np.float32(-np.inf))
    return Candidates(items=rows, scores=scores.astype(np.float32), propensity=(rows / 10).astype(np.float32))


def rank(table: list[float], candidates: Candidates, depth: int = 0) -> Candidates:
    return Rank(TableScores(table), depth)(queries(len(candidates)), candidates)  # type: ignore[arg-type]


def test_the_model_decides_and_equal_scores_keep_their_order() -> None:
    ranked = rank([1.0, 3.0, 3.0, 2.0], found([0, 2, 1, 3], [3, 0, -1, -1]))
    assert ranked.items.tolist() == [[2, 1, 3, 0], [3, 0, -1, -1]]
    assert ranked.scores.tolist() == [[3, 3, 2, 1], [2, 1, -np.inf, -np.inf]]
    assert ranked.propensity is not None
    np.testing.assert_allclose(ranked.propensity[0], [0.2, 0.1, 0.3, 0.0])


def test_unscored_items_follow_in_their_order() -> None:
    ranked = rank([-np.inf, 3.0, -np.inf, 5.0], found([2, 1, 0, 3]))
    assert ranked.items.tolist() == [[3, 1, 2, 0]]
    assert np.isfinite(ranked.scores).all()
    assert (np.diff(ranked.scores) < 0).all()


def test_a_model_without_scores_leaves_the_list_unchanged() -> None:
    ranked = rank([-np.inf] * 4, found([2, 1, 0, -1]))
    assert ranked.items.tolist() == [[2, 1, 0, -1]]
    assert (np.diff(ranked.scores[0, :3]) < 0).all()
    assert np.isneginf(ranked.scores[0, 3])


def test_candidates_beyond_the_depth_stay_behind() -> None:
    assert rank([1.0, 2.0, 3.0, 9.0], found([0, 1, 2, 3]), depth=2).items.tolist() == [[1, 0, 2, 3]]


@pytest.mark.parametrize("candidates", [found([]), found([1])], ids=["none", "one"])
def test_short_lists(candidates: Candidates) -> None:
    assert rank([1.0, 2.0], candidates).items.tolist() == candidates.items.tolist()


def test_depth_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="depth"):
        Rank(TableScores([1.0]), depth=-1)  # type: ignore[arg-type]
