"""Verdicts find a planted difference, keep their level without one, and are shown with difference and p."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.evaluation.compare import baselines, compare, model_entry
from pasand.evaluation.intervals import Interval
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.report import contents
from pasand.evaluation.report.html import render
from pasand.evaluation.significance import LEVEL, PairedTest, Values, paired_comparisons
from tests.evaluation.logs import ByRow
from tests.evaluation.test_compare import tastes


def planted(effect: float, seed: int, n: int = 150) -> dict[str, Values]:
    """Return NDCG-like values of a reference and of a model that is better by `effect` on average."""
    rng = np.random.default_rng(seed)
    user = rng.beta(1, 3, n)
    noise = rng.normal(0, 0.1, (2, n))
    return {"reference": user + noise[0], "model": user + noise[1] + effect}


@pytest.mark.parametrize(("effect", "verdict"), [(0.1, "better"), (-0.1, "worse")])
def test_a_planted_difference_is_found(effect: float, verdict: str) -> None:
    for seed in range(10):
        found = paired_comparisons(planted(effect, seed), {"model": "reference"}, seed=0)["model"]
        assert (found.verdict, found.reference, found.test.n_users) == (verdict, "reference", 150)
        assert abs(found.difference.mean - effect) < 0.05
        assert found.difference.low * found.difference.high > 0
        assert found.p_holm == found.test.permutation < LEVEL


def test_without_a_difference_it_is_not_shown() -> None:
    values = {f"{name} {i}": column for i in range(100) for name, column in planted(0, i).items()}
    alone = [
        paired_comparisons(values, {f"model {i}": f"reference {i}"}, seed=i)[f"model {i}"].verdict for i in range(100)
    ]
    assert alone.count("not shown") >= 88  # 95 are expected, with a standard deviation of 2.2
    together = paired_comparisons(values, {f"model {i}": f"reference {i}" for i in range(100)}, seed=0)
    assert sum(found.verdict != "not shown" for found in together.values()) <= 1  # Holm: none in 95 % of the cases


def test_what_cannot_be_tested_is_not_shown() -> None:
    for values in ([0.5], []):
        one = np.array(values)
        found = paired_comparisons({"a": one + 1, "b": one}, {"a": "b"}, seed=0)["a"]
        assert (found.verdict, found.p_text) == ("not shown", "no test")
    same = np.random.default_rng(0).random(20)
    found = paired_comparisons({"a": same, "b": same}, {"a": "b"}, seed=0)["a"]
    assert (found.verdict, found.p_holm, found.difference.span) == ("not shown", 1, (0, 0, 0))


def test_known_pairs_are_not_tested_again() -> None:
    values = planted(0.05, 0) | {"other": planted(0.02, 0)["model"]}
    references = {"model": "reference", "other": "reference"}
    known: dict[tuple[str, str], tuple[Interval, PairedTest]] = {}
    first = paired_comparisons(values, {"model": "reference"}, seed=3, known=known)
    both = paired_comparisons(values, references, seed=3, known=known)
    assert both == paired_comparisons(values, references, seed=3)
    assert both["model"].test is first["model"].test


def test_models_are_compared_with_the_best_baseline_in_every_output() -> None:
    entries = [model_entry("forwards", ByRow()), model_entry("backwards", ByRow(backwards=True))]
    found = compare(tastes(), entries, Temporal(), ks=(2,))
    names = {baseline.name for baseline in baselines()}
    assert set(found.baselines) == names
    means = {result.name: result.evaluation.overall["ndcg@2"].mean for result in found.results}
    assert means[found.best_baseline] == max(means[name] for name in names)
    output, page = found.as_json(), render(contents.comparison_report(found))
    head, rows = found.table()
    assert "which favours it" in output["rules"]["against popularity"]
    assert "which favours it" in page
    assert (output["best_baseline"], set(output["baselines"])) == (found.best_baseline, names)
    for result, model, row in zip(found.results, output["models"], rows, strict=True):
        compared = result.against_popularity
        assert (compared is None) == (result.name in names)
        if compared is None:
            assert (model["against_popularity"], row[head.index("against popularity")]) == (None, "baseline")
            continue
        shown = model["against_popularity"]
        assert (shown["reference"], shown["verdict"]) == (found.best_baseline, compared.verdict)
        expected = means[result.name] - means[found.best_baseline]
        assert shown["difference"]["mean"] == pytest.approx(expected)
        assert compared.p_text in page
        assert compared.interval_text in page
        assert row[head.index("against popularity")] == compared.verdict
