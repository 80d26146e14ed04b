"""Exposure over requests: shares after many lists in any order, the offline optimum, and the contract of stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from scipy.optimize import linprog

from pasand.following import counting
from pasand.recommender import Recommender
from pasand.reranking.exposure.exposure_over_requests import ExposureOverRequests, offline_multipliers
from pasand.reranking.rules.groups import Groups, Rule
from pasand.types import Array, Candidates, Queries
from tests.logs import tastes

DATA = tastes()
RNG = np.random.default_rng(0)
C = Rule(name="c", where={"group": "c"}, min_share=0.3)
A = Rule(name="a", where={"group": "a"}, min_share=0.35)
K = 5


def stage_of(*rules: Rule, **options: Any) -> ExposureOverRequests:
    return ExposureOverRequests(Groups(rules).fit(DATA, rng=RNG), **options)


def queries(n: int, k: int = K) -> Queries:
    return DATA.queries(np.zeros(n, np.int32), k=k)


def lists_of(n: int, seed: int = 0, width: int = 20) -> Candidates:
    """Return lists in which items 0, 3, ... of group a and 1, 4, ... of b have higher scores than those of c."""
    rng = np.random.default_rng(seed)
    items = rng.permuted(np.tile(np.arange(30), (n, 1)), axis=1)[:, :width].astype(np.int32)
    scores = rng.normal(size=items.shape) - 1.5 * (items % 3 == 2) - 0.5 * (items % 3 == 0)
    order = np.argsort(-scores, axis=1)
    scores = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    return Candidates(items=np.take_along_axis(items, order, axis=1), scores=scores)


def at(candidates: Candidates, which: Array) -> Candidates:
    return Candidates(items=candidates.items[which], scores=candidates.scores[which])


def show(stage: ExposureOverRequests, candidates: Candidates, k: int = K) -> Candidates:
    """Return the lists that the stage chooses, each counted as shown before the next one."""
    parts = []
    for b in range(len(candidates)):
        parts.append(stage(queries(1, k), at(candidates, np.array([b]))).top(k))
        stage.shown(parts[-1].items, np.zeros(1, np.int64))
    return Candidates(items=np.vstack([p.items for p in parts]), scores=np.vstack([p.scores for p in parts]))


def orders(candidates: Candidates) -> list[Array]:
    """Return a random order, and those by the members among the best, which mislead the multipliers most."""
    easy = np.argsort((candidates.items[:, :K] % 3 == 2).sum(axis=1), kind="stable")
    return [np.random.default_rng(1).permutation(len(easy)), easy, easy[::-1]]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_shares_hold_after_the_horizon_in_any_order(which: int) -> None:
    candidates = lists_of(2000)
    stage, order = stage_of(C, A), orders(candidates)[which]
    free = candidates.items[:1000, :K] % 3
    assert (free == 2).mean() < 0.15
    for begin in range(0, 2000, 100):
        show(stage, at(candidates, order[begin : begin + 100]))
        if begin >= 900:
            assert (stage.shares >= [0.295, 0.345]).all()
    if which == 0:
        assert stage.shares[0] <= 0.305
        assert stage.shares[1] <= 0.355


def test_the_loss_is_near_the_offline_optimum_and_below_that_of_a_rule_per_list() -> None:
    candidates, target = lists_of(2000), np.array([0.3])
    stage = stage_of(C)
    online = float(show(stage, candidates).scores.sum())
    member = stage.groups.member(candidates.items, np.zeros(2000, np.int64))
    bound = offline_multipliers(candidates.scores.astype(np.float64), member, target, K, 300)[1]
    free = float(candidates.scores[:, :K].sum())
    each = 0.0
    for row, inside in zip(candidates.scores, member, strict=True):
        best = [*row[inside == 1][:2]]
        rest = np.delete(row, np.flatnonzero(inside == 1)[:2])
        each += float(sum(best) + rest[: K - 2].sum())
    assert free - online <= 1.05 * (free - bound)
    assert free - online <= 0.75 * (free - each)


@pytest.mark.parametrize("seed", range(10))
def test_the_offline_bound_is_the_optimum_of_the_linear_programme(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_lists, n, k, n_rules = 12, 9, 3, int(rng.integers(1, 3))
    scores = np.sort(rng.normal(size=(n_lists, n)), axis=1)[:, ::-1].copy()
    member = rng.integers(0, 2**n_rules, (n_lists, n))
    target = rng.uniform(0.2, 0.7, n_rules)
    inside = np.stack([(member >> r & 1).ravel() for r in range(n_rules)])
    per_list = np.kron(np.eye(n_lists), np.ones(n))
    found = linprog(
        -scores.ravel(),
        A_ub=-inside,
        b_ub=-target * n_lists * k,
        A_eq=per_list,
        b_eq=np.full(n_lists, k),
        bounds=(0, 1),
    )
    optimum = -float(found.fun or 0)
    _, bound = offline_multipliers(scores, member, target, k, 20_000)
    assert -1e-9 <= bound - optimum <= 2e-3 * abs(optimum) + 1e-3


def test_a_start_from_past_lists_saves_the_first_ones() -> None:
    past, new = lists_of(500, seed=1), lists_of(100, seed=2)
    cold, warm = stage_of(C), stage_of(C)
    warm.start_from(queries(500), past)
    for stage in (cold, warm):
        show(stage, new)
    assert warm.shares[0] == pytest.approx(0.3, abs=0.03)
    assert cold.shares[0] < warm.shares[0]


def test_a_ledger_goes_on() -> None:
    candidates = lists_of(60)
    whole, first, second = stage_of(C, A), stage_of(C, A), stage_of(C, A)
    expected = show(whole, candidates)
    assert np.isnan(first.shares).all()
    parts = [show(first, at(candidates, np.arange(30)))]
    second.load_state(first.state())
    parts.append(show(second, at(candidates, np.arange(30, 60))))
    np.testing.assert_array_equal(np.vstack([part.items for part in parts]), expected.items)
    np.testing.assert_array_equal(second.shares, whole.shares)
    with pytest.raises(ValueError, match="count"):
        second.load_state(stage_of(C).state())


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_largest_share_holds_after_the_horizon_in_any_order(which: int) -> None:
    candidates = lists_of(1500, seed=3)
    free = (candidates.items[:, :K] % 3 == 1).mean()
    stage = stage_of(Rule(name="b", where={"group": "b"}, max_share=0.4), C)
    assert free > 0.5
    show(stage, at(candidates, orders(candidates)[which][:1000]))
    assert stage.shares[0] <= 0.405
    assert stage.shares[1] >= 0.295
    show(stage, at(candidates, orders(candidates)[which][1000:]))
    assert stage.shares[0] <= 0.405
    if which == 0:
        assert stage.shares[0] >= 0.39


def test_queries_of_one_call_are_chosen_as_if_shown_one_by_one() -> None:
    candidates = lists_of(300)
    one, other = stage_of(C, A), stage_of(C, A)
    np.testing.assert_array_equal(one(queries(300), candidates).items, show(other, candidates).items)


def test_calling_the_stage_counts_nothing() -> None:
    stage = stage_of(C)
    show(stage, lists_of(50))
    before = stage.state()
    stage(queries(50), lists_of(50, seed=1))
    for name in ("count", "slots", "up", "down"):
        np.testing.assert_array_equal(stage.state()[name], before[name])


def test_candidates_for_later_stages_are_all_there_with_priced_scores() -> None:
    candidates = lists_of(200)
    cut, whole = stage_of(C), stage_of(C, last=False)
    for stage in (cut, whole):
        show(stage, lists_of(300, seed=1))
    expected, found = cut(queries(200), candidates), whole(queries(200), candidates)
    assert found.items.shape == candidates.items.shape
    assert (np.diff(found.scores) <= 0).all()
    np.testing.assert_array_equal(np.sort(found.items[:, :K]), np.sort(expected.items))
    np.testing.assert_array_equal(np.sort(found.items), np.sort(candidates.items))
    assert stage_of(C).ledger_key == cut.ledger_key != stage_of(A).ledger_key


def test_an_evaluation_has_a_ledger_of_its_own() -> None:
    stage = stage_of(C)
    show(stage, lists_of(100))
    before = stage.state()
    recommender = Recommender(retriever=lambda queries: lists_of(len(queries)), stages=[stage], filters=())
    recommender(queries(20))
    with counting(recommender):
        assert np.isnan(stage.shares).all()
        recommender(queries(20))
        assert stage.ledger.slots == 20 * K
    for name, values in stage.state().items():
        np.testing.assert_array_equal(values, before[name]) if name not in ("spread", "lists") else None
    assert not stage.counts_returned


def test_no_price_where_the_share_is_met() -> None:
    candidates = lists_of(50)
    low = structs.replace(C, min_share=0.0)
    np.testing.assert_array_equal(show(stage_of(low), candidates).items, candidates.items[:, :K])


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
    stage = stage_of(C, A, horizon=data.draw(st.sampled_from([1, 1000])))
    result = stage(queries(len(lists), k), Candidates(items=items, scores=scores))
    for one, row, values in zip(lists, result.items.tolist(), result.scores, strict=True):
        kept = [item for item in row if item >= 0]
        assert row == kept + [-1] * (len(row) - len(kept))
        assert len(kept) == len(set(kept)) == min(k, len(one))
        assert set(kept) <= set(one)
        assert not (np.diff(values[np.isfinite(values)]) > 0).any()


def test_wrong_rules_are_refused() -> None:
    for rule, message in (
        (Rule(name="c", where={"group": "c"}, min_count=2), "rule 'c' has no min_share"),
        (structs.replace(C, first=3), "rule 'c' has first"),
    ):
        with pytest.raises(ValueError, match=message):
            stage_of(rule)
    with pytest.raises(ValueError, match="horizon must be positive"):
        stage_of(C, horizon=0)
    with pytest.raises(ValueError, match="tolerance must be in"):
        stage_of(C, tolerance=0.0)
