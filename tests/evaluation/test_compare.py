"""A comparison always includes popularity, marks models that do not beat it, and keeps its JSON format."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.compare import Comparison, Entry, FittedEntry, baselines, compare, model_entry
from pasand.evaluation.protocols import protocol
from pasand.evaluation.report import contents
from pasand.evaluation.report.html import render
from tests.evaluation.logs import ByRow, log

NAMES = [baseline.name for baseline in baselines()]


def tastes(seed: int = 0) -> Dataset:
    """Return a log of two groups of users, each of which likes one half of the items."""
    rng = np.random.default_rng(seed)
    events = []
    for user in range(40):
        for time, item in enumerate(rng.permutation(12)[:10]):
            liked = item % 2 == user % 2
            events.append((f"u{user:02}", f"i{item:02}", int(time * 100 + user), 5.0 if liked else 1.0))
    return log(events)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    entries = [model_entry("forwards", ByRow()), model_entry("backwards", ByRow(rating=2, backwards=True))]
    return compare(tastes(), entries, protocol("temporal"), ks=(2, 5), seed=1, metrics=["auc"])


def test_popularity_is_always_included_and_is_the_baseline(comparison: Comparison) -> None:
    by_name = {result.name: result for result in comparison.results}
    assert set(by_name) == {*NAMES, "forwards", "backwards"}
    for result in comparison.results:
        assert (result.against_popularity is None) == (result.name in comparison.baselines)
    means = [result.evaluation.overall["ndcg@2"].mean for result in comparison.results]
    assert means == sorted(means, reverse=True)


def test_the_json_has_the_documented_keys(comparison: Comparison) -> None:
    output = json.loads(json.dumps(comparison.as_json(), allow_nan=False))
    assert {"protocol", "k", "seed", "data", "models"} <= set(output)
    assert (output["k"], output["seed"], output["leakage"]) == ([2, 5], 1, None)
    assert "temporal" in output["protocol"]
    assert {"relevant", "seen", "groups", "against popularity", "intervals"} <= set(output["rules"])
    expected = "name hyperparameters metrics groups fit_seconds evaluate_seconds peak_memory_mb against_popularity"
    for model in output["models"]:
        assert set(expected.split()) <= set(model)
        assert set(model["metrics"]["ndcg@5"]) == {"mean", "low", "high"}
        assert "auc" in model["metrics"]
        assert model["fit_seconds"] >= 0
        assert model["peak_memory_mb"] > 1
    backwards = next(model for model in output["models"] if model["name"] == "backwards")
    assert backwards["hyperparameters"] == {"rating": 2, "backwards": True, "depth": 1}
    assert backwards["metrics"]["rmse"]["mean"] > 0
    assert backwards["curves"] == {"train rmse": [2.0, 1.0]}
    assert "rmse" not in next(model for model in output["models"] if model["name"] == "popularity")["metrics"]


def test_cold_items_have_their_own_metrics_if_they_are_relevant(comparison: Comparison) -> None:
    output = comparison.as_json()
    assert output["data"]["cold_items"] == 0
    assert not any("cold_items" in model for model in output["models"])
    assert "cold items" not in output["rules"]
    data = tastes()
    late = [("u00", "new", 10_000, 5.0), ("u01", "new", 10_001, 5.0), ("u02", "newer", 10_002, 5.0)]
    ids = zip(data.users.ids(data.user), data.items.ids(data.item), data.time.tolist(), strict=True)
    assert data.value is not None
    events = [(*pair, value) for pair, value in zip(ids, data.value.tolist(), strict=True)]
    found = compare(
        log([*events, *late]), [model_entry("backwards", ByRow(backwards=True))], protocol("temporal"), ks=(2,)
    )
    output = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert (output["data"]["test_users"]["cold_items"], output["data"]["cold_items"]) == (3, 2)
    assert "without an event in train" in output["rules"]["cold items"]
    models = {model["name"]: model["cold_items"] for model in output["models"]}
    # backwards recommends newer, then new; popularity recommends neither
    assert models["backwards"]["recall@2"]["mean"] == 1
    assert models["backwards"]["ndcg@2"]["mean"] == pytest.approx((2 / np.log2(3) + 1) / 3)
    assert models["popularity"]["recall@2"]["mean"] == 0
    assert (models["popularity"]["users"], models["popularity"]["items"]) == (3, 2)
    page = contents.comparison_report(found)
    shown_values = {shown.name: shown.metrics["ndcg@2, cold items"].mean for shown in page.leaderboard}
    assert shown_values == {name: model["ndcg@2"]["mean"] for name, model in models.items()}
    assert page.grouped_metrics[1].groups[0].users == 3
    assert "2 items without an event in train" in render(page)


def test_the_table_has_a_row_per_model(comparison: Comparison) -> None:
    head, rows = comparison.table()
    assert [row[0] for row in rows] == [result.name for result in comparison.results]
    assert {len(row) for row in rows} == {len(head)}
    assert {row[head.index("against popularity")] for row in rows} <= {"better", "not shown", "worse", "baseline"}


def test_leaving_one_out_changes_nothing_for_the_others(comparison: Comparison) -> None:
    again = compare(
        tastes(), [model_entry("backwards", ByRow(rating=2, backwards=True))], protocol("temporal"), ks=(2, 5), seed=1
    )
    before = next(result for result in comparison.results if result.name == "backwards").evaluation.overall
    after = next(result for result in again.results if result.name == "backwards").evaluation.overall
    assert {name: before[name] for name in after} == after


def test_leakage_is_reported_and_folds_are_pooled() -> None:
    found = compare(tastes(), [], protocol("folds", n=3), ks=(3,))
    assert found.as_json()["leakage"]
    assert found.protocol == "folds, random folds, seed 0, all 3"
    assert len(found.as_json()["data"]["train_events"]) == 3


def test_entries_see_only_train() -> None:
    data, seen = tastes(), []

    def build(train: Dataset, rng: np.random.Generator) -> FittedEntry:
        seen.append(len(train))
        return model_entry("x", ByRow()).build(train, rng)

    compare(data, [Entry("spy", build, {})], protocol("temporal"))
    assert seen == [round(0.8 * len(data))]


def test_k_of_zero_is_rejected() -> None:
    with pytest.raises(ValueError, match="ks must be at least 1 each, got \\[0\\]"):
        compare(tastes(), [], protocol("temporal"), ks=(0,))


def test_lists_longer_than_the_catalogue_and_tiny_logs_work() -> None:
    found = compare(tastes(), [], protocol("temporal"), ks=(50,))
    assert found.results[0].evaluation.overall["recall@50"].mean == 1
    one = log([("ann", "a", 1, 5), ("ann", "a", 2, 5)])
    output = compare(one, [], protocol("temporal")).as_json()
    assert output["data"]["test_users"] == {"overall": 0, "not_in_train": 0, "cold_items": 0}
    json.dumps(output, allow_nan=False)


def test_an_entry_that_cannot_be_fitted_is_logged_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(train: Dataset, rng: np.random.Generator) -> FittedEntry:
        raise InputError(train.name, cause="nothing to learn from")

    refusing = Entry("refusing", refuse, {})
    found = compare(tastes(), [model_entry("forwards", ByRow()), refusing], protocol("temporal"))
    assert {result.name for result in found.results} == {*NAMES, "forwards"}
    assert "nothing to learn from" in found.as_json()["failed"]["refusing"]
    assert "refusing is left out" in caplog.text
    with pytest.raises(InputError, match="nothing to learn from"):
        compare(tastes(), [refusing], protocol("temporal"))
