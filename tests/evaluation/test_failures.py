"""What fails or is interrupted costs its own row of a comparison or a search, and nothing that is done is lost."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import Self

import numpy as np
import pytest
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import Estimate
from pasand.errors import InputError
from pasand.evaluation import compare as compare_file
from pasand.evaluation import tune as tune_file
from pasand.evaluation.compare import Comparison, Entry, baselines, compare, model_entry
from pasand.evaluation.protocols import protocol
from pasand.evaluation.report import contents
from pasand.evaluation.report.html import render
from pasand.evaluation.search_space import Range
from pasand.evaluation.tune import Tuning, tune
from pasand.models.classical.item_knn import ItemKNN
from pasand.types import Queries, Rows, Scores
from tests.evaluation.logs import ByRow
from tests.evaluation.test_compare import tastes

TEMPORAL = protocol("temporal")
NAMES = [baseline.name for baseline in baselines()]


@dataclass
class Failing(ByRow):
    """Fails while it is fitted, by kind."""

    kind: str = "division"

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        if self.kind == "division":
            raise ZeroDivisionError("division by zero")
        if self.kind == "memory":
            raise MemoryError
        if self.kind == "singular":
            np.linalg.cholesky(np.zeros((2, 2)))
        if self.kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.kind == "interrupted":
            raise KeyboardInterrupt
        if self.kind == "interrupted in compiled code":
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as error:
                raise SystemError("returned a result with an exception set") from error
        return super().fit(data, rng=rng)


@dataclass
class FailsToScore(ByRow):
    """Fails after it was fitted."""

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        raise FloatingPointError("overflow")


def test_any_exception_costs_one_row(caplog: pytest.LogCaptureFixture) -> None:
    failing = [model_entry(kind, Failing(kind=kind)) for kind in ("division", "memory", "singular")]
    entries = [*failing, model_entry("scores", FailsToScore()), model_entry("sound", ByRow())]
    seen: list[Comparison] = []
    found = compare(tastes(), entries, TEMPORAL, on_result=seen.append)
    assert found.failed == {
        "division": "ZeroDivisionError: division by zero",
        "memory": "not enough memory",
        "singular": "LinAlgError: Matrix is not positive definite",
        "scores": "FloatingPointError: overflow",
    }
    assert {result.name for result in found.results} == {*NAMES, "sound"}
    assert found.complete
    assert caplog.text.count("is left out") == 4
    n = len(NAMES)
    assert [len(so_far.results) for so_far in seen] == [*range(1, n + 1), n, n, n, n]
    assert not any(so_far.complete for so_far in seen)
    assert json.loads(json.dumps(seen[-1].as_json(), allow_nan=False))["complete"] is False
    assert "division failed: ZeroDivisionError" in render(contents.comparison_report(found))


def test_the_results_do_not_depend_on_failures_or_callbacks() -> None:
    alone = compare(tastes(), [model_entry("sound", ByRow())], TEMPORAL).as_json()
    entries = [model_entry("bad", Failing()), model_entry("sound", ByRow())]
    beside = compare(tastes(), entries, TEMPORAL, on_result=lambda _: None).as_json()
    for one, other in zip(alone["models"], beside["models"], strict=True):
        assert one["metrics"] == other["metrics"]
        assert one["against_popularity"] == other["against_popularity"]


def test_all_causes_are_named_if_every_entry_fails() -> None:
    entries = [model_entry("one", Failing()), model_entry("two", Failing(kind="memory"))]
    with pytest.raises(InputError, match=r"one: ZeroDivisionError.*two: not enough memory"):
        compare(tastes(), entries, TEMPORAL)


@pytest.mark.parametrize("kind", ["interrupted", "interrupted in compiled code"])
def test_ctrl_c_keeps_the_finished_rows(kind: str) -> None:
    entries = [model_entry("sound", ByRow()), model_entry("stops", Failing(kind=kind)), model_entry("never", ByRow())]
    found = compare(tastes(), entries, TEMPORAL)
    assert not found.complete
    assert {result.name for result in found.results} == {*NAMES, "sound"}
    assert not found.failed
    assert found.as_json()["complete"] is False
    assert "stopped before its end" in render(contents.comparison_report(found))


def test_ctrl_c_before_the_first_row_is_passed_on() -> None:
    entries = [model_entry(name, Failing(kind="interrupted")) for name in NAMES]
    with pytest.raises(KeyboardInterrupt):
        compare(tastes(), entries, TEMPORAL)


def test_a_crash_of_the_process_costs_one_row() -> None:
    data = tastes()
    entries = [model_entry("crash", Failing(kind="crash")), model_entry("item_knn", ItemKNN(neighbours=3))]
    found = compare(data, entries, TEMPORAL, isolate=True)
    assert found.failed == {"crash": "its process was ended by signal SIGSEGV"}
    alone = compare(data, entries[1:], TEMPORAL)
    for result in found.results:
        same = next(other for other in alone.results if other.name == result.name)
        assert result.evaluation.overall == same.evaluation.overall
    division = compare(data, [model_entry("division", Failing()), entries[1]], TEMPORAL, isolate=True)
    assert division.failed == {"division": "ZeroDivisionError: division by zero"}


def test_a_fit_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def estimated(data: Dataset, models: tuple[object, ...]) -> Estimate:
        large = any(isinstance(model, ItemKNN) for model in models)
        return Estimate(data=1, model=5_000_000_000 if large else 1, free=4_000_000_000)

    built: list[str] = []

    def build(train: Dataset, rng: Generator) -> object:
        built.append("large")
        raise AssertionError

    monkeypatch.setattr(compare_file, "training_memory", estimated)
    monkeypatch.setattr(tune_file, "training_memory", estimated)
    large = Entry("large", build, {}, components=(ItemKNN(),))  # type: ignore[arg-type]
    found = compare(tastes(), [large, model_entry("sound", ByRow())], TEMPORAL)
    assert "large: too large for this machine: memory needed about 5.0 GB" in found.failed["large"]
    assert not built
    with pytest.raises(InputError, match=r"all trials failed.*5\.0 GB"):
        tune(tastes(), ItemKNN(), {"neighbours": [3]}, TEMPORAL, metric="ndcg@10")


@dataclass
class Diverging(ByRow):
    """Fails, or predicts no number, for large ratings."""

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        if self.rating > 100:
            raise FloatingPointError("diverged")
        if self.rating == 7:
            raise KeyboardInterrupt
        return super().fit(data, rng=rng)

    def predict(self, queries: Queries, items: Rows) -> Scores:
        return np.full(items.shape, np.nan if self.rating > 50 else self.rating, np.float32)


def test_a_diverging_trial_is_a_row_of_the_search() -> None:
    seen: list[Tuning] = []
    space = {"rating": [200.0, 3.0, 60.0, 4.0]}
    found = tune(tastes(), Diverging(), space, TEMPORAL, metric="rmse", on_trial=seen.append)
    assert [trial.failure for trial in found.trials] == [
        "FloatingPointError: diverged",
        None,
        "rmse is undefined",
        None,
    ]
    assert found.best.hyperparameters["rating"] in (3.0, 4.0)
    assert found.complete
    assert found.test is not None
    head, rows = found.table()
    assert {len(row) for row in rows} == {len(head)}
    assert [row[1] for row in rows[2:]] == ["failed", "failed"]
    trials = json.loads(json.dumps(found.as_json(), allow_nan=False))["trials"]
    assert trials[0]["failure"] == "FloatingPointError: diverged"
    assert [len(so_far.trials) for so_far in seen] == [2, 3, 4]
    assert "rating 200.0 failed: FloatingPointError: diverged" in render(contents.tuning_report(found))


def test_drawn_trials_go_on_after_a_failure() -> None:
    found = tune(tastes(), Diverging(), {"rating": Range(1, 200)}, TEMPORAL, metric="rmse", trials=8)
    failures = [trial.failure is not None for trial in found.trials]
    assert len(failures) == 8
    assert 0 < sum(failures) < 8


def test_a_search_whose_trials_all_fail_names_the_causes() -> None:
    with pytest.raises(InputError, match=r"all trials failed: FloatingPointError: diverged \(rating=200.0\)"):
        tune(tastes(), Diverging(), {"rating": [200.0, 300.0]}, TEMPORAL, metric="rmse")


def test_ctrl_c_in_a_trial_or_in_the_test_keeps_the_trials() -> None:
    found = tune(tastes(), Diverging(), {"rating": [200.0, 3.0, 7.0]}, TEMPORAL, metric="rmse")
    assert [trial.hyperparameters["rating"] for trial in found.trials] == [200.0, 3.0]
    assert (found.complete, found.test) == (False, None)

    class StopsInTest(ByRow):
        fits = 0

        def fit(self, data: Dataset, *, rng: Generator) -> Self:
            StopsInTest.fits += 1
            if StopsInTest.fits == 3:
                raise KeyboardInterrupt
            return super().fit(data, rng=rng)

    found = tune(tastes(), StopsInTest(), {"rating": [3.0, 4.0]}, TEMPORAL, metric="rmse")
    assert len(found.trials) == 2
    assert (found.complete, found.test) == (False, None)


def test_a_failed_test_keeps_the_trials() -> None:
    class FailsInTest(ByRow):
        fits = 0

        def fit(self, data: Dataset, *, rng: Generator) -> Self:
            FailsInTest.fits += 1
            if FailsInTest.fits == 2:
                raise MemoryError
            return super().fit(data, rng=rng)

    found = tune(tastes(), FailsInTest(), {"rating": [3.0]}, TEMPORAL, metric="rmse")
    assert found.test_failure == "not enough memory"
    assert len(found.trials) == 1
    assert "not enough memory" in render(contents.tuning_report(found))
