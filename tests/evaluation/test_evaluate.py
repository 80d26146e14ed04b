"""Evaluation against values computed by hand on a small log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings

from pasand.data.relevance import Relevance
from pasand.evaluation.evaluate import Evaluation, break_ties_pessimistically, evaluate, evaluate_pooled
from pasand.evaluation.intervals import Interval
from pasand.evaluation.protocols import SplitsData, protocol
from pasand.evaluation.protocols.strong_generalisation import StrongGeneralisation
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split, TestQueries
from pasand.recommender import Recommender, fallback_chain
from pasand.types import Candidates, Queries
from tests.evaluation.logs import SEEDS, ByRow, log, random_log
from tests.evaluation.test_protocols import EVENTS

NAMES = ["ndcg@1", "hit_rate@2", "auc", "coverage@1", "gini@1", "rmse", "mae", "average_popularity@1"]
RNG: Callable[[], np.random.Generator] = lambda: np.random.default_rng(0)  # noqa: E731


def fitted_recommender(split: Split) -> tuple[Recommender, ByRow]:
    model = ByRow().fit(split.train, rng=RNG())
    return fallback_chain(model), model


def by_hand(histories: str = "live") -> Evaluation:
    (split,) = protocol("temporal", train_share=0.5, histories=histories).split(log(EVENTS))
    recommender, model = fitted_recommender(split)
    return evaluate(recommender, split, NAMES, model=model, rng=RNG())


def group(found: Evaluation, name: str) -> dict[str, Interval]:
    """Return the metrics of the group of this name."""
    return next(group.metrics for group in found.groups if group.name == name)


def test_live_by_hand() -> None:
    # the list is a b c d e without seen items. targets: d of ann, e of cat, then b of cat with e and a seen
    found = by_hand()
    assert found.overall["ndcg@1"].mean == pytest.approx((1 + (0 + 1) / 2) / 2)
    new = group(found, "users not in train")
    assert new["ndcg@1"].mean == 0.5
    assert new["hit_rate@2"].mean == 0.5
    assert found.overall["auc"].mean == pytest.approx((1 + (0 + 1) / 2) / 2)
    # recommended: d, a, b
    assert found.overall["coverage@1"].mean == pytest.approx(3 / 5)
    assert found.overall["gini@1"].mean == pytest.approx(2 / 5)
    assert found.exposure[[0, 1, 3]].min() >= 1
    # ratings after the cut: bob 5, ann 4, cat 5 2 5, all predicted 3
    assert found.overall["rmse"].mean == pytest.approx(np.sqrt((4 + 1 + 4 + 1 + 4) / 5))
    assert new["mae"].mean == pytest.approx((2 + 1 + 2) / 3)
    # two users in train: d 0, a 1, b 1/2
    assert found.overall["average_popularity@1"].mean == pytest.approx((0 + (1 + 0.5) / 2) / 2)
    assert found.n_users == {"overall": 2, "not_in_train": 1, "cold_items": 2}
    sizes = [(group.name, group.n_users, group.n_queries) for group in found.groups]
    assert sizes == [("0 events", 1, 1), ("1-5 events", 2, 2), ("users not in train", 1, 2)]


def test_frozen_by_hand() -> None:
    # targets: d of ann, b and e of cat; the lists are d e and a b c d e
    found = by_hand("frozen")
    assert found.overall["ndcg@1"].mean == 0.5
    assert found.overall["hit_rate@2"].mean == 1
    assert group(found, "users not in train")["auc"].mean == pytest.approx((2 + 0) / 6)


def test_cold_items_by_hand() -> None:
    # train has a b c, so d and e are cold. live: ann's list is d e, cat's a b c d e; cat's query for b is left out
    found = by_hand()
    assert found.n_cold_items == 2
    assert found.cold_items["ndcg@1"].mean == 0.5
    assert found.cold_items["hit_rate@2"].mean == 0.5
    assert found.cold_items["auc"].mean == pytest.approx((1 + 0) / 2)
    # rated after the cut: d 4, e 5, both predicted 3
    assert found.cold_items["rmse"].mean == pytest.approx(np.sqrt((1 + 4) / 2))
    assert "coverage@1" not in found.cold_items
    # frozen: b and e are targets of one query of cat, and only e counts, fifth of a b c d e
    (split,) = Temporal(train_share=0.5, histories="frozen").split(log(EVENTS))
    frozen = evaluate(fitted_recommender(split)[0], split, ["ndcg@5", "recall@4"], rng=RNG())
    assert frozen.cold_items["ndcg@5"].mean == pytest.approx((1 + 1 / np.log2(6)) / 2)
    assert frozen.cold_items["recall@4"].mean == 0.5
    # the last positives: c of bob and b of cat are also in ann's train events, d of ann is in no train event
    (split,) = protocol("leave-last-out").split(log(EVENTS))
    last = evaluate(fitted_recommender(split)[0], split, ["ndcg@1"], rng=RNG())
    assert (last.n_users["cold_items"], last.n_cold_items) == (1, 1)
    assert last.cold_items["ndcg@1"].mean == 1


def test_without_cold_items_there_are_no_metrics_of_them() -> None:
    events = [("ann", "a", 1, 5.0), ("bob", "b", 2, 5.0), ("ann", "b", 3, 5.0)]
    (split,) = Temporal(train_share=0.7).split(log(events))
    found = evaluate(fitted_recommender(split)[0], split, ["ndcg@2", "rmse"], rng=RNG())
    assert found.n_users["overall"] == 1
    assert (found.cold_items, found.n_cold_items, found.n_users["cold_items"]) == ({}, 0, 0)


@settings(max_examples=20)
@given(seed=SEEDS)
@pytest.mark.parametrize(
    "splitter", [Temporal(), Temporal(histories="frozen"), StrongGeneralisation(holdout_share=0.6)]
)
def test_metrics_of_cold_items_equal_those_with_only_cold_targets(splitter: SplitsData, seed: int) -> None:
    (split,) = splitter.split(random_log(seed, n_users=12, n_items=80, n_events=150))
    test = split.test_queries
    cold = ~np.isin(test.item, split.train.item)
    assume(cold.any())
    start = np.concatenate([[0], np.cumsum(cold)])[test.start]
    alone = replace(split, test_queries=replace(test, start=start, item=test.item[cold], value=test.value[cold]))
    names = ["ndcg@5", "recall@5", "mrr@5", "auc"]
    recommender, _ = fitted_recommender(split)
    found, expected = (evaluate(recommender, part, names, rng=RNG()) for part in (split, alone))
    for metric in names:
        assert found.cold_items[metric].mean == pytest.approx(expected.overall[metric].mean)
        if found.n_users["cold_items"] > 1:  # one user has no interval
            assert found.cold_items[metric].low <= found.cold_items[metric].mean <= found.cold_items[metric].high
    assert found.n_cold_items == len(set(test.item[cold].tolist()))
    assert found.n_users["cold_items"] == (~np.isnan(expected.user_values["ndcg@5"])).sum()


def test_cold_items_of_folds_are_pooled() -> None:
    data = random_log(5, n_items=40, n_events=100)
    splits = protocol("folds", n=3).split(data)
    found = evaluate_pooled([(*fitted_recommender(split), split) for split in splits], ["rmse"], rng=RNG())
    assert data.value is not None
    once = np.bincount(data.item)[data.item] == 1
    assert once.any()
    parts = [(split, split.test, ~np.isin(split.test.item, split.train.item)) for split in splits]
    errors = np.concatenate([test.value[cold] - 3.0 for _, test, cold in parts if test.value is not None])
    assert found.cold_items["rmse"].mean == pytest.approx(np.sqrt(np.mean(errors**2)))


def test_a_query_without_relevant_items_or_a_user_without_queries_counts_nowhere() -> None:
    found = by_hand()
    values = found.user_values["ndcg@1"]
    assert len(found.users) == 3  # bob only rated
    assert np.isnan(values).sum() == 1
    assert found.overall["ndcg@1"].mean == pytest.approx(np.nanmean(values))


@settings(max_examples=20)
@given(seed=SEEDS)
@pytest.mark.parametrize("name", ["temporal", "leave-last-out", "strong-generalisation"])
def test_every_user_counts_once(name: str, seed: int) -> None:
    (split,) = protocol(name).split(random_log(seed, n_users=12, n_items=30, n_events=150))
    assume(len(split.test_queries))
    recommender, model = fitted_recommender(split)
    found = evaluate(recommender, split, ["ndcg@3", "recall@3"], model=model, rng=RNG())
    expected = [
        np.nanmean(found.query_values["recall@3"][found.query_user == user]) for user in np.unique(found.query_user)
    ]
    assert found.overall["recall@3"].mean == pytest.approx(np.mean(expected), nan_ok=True)
    assert found.n_users["overall"] == len(expected)
    assert len(np.unique(found.users)) == len(found.users)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (split,) = Temporal().split(random_log(3, n_users=12, n_items=40, n_events=200))
    recommender, model = fitted_recommender(split)
    names = [*NAMES, "ndcg@3", "novelty@3", "intra_list_diversity@3"]
    whole = evaluate(recommender, split, names, model=model, rng=RNG())
    monkeypatch.setattr("pasand.evaluation.split.MAX_CELLS", 20)
    pieces = evaluate(recommender, split, names, model=model, rng=RNG())
    assert whole.overall == pieces.overall
    for name in whole.query_values:
        assert np.array_equal(whole.query_values[name], pieces.query_values[name], equal_nan=True)


def test_folds_are_pooled() -> None:
    data = random_log(5, n_events=200)
    splits = protocol("folds", n=3).split(data)
    runs = [(*fitted_recommender(split), split) for split in splits]
    found = evaluate_pooled(runs, ["rmse", "coverage@2", "ndcg@2"], rng=RNG())
    assert data.value is not None
    assert found.overall["rmse"].mean == pytest.approx(np.sqrt(np.mean((data.value - 3.0) ** 2)))
    alone = [evaluate(recommender, split, ["coverage@2"], rng=RNG()) for recommender, _, split in runs]
    assert found.overall["coverage@2"].mean == pytest.approx(np.mean([e.overall["coverage@2"].mean for e in alone]))


def test_sampled_candidates_are_ranked_among_themselves_and_ties_count_against() -> None:
    (split,) = Temporal(train_share=0.5, histories="frozen").split(log(EVENTS))
    user = split.train.users.rows(["ann"])
    test_queries = TestQueries(
        log=split.train,
        user=user,
        upto=np.array([3]),
        time=np.array([9]),
        start=np.array([0, 1]),
        item=split.train.items.rows(["d"]),
        value=np.ones(1, np.float32),
        candidates=split.train.items.rows(["d", "e"])[None, :],
    )

    def flat(queries: Queries) -> Candidates:
        assert queries.k == 2
        assert queries.allowed is not None
        items = np.flatnonzero(queries.allowed[0]).astype(np.int32)[None, :]
        return Candidates(items=items, scores=np.ones(items.shape, np.float32))

    found = evaluate(
        flat,
        replace(split, test_queries=test_queries, rating_queries=None),
        ["hit_rate@1", "hit_rate@2", "auc"],
        rng=RNG(),
    )
    assert [found.overall[name].mean for name in ("hit_rate@1", "hit_rate@2", "auc")] == [0, 1, 0]


def test_pessimistic_ties_move_only_tied_items() -> None:
    candidates = Candidates(items=np.array([[4, 1, 2, 3]], np.int32), scores=np.array([[9, 5, 5, 1]], np.float32))
    relevant = Relevance(
        items=np.array([[1, 3]], np.int32), gains=np.ones((1, 2), np.float32), catalogue=np.array([4], np.int32)
    )
    assert break_ties_pessimistically(candidates, relevant).items.tolist() == [[4, 2, 1, 3]]


def test_without_test_queries_metrics_are_undefined() -> None:
    events = [("ann", "a", 1, 5.0), ("ann", "b", 2, 5.0), ("bob", "a", 3, 1.0)]
    (split,) = Temporal(train_share=0.7).split(log(events))
    recommender, model = fitted_recommender(split)
    found = evaluate(recommender, split, ["ndcg@2", "coverage@2", "rmse"], model=model, rng=RNG())
    assert found.n_users["overall"] == 0
    assert np.isnan(found.overall["ndcg@2"].mean)
    assert found.overall["ndcg@2"].as_json() == {"mean": None, "low": None, "high": None}
    assert found.overall["rmse"].mean == 2
