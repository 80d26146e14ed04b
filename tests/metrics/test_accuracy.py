"""Accuracy by hand, against ranx, and the rules for short lists, ties and nothing relevant."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from pasand.contracts import ListMetric
from pasand.data.relevance import Relevance
from pasand.metrics.accuracy import AUC, MAP, MRR, NDCG, CappedRecall, HitRate, Precision, Recall
from pasand.types import Candidates

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ranx import Qrels, Run
    from ranx import evaluate as ranx_evaluate

ALL: tuple[type, ...] = (Precision, Recall, CappedRecall, HitRate, MRR, MAP, NDCG)
RANX: dict[type, str] = {
    Precision: "precision",
    Recall: "recall",
    HitRate: "hit_rate",
    MRR: "mrr",
    MAP: "map",
    NDCG: "ndcg",
}


def lists(*rows: list[int]) -> Candidates:
    width = max(map(len, rows))
    items = np.array([row + [-1] * (width - len(row)) for row in rows], np.int32)
    scores = np.where(items >= 0, -np.arange(width, dtype=np.float32), -np.inf).astype(np.float32)
    return Candidates(items=items, scores=scores)


def truth(*rows: dict[int, float], catalogue: int = 10) -> Relevance:
    width = max(map(len, rows))
    items = np.full((len(rows), width), -1, np.int32)
    gains = np.full((len(rows), width), np.nan, np.float32)
    for b, row in enumerate(rows):
        items[b, : len(row)], gains[b, : len(row)] = list(row), list(row.values())
    return Relevance(items=items, gains=gains, catalogue=np.full(len(rows), catalogue, np.int32))


def mann_whitney(label: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    if label.all():
        return float("nan")
    wins = mannwhitneyu(score[label], score[~label]).statistic
    return float(wins / (label.sum() * (~label).sum()))


# the list 4 7 1 9 2, of which 7 and 2 are relevant, and so is 3, which is not listed
BY_HAND = [
    (Precision(2), 1 / 2),
    (Precision(5), 2 / 5),
    (Precision(10), 2 / 10),
    (Recall(2), 1 / 3),
    (Recall(5), 2 / 3),
    (CappedRecall(2), 1 / 2),
    (CappedRecall(5), 2 / 3),
    (HitRate(1), 0),
    (HitRate(2), 1),
    (MRR(1), 0),
    (MRR(5), 1 / 2),
    (MAP(5), (1 / 2 + 2 / 5) / 3),
    (NDCG(2), (1 / np.log2(3)) / (1 + 1 / np.log2(3))),
    (NDCG(5), (1 / np.log2(3) + 1 / np.log2(6)) / (1 + 1 / np.log2(3) + 1 / 2)),
    # 10 items, 7 not relevant: item 7 beats 6, item 2 beats 4, item 3 ties with the 4 unlisted
    (AUC(), (6 + 4 + 4 / 2) / (3 * 7)),
    # only 4 and 7 listed: item 7 beats 6; 2 and 3 tie with 6
    (AUC(2), (6 + 3 + 3) / (3 * 7)),
]


@pytest.mark.parametrize(("metric", "expected"), BY_HAND, ids=lambda value: str(value))
def test_by_hand(metric: ListMetric, expected: float) -> None:
    value = metric(lists([4, 7, 1, 9, 2]), truth({7: 1, 3: 1, 2: 1}))
    assert value == pytest.approx([expected])


def test_graded_gains_count_in_ndcg_alone() -> None:
    found, graded, binary = lists([1, 2, 3]), truth({2: 3.0, 1: 1.0, 9: 2.0}), truth({2: 1, 1: 1, 9: 1})
    best = 3 + 2 / np.log2(3) + 1 / 2
    assert NDCG(3)(found, graded) == pytest.approx([(1 + 3 / np.log2(3)) / best])
    for metric in ALL[:-1]:
        assert metric(3)(found, graded) == pytest.approx(metric(3)(found, binary))


@pytest.mark.parametrize("metric", [*(metric(3) for metric in ALL), AUC()], ids=str)
def test_nothing_relevant_is_undefined_and_an_empty_list_is_all_misses(metric: ListMetric) -> None:
    values = metric(lists([1, 2, 3], []), truth({}, {5: 1}))
    assert np.isnan(values[0])
    assert values[1] == (0.5 if isinstance(metric, AUC) else 0)


def test_auc_is_undefined_where_everything_is_relevant() -> None:
    assert np.isnan(AUC()(lists([0, 1]), truth({0: 1, 1: 1}, catalogue=2))).all()


@pytest.mark.filterwarnings("ignore:unsafe cast")
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12))
def test_equal_to_ranx(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n_items, found, true = 15, [], []
    for _ in range(6):
        found.append(rng.permutation(n_items)[: rng.integers(1, n_items)].tolist())
        relevant = rng.permutation(n_items)[: rng.integers(0, n_items)]
        true.append({int(item): float(rng.integers(1, 4)) for item in relevant})
    candidates, relevance = lists(*found), truth(*true, catalogue=n_items)
    # tied scores keep the order of the list in both
    ties = np.floor(-np.arange(n_items) / 2)
    run = Run(
        {f"q{b}": {f"i{item}": 100 + ties[i] - 1e-6 * i for i, item in enumerate(row)} for b, row in enumerate(found)}
    )
    qrels = Qrels({f"q{b}": {f"i{i}": int(g) for i, g in row.items()} or {"none": 1} for b, row in enumerate(true)})
    defined = np.array([len(row) > 0 for row in true])
    for metric, name in RANX.items():
        expected = np.asarray(ranx_evaluate(qrels, run, f"{name}@{k}", return_mean=False, make_comparable=True))
        assert metric(k)(candidates, relevance)[defined] == pytest.approx(expected[defined], abs=1e-6), name


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_auc_of_the_whole_catalogue_equals_mann_whitney(seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(12)
    relevant = rng.permutation(12)[: rng.integers(1, 12)]
    label = np.isin(np.arange(12), relevant)
    score = np.empty(12)
    score[order] = -np.arange(12)
    value = AUC()(lists(order.tolist()), truth({int(item): 1.0 for item in relevant}, catalogue=12))
    assert value == pytest.approx([mann_whitney(label, score)], nan_ok=True)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), listed=st.integers(0, 12))
def test_auc_of_a_short_list_ties_the_rest_below(seed: int, listed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(12)[:listed]
    relevant = rng.permutation(12)[: rng.integers(1, 12)]
    score = np.full(12, -100.0)
    score[order] = -np.arange(listed)
    value = AUC()(lists(order.tolist()), truth({int(item): 1.0 for item in relevant}, catalogue=12))
    assert value == pytest.approx([mann_whitney(np.isin(np.arange(12), relevant), score)], nan_ok=True)
