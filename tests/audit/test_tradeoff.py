"""The tradeoff of a policy: dials, grids, points against lists without a table, what is free, the page, refusals."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle as bundles
from pasand import recipe
from pasand.audit import tradeoff_page
from pasand.audit.dials import dials, turned, with_value
from pasand.audit.estimates import compared, corrected, mean_of
from pasand.audit.later_events import later_events
from pasand.audit.lists import recommend
from pasand.audit.tradeoff import Curve, Point, Tradeoff, tradeoff
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.simulation.world import World

PLAIN = """
[popular]
class = "pasand.models.classical.popularity:Popularity"

[from_popular]
class = "pasand.stages.retrieval:FromModel"
model = "@popular"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@from_popular"
"""
SOUTH = '\n[[policy]]\nname = "south"\nwhere = { studio_region = "south" }\nmax_share = 0.3\n'
NEW = '\n[[policy]]\nname = "new"\nwhere = { studio_since = { max_age_days = 60 } }\nmin_count = 1\nfirst = 4\n'
MMR = '\n[[policy]]\nkind = "mmr"\nfeatures = ["genres"]\nstrength = 0.5\n'
DPP = '\n[[policy]]\nkind = "dpp"\nfeatures = ["genres"]\n'
CALIBRATION = '\n[[policy]]\nkind = "calibration"\nattributes = ["language"]\n'
STAKES = '\n[[policy]]\nkind = "stakeholders"\nplatform = "price"\nweights = { platform = 0.3 }\n'


@pytest.fixture(scope="module")
def log() -> Dataset:
    return World(n_users=120, days=40, visits=1, studios=8).dataset(impressions=False)


def fitted(log: Dataset, policy: str, path: Path) -> Path:
    train = log.before(int(log.time[int(0.8 * len(log))]))
    bundles.write(path, recipe.build(PLAIN + policy).fit(train, seed=0), train, seed=0)
    return path


@pytest.fixture(scope="module")
def folder(log: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(log, STAKES + MMR + SOUTH + CALIBRATION, tmp_path_factory.mktemp("tradeoff") / "bundle")


@pytest.fixture(scope="module")
def done(folder: Path, log: Dataset) -> Tradeoff:
    return tradeoff(bundles.read(folder), log, user_groups=["gender"], item_groups=["studio_region"], k=10)


def test_each_table_has_a_dial() -> None:
    found = dials(PLAIN + SOUTH + MMR + NEW + DPP + MMR + CALIBRATION)
    assert [(dial.name, dial.field, dial.current) for dial in found] == [
        ("south", "max_share", 0.3),
        ("mmr", "strength", 0.5),
        ("new", "min_count", 1),
        ("dpp", "strength", 0.1),
        ("mmr 2", "strength", 0.5),
        ("calibration", "strength", 0.2),
    ]
    south, mmr, new, *_ = found
    assert south.grid(10) == [0.8, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert mmr.grid(10) == [0.125, 0.25, 0.5, 1, 2]
    assert new.grid(10) == [1, 2]
    assert south.checked([0.1, 0.9]) == [0.9, 0.1]
    assert dials(PLAIN) == []


def test_tables_without_a_strength_have_no_dial_and_do_not_hide_those_of_rules() -> None:
    exposure = '\n[[policy]]\nkind = "exposure"\nname = "new"\nwhere = { studio_region = "north" }\nmin_share = 0.2\n'
    explore = '\n[[policy]]\nkind = "explore"\nslots = [3]\nwhere = { studio_region = "west" }\n'
    assert [dial.name for dial in dials(PLAIN + exposure + SOUTH + explore)] == ["south"]


def test_a_table_is_changed_or_left_out() -> None:
    text = PLAIN + SOUTH + MMR + NEW
    south, mmr, new = dials(text)
    tables = tomllib.loads(with_value(text, mmr, 2.0))
    assert tables["policy_mmr"]["strength"] == 2.0
    assert [rule["name"] for rule in tables["policy_groups"]["rules"]] == ["south", "new"]
    assert "policy_mmr" not in tomllib.loads(with_value(text, mmr, None))
    assert tomllib.loads(with_value(text, new, 2.0))["policy_groups"]["rules"][1]["min_count"] == 2
    assert "policy" not in tomllib.loads(with_value(PLAIN + SOUTH, south, None))


def test_points_are_the_lists_of_a_recipe_with_that_value(folder: Path, log: Dataset, done: Tradeoff) -> None:
    bundle, split, _ = later_events(bundles.read(folder), log, "log")
    text = PLAIN + STAKES + MMR.replace("0.5", "2.0") + SOUTH + CALIBRATION
    again = recipe.build(text).fit(split.train, seed=0)
    curve = next(curve for curve in done.curves if curve.dial.name == "mmr")
    expected = recommend(again.recommender, split, ["ndcg@10"], 10)
    point = next(point for point in curve.points if point.value == 2.0)
    assert point.loss.value.mean == pytest.approx(np.nanmean(expected.metrics["ndcg@10"]))
    without = turned(bundle, curve.dial, None, split.train)
    assert "policy_mmr" not in without.components
    assert without.components["popular"] is bundle.assembly.components["popular"]
    value = recommend(without.recommender, split, ["ndcg@10"], 10).metrics["ndcg@10"]
    assert point.loss.reference.mean == pytest.approx(np.nanmean(value))


def test_measures_move_the_way_they_are_meant_to(done: Tradeoff) -> None:
    for curve in done.curves:
        (own, *_) = [m for m, measure in enumerate(curve.measures) if measure.dial == curve.dial.name]
        values = [point.fairness[own].value.mean for point in curve.points]
        reference = curve.points[0].fairness[own].reference.mean
        sign = 1 if curve.measures[own].fairer == "higher" else -1
        assert sign * (values[-1] - reference) > 0, curve.dial.name
    assert [curve.dial.name for curve in done.curves] == ["stakeholders", "mmr", "south", "calibration"]
    names = [measure.name for measure in done.curves[0].measures]
    assert names[-2:] == ["exposure away from merit by studio_region", "ndcg@10 of the worst gender"]
    assert done.n_tests == sum(len(curve.points) for curve in done.curves)


def points(losses: list[float], spread: float) -> list[Point]:
    """Return points of 200 users whose metric is lower by a loss, with noise of that spread."""
    rng = np.random.default_rng(0)
    before, made = rng.random(200), []
    for loss in losses:
        value = before - loss + spread * rng.normal(size=200)
        made.append(compared(mean_of(value), mean_of(before), measure="ndcg@10", reference_name="without x"))
    return [
        Point(value=float(i), current=False, accuracy=[one], fairness=[]) for i, one in enumerate(corrected(made), 1)
    ]


def curve_of(losses: list[float], spread: float = 0.1) -> Curve:
    (dial,) = dials(PLAIN + MMR)
    return Curve(dial=dial, points=points(losses, spread), measures=[])


def test_what_is_free_is_below_the_first_loss() -> None:
    curve = curve_of([0.0, 0.0, 0.2, 0.0])
    assert curve.free is curve.points[1]
    assert "mmr: strength 2 is free: no loss of ndcg@10 (0." in curve.sentence
    loss = curve.points[1].loss
    assert f"a loss of {loss.detectable:.2g} would have been found in 80 of 100" in curve.sentence
    assert 0.02 < loss.detectable < 0.04  # (t(1 - .05 / 4 / 2) + t(.8)) x .1 / sqrt(200)
    none = curve_of([0.3, 0.4])
    assert none.free is None
    assert none.sentence == "mmr: strength 1 already costs ndcg@10; nothing is free."
    same = curve_of([0.0], 0.0)
    assert (same.free, same.sentence) == (None, "mmr had no effect: lists are the same at every value.")


def test_json_and_page(done: Tradeoff) -> None:
    found = json.loads(json.dumps(done.as_json(), allow_nan=False))
    (mmr,) = [curve for curve in found["curves"] if curve["policy"] == "mmr"]
    assert [point["value"] for point in mmr["points"]] == [0.125, 0.25, 0.5, 1, 2]
    assert mmr["points"][0]["accuracy"][0]["measure"] == "ndcg@10"
    page = tradeoff_page.render(done)
    assert page.count("<svg") == page.count("</svg>") > 4
    for curve in done.curves:
        assert len(tradeoff_page.curve_charts(curve)) > 1
        assert curve.sentence.replace("'", "&#39;") in page


def test_a_table_that_does_nothing_costs_nothing(log: Dataset, tmp_path: Path) -> None:
    """Every list may be of the south only, so all points equal the lists without the rule, to the bit."""
    everything = SOUTH.replace("0.3", "1.0")
    found = tradeoff(
        bundles.read(fitted(log, everything, tmp_path / "b")), log, strengths=[1.0], item_groups=["language"]
    )
    (curve,) = found.curves
    (point,) = curve.points
    assert (point.loss.difference.mean, point.loss.p_holm, point.current) == (0.0, 1.0, True)
    assert all(finding.difference.mean == 0 or math.isnan(finding.difference.mean) for finding in point.fairness)


def test_a_rule_whose_group_has_no_candidates_is_not_free(log: Dataset, tmp_path: Path) -> None:
    none = '\n[[policy]]\nname = "new"\nwhere = { studio_since = { max_age_days = 0.001 } }\nmin_share = 0.2\n'
    path = fitted(log, none, tmp_path / "b")
    (curve,) = tradeoff(bundles.read(path), log, strengths=[0.2, 0.4], item_groups=["language"]).curves
    assert curve.sentence == "new had no effect: its group has no candidates."
    assert curve.as_json()["free"] is None


@pytest.mark.parametrize(
    ("policies", "strengths", "message"),
    [
        (["east"], [], "--policy: 'east' is wrong: .* Cure: use one of: stakeholders, mmr, south, calibration"),
        (
            [],
            [0.1],
            "--strengths: they are values of one table, and the policy has 4. Cure: name it: --policy stakeholders",
        ),
        (["mmr"], [-1.0], "--strengths: -1.0 is wrong: strength of 'mmr' must be a number of at least 0 and finite"),
        (
            ["mmr"],
            [math.inf],
            "strength of 'mmr' must be a number of at least 0 and finite. Cure: write --strengths 0.5",
        ),
        (["south"], [0.2, 1.5], "1.5 is wrong: max_share of 'south' must be a number of at least 0 and at most 1"),
    ],
)
def test_wrong_requests_are_refused(
    folder: Path, log: Dataset, policies: list[str], strengths: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tradeoff(bundles.read(folder), log, policies=policies, strengths=strengths)


def test_a_recipe_without_policy_is_refused(log: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bundle: its recipe has no \[\[policy\]\] with a strength"):
        tradeoff(bundles.read(fitted(log, "", tmp_path / "b")), log)
