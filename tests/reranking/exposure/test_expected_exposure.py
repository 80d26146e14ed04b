"""Exposure in expectation: marginals of the draws, shares in expectation, the same draw for the same query."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from pasand.reranking.exposure.expected_exposure import ExpectedExposure
from pasand.reranking.random_slots import uniform_number
from pasand.reranking.rules.groups import Groups, Rule
from pasand.types import Candidates, Queries
from tests.logs import tastes

DATA = tastes()
RNG = np.random.default_rng(0)
C = Rule(name="c", where={"group": "c"}, min_share=0.3)
A = Rule(name="a", where={"group": "a"}, max_share=0.25)


def stage_of(*rules: Rule, **options: Any) -> ExpectedExposure:
    return ExpectedExposure(Groups(rules).fit(DATA, rng=RNG), **options)


def candidates(n: int) -> Candidates:
    """Return n equal lists; items 0, 3, ... are of group a, 2, 5, ... of c, and the latter have low scores."""
    items = np.tile(np.array([0, 1, 3, 4, 6, 7, 9, 2, 5, 8], np.int32), (n, 1))
    return Candidates(items=items, scores=np.tile(np.linspace(3, 0, 10, dtype=np.float32) ** 2, (n, 1)))


def queries(n: int, k: int = 5) -> Queries:
    return replace(DATA.queries(np.zeros(n, np.int32), k=k), time=np.arange(n, dtype=np.int64))


def test_draws_have_the_marginals_that_the_propensities_state() -> None:
    n = 100_000
    stage = stage_of(C, A)
    one = candidates(1)
    member = stage.groups.member(one.items, np.zeros(1, np.int64))[0]
    chance, rankings = stage.rankings(one.scores[0].astype(np.float64), member, 5)
    drawn = stage(queries(2000), candidates(2000))
    marginal = np.zeros((5, 10))
    for p, ranking in zip(chance, rankings, strict=True):
        marginal[np.arange(5), ranking] += p
    position = np.argmax(drawn.items[:, :, None] == one.items[0], axis=2)
    assert drawn.propensity is not None
    np.testing.assert_allclose(drawn.propensity, marginal[np.arange(5), position], atol=1e-6)
    assert (drawn.propensity < 1).any()
    cumulated, query = np.cumsum(chance), queries(n)
    which = np.searchsorted(cumulated, [uniform_number(query, b, stage.seed) for b in range(n)], "right")
    count = np.bincount(which, minlength=len(chance))
    assert chisquare(count, n * chance).pvalue > 0.001


def test_shares_hold_in_expectation() -> None:
    stage = stage_of(C, A)
    one = candidates(1)
    member = stage.groups.member(one.items, np.zeros(1, np.int64))[0]
    chance, rankings = stage.rankings(one.scores[0].astype(np.float64), member, 5)
    weights = 1 / np.log2(np.arange(5) + 2.0)
    c, a = (chance @ ((member[rankings] >> r & 1) @ weights) / weights.sum() for r in (0, 1))
    assert c == pytest.approx(0.3)
    assert a == pytest.approx(0.25)


def test_a_query_gets_the_same_list_in_any_batch() -> None:
    stage, lists = stage_of(C), candidates(50)
    together = stage(queries(50), lists)
    for b in (0, 17, 49):
        alone = stage(queries(50).take(np.array([b])), candidates(1))
        np.testing.assert_array_equal(alone.items[0], together.items[b])
    other = stage_of(C, seed=1)(queries(50), lists)
    assert (other.items != together.items).any()
    anonymous = replace(queries(50), users=np.full(50, -1, np.int32), time=np.zeros(50, np.int64))
    assert len(np.unique(stage(anonymous, lists).items, axis=0)) == 1


def test_lists_that_keep_the_share_are_left_alone() -> None:
    found = stage_of(Rule(name="a", where={"group": "a"}, min_share=0.2))(queries(3), candidates(3))
    np.testing.assert_array_equal(found.items, candidates(3).items[:, :5])
    np.testing.assert_array_equal(found.propensity, np.ones((3, 5)))


@given(st.data())
@settings(max_examples=50)
def test_the_contract_of_stages(data: st.DataObject) -> None:
    """No item twice, nothing new, padding last, k respected, scores do not rise."""
    lists = data.draw(st.lists(st.lists(st.integers(0, 31), unique=True, max_size=9), min_size=1, max_size=4))
    width = max(map(len, lists))
    items = np.array([one + [-1] * (width - len(one)) for one in lists], np.int32).reshape(len(lists), -1)
    scores = np.where(items >= 0, 9 - np.arange(width), -np.inf).astype(np.float32)
    if width > 2 and data.draw(st.booleans()):
        scores[:, width - 2 :] = -np.inf
    k = data.draw(st.integers(1, 8))
    result = stage_of(C, A)(queries(len(lists), k), Candidates(items=items, scores=scores))
    for one, row, values in zip(lists, result.items.tolist(), result.scores, strict=True):
        kept = [item for item in row if item >= 0]
        assert row == kept + [-1] * (len(row) - len(kept))
        assert len(kept) == len(set(kept)) == min(k, len(one))
        assert set(kept) <= set(one)
        assert not (np.diff(values[np.isfinite(values)]) > 0).any()


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="rule 'c' has no min_share"):
        stage_of(Rule(name="c", where={"group": "c"}, min_count=2))
    with pytest.raises(ValueError, match="rule 'c' has first"):
        stage_of(Rule(name="c", where={"group": "c"}, min_share=0.2, first=3))
