"""Tuning finds the best configuration within train and uses test once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pytest
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.compare import compare, model_entry
from pasand.evaluation.protocols import protocol
from pasand.evaluation.report import contents
from pasand.evaluation.search_space import Choices, Range, default_search_space, parse_setting
from pasand.evaluation.tune import tune
from pasand.models.towers.bpr_mf import BPRMF
from pasand.progress import listening
from tests.evaluation.logs import ByRow
from tests.evaluation.test_compare import tastes

FITTED: list[int] = []


@dataclass
class Noted(ByRow):
    """Records the number of events that it is fitted on."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        FITTED.append(len(data))
        return super().fit(data, rng=rng)


@dataclass
class Odd(ByRow):
    """Has fields of every kind."""

    width: int | None = None
    kind: Literal["cosine", "pearson"] = "cosine"
    layers: tuple[int, ...] = ()
    read: tuple[str, ...] | None = None


def test_the_grid_is_tried_in_train_and_the_best_once_on_test() -> None:
    FITTED.clear()
    data = tastes()
    found = tune(data, Noted(), {"rating": [1.0, 3.0, 5.0], "backwards": [True]}, protocol("temporal"), metric="rmse")
    n = len(data)
    assert [round(0.64 * n)] * 3 + [round(0.8 * n)] == FITTED
    assert [trial.hyperparameters["rating"] for trial in found.trials] == [1, 3, 5]
    assert found.best.hyperparameters == {"rating": 3.0, "backwards": True}
    assert found.outer.train.time.max() < found.outer.test.time.min()
    assert found.inner.test.time.max() <= found.outer.train.time.max()
    assert found.test is not None
    assert found.test.evaluation.overall["rmse"].mean == pytest.approx(2)
    assert found.best.curves == {"train rmse": [2.0, 1.0]}
    head, rows = found.table()
    assert rows[0][0] == "3.0"
    assert {len(row) for row in rows} == {len(head)}
    output = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert len(output["trials"]) == 3
    assert output["test"]["metrics"]["rmse"]["mean"] == pytest.approx(2)


def test_ranking_metrics_are_made_large() -> None:
    found = tune(tastes(), ByRow(), {"backwards": [True, False]}, protocol("temporal"), metric="ndcg@3")
    means = {trial.hyperparameters["backwards"]: trial.validation["ndcg@3"].mean for trial in found.trials}
    assert means[found.best.hyperparameters["backwards"]] == max(means.values())


def test_drawn_trials_repeat_with_the_seed_and_stay_in_range() -> None:
    grid: dict[str, Choices] = {"rating": Range(1, 5), "backwards": [True, False], "depth": Range(1, 9, whole=True)}
    once, again = (tune(tastes(), ByRow(), grid, protocol("temporal"), metric="rmse", trials=5) for _ in range(2))
    drawn = [trial.hyperparameters for trial in once.trials]
    assert len(drawn) == 5
    assert drawn == [trial.hyperparameters for trial in again.trials]
    assert all(1 <= float(str(one["rating"])) <= 5 for one in drawn)
    assert {type(one["depth"]) for one in drawn} == {int}


def test_ctrl_c_keeps_the_finished_trials() -> None:
    def stop(label: str, done: int, total: int | None) -> None:
        if label == "tuning" and done == 2:
            raise KeyboardInterrupt

    with listening(stop):
        found = tune(tastes(), ByRow(), {"rating": [1.0, 4.0, 3.0]}, protocol("temporal"), metric="rmse")
    assert len(found.trials) == 2
    assert found.best.hyperparameters == {"rating": 4.0}
    assert found.interrupted
    assert found.as_json()["test"] is None


def test_of_several_folds_the_first_is_used() -> None:
    found = tune(tastes(), ByRow(), {"rating": [3.0]}, protocol("folds", n=4), metric="rmse")
    assert "1 of 4" in found.outer.name
    assert len(found.inner.train) + len(found.inner.test) == len(found.outer.train)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("depth=1,2", ("depth", [1, 2])),
        ("rating=1,2.5", ("rating", [1.0, 2.5])),
        ("backwards=true,False", ("backwards", [True, False])),
        ("width=none,3", ("width", [None, 3])),
        ("kind=pearson", ("kind", ["pearson"])),
        ("layers=64,32", ("layers", [(64, 32)])),
        ("layers=64, 32/16/none", ("layers", [(64, 32), (16,), ()])),
        ("read=age,gender/none/all", ("read", [("age", "gender"), (), None])),
        ("rating=0.01..1", ("rating", Range(0.01, 1.0))),
        ("depth=1..8", ("depth", Range(1.0, 8.0, whole=True))),
    ],
)
def test_values_take_the_type_of_the_field(setting: str, expected: object) -> None:
    found = parse_setting(Odd(), setting)
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("dimension=3", "rating, backwards, depth"),
        ("depth=2.5", "int"),
        ("depth", "field=value"),
        ("kind=jaccard", "cosine or pearson"),
        ("layers=64,wide", "int"),
        ("layers=all", "int"),
        ("rating=low..high", "two numbers"),
    ],
)
def test_errors_of_settings_name_the_cure(setting: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse_setting(Odd(), setting)


def test_deep_models_have_a_default_search_space() -> None:
    found = default_search_space(BPRMF(negatives=8))
    assert set(found) == {"dimensions", "learning_rate", "l2", "negatives"}
    assert found["negatives"] == [2, 8, 32]
    rate = found["learning_rate"]
    assert isinstance(rate, Range)
    assert rate.low < BPRMF().learning_rate < rate.high
    with pytest.raises(InputError, match="--grid l2="):
        default_search_space(ByRow())


def test_a_deep_model_is_tuned_and_its_curves_are_drawn_apart() -> None:
    grid: dict[str, Choices] = {"learning_rate": Range(1e-3, 1e-1), "dimensions": [4, 8]}
    found = tune(tastes(), BPRMF(epochs=2), grid, protocol("temporal"), metric="ndcg@3", trials=2)
    (plot,) = contents.tuning_report(found).learning_curves
    assert (plot.metric, plot.lower_is_better) == ("ndcg@10", False)
    for curve in plot.curves:
        assert curve.stop is not None
        assert curve.values[curve.stop - 1] == max(curve.values)
    compared = contents.comparison_report(
        compare(tastes(), [model_entry("bpr", BPRMF(epochs=2))], protocol("temporal"))
    )
    assert [(plot.metric, plot.lower_is_better) for plot in compared.learning_curves] == [
        ("loss", True),
        ("ndcg@10", False),
    ]


def test_invalid_searches_are_rejected() -> None:
    data, temporal = tastes(), protocol("temporal")
    with pytest.raises(InputError, match="rating must be at least 0, got -1"):
        tune(data, ByRow(), {"rating": [-1.0]}, temporal, metric="rmse")
    with pytest.raises(InputError, match="--trials"):
        tune(data, ByRow(), {"rating": Range(1, 2)}, temporal, metric="rmse")
    with pytest.raises(InputError, match="no such metric"):
        tune(data, ByRow(), {"rating": [1.0]}, temporal, metric="accuracy")
    with pytest.raises(InputError, match="at least one"):
        tune(data, ByRow(), {"rating": [1.0]}, temporal, metric="rmse", trials=0)
    unrated = Dataset(
        name="unrated", users=data.users, items=data.items, user=data.user, item=data.item, time=np.arange(len(data))
    )
    with pytest.raises(InputError, match="needs ratings"):
        tune(unrated, ByRow(), {"rating": [1.0]}, temporal, metric="rmse")
