"""`[[policy]]` tables of exposure: the components they become, beside rules and calibration, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.errors import InputError
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.following import counting
from pasand.reranking.exposure.expected_exposure import ExpectedExposure
from pasand.reranking.exposure.exposure_over_requests import ExposureOverRequests
from pasand.reranking.exposure.provider_exposure import ProviderExposure
from tests.logs import tastes

DATA = tastes()
EASE = default_recipe.of_model("ease", {})
C = """
[[policy]]
kind = "exposure"
name = "c over requests"
where = { group = "c" }
min_share = 0.5
horizon = 100
"""
A = C.replace("c over requests", "a over requests").replace('"c"', '"a"').replace("min_share = 0.5", "max_share = 0.3")
EACH = """
[[policy]]
kind = "exposure"
each = "group"
aim = "max-min"
"""
EXPECTED = C.replace('"exposure"', '"expected-exposure"').replace("horizon = 100", "seed = 3")
RULE = """
[[policy]]
name = "enough a"
where = { group = "a" }
min_share = 0.35
"""
CALIBRATION = """
[[policy]]
kind = "calibration"
attributes = ["group"]
"""


def stages_of(text: str) -> list[object]:
    return list(recipe.build(text).fit(DATA, seed=0).recommender.stages)


def test_tables_become_stages_in_front_of_rules_and_calibration() -> None:
    assembly = recipe.build(EASE + RULE + C + EACH + A).fit(DATA, seed=0)
    assert [name for name in assembly.components if name.startswith("policy")] == [
        "policy_providers", "policy_provider_exposure", "policy_exposure_groups", "policy_exposure_candidates",
        "policy_exposure", "policy_groups", "policy_candidates", "policy",
    ]  # fmt: skip
    each, groups, rules = assembly.recommender.stages
    assert isinstance(each, ProviderExposure)
    assert isinstance(groups, ExposureOverRequests)
    assert (each.last, each.aim, groups.last, groups.horizon) == (False, "max-min", False, 100)
    assert [rule.name for rule in groups.groups.rules] == ["c over requests", "a over requests"]
    assert rules is assembly.components["policy"]
    (alone,) = stages_of(EASE + C)
    assert isinstance(alone, ExposureOverRequests)
    assert alone.last
    (merit,) = stages_of(EASE + EACH.replace("max-min", "merit") + "ratio = 0.9")
    assert isinstance(merit, ProviderExposure)
    assert (merit.last, merit.ratio, merit.providers.share_of) == (True, 0.9, "merit")
    assert isinstance(stages_of(EASE + C + CALIBRATION)[0], ExposureOverRequests)


@pytest.mark.parametrize("beside", ["", RULE, CALIBRATION])
def test_shares_of_what_is_finally_shown(beside: str) -> None:
    recommender = recipe.build(EASE + C + beside).fit(DATA, seed=0).recommender
    stage, queries = recommender.stages[0], DATA.queries(np.arange(60, dtype=np.int32), k=5)
    assert isinstance(stage, ExposureOverRequests)
    shown = []
    with counting(recommender):
        for _ in range(3):
            for b in range(60):
                shown.append(recommender(queries.take(np.array([b]))).items[0])
        share = float(np.mean(np.array(shown) % 3 == 2))
        assert stage.shares[0] == pytest.approx(share)
    if beside == RULE:
        for user, row in enumerate(shown[:60]):
            unseen = np.setdiff1d(np.arange(0, 30, 3), DATA.item[DATA.user == user])
            assert (row % 3 == 0).sum() >= min(2, len(unseen))
    assert share >= (0.49 if not beside else 0.45)


def test_evaluations_count_in_ledgers_of_their_own(tmp_path: Path) -> None:
    assembly = recipe.build(EASE + C).fit(DATA, seed=0)
    bundle.write(tmp_path / "bundle", assembly, DATA, seed=0)
    recommender = bundle.read(tmp_path / "bundle").assembly.recommender
    stage = recommender.stages[0]
    assert isinstance(stage, ExposureOverRequests)
    split = LeaveLastOut().split(DATA)
    results = [evaluate(recommender, split, ["ndcg@5"], rng=np.random.default_rng(0)) for _ in range(2)]
    assert results[0].overall == results[1].overall
    assert stage.ledger.slots == 0


def test_the_draw_of_a_bundle_is_that_of_the_recommender(tmp_path: Path) -> None:
    assembly = recipe.build(EASE + EXPECTED).fit(DATA, seed=0)
    (stage,) = assembly.recommender.stages
    assert isinstance(stage, ExpectedExposure)
    assert stage.seed == 3
    queries = replace(DATA.queries(np.arange(60, dtype=np.int32), k=5), time=np.arange(60, dtype=np.int64))
    bundle.write(tmp_path / "bundle", assembly, DATA, seed=0)
    found = bundle.read(tmp_path / "bundle").assembly.recommender(queries)
    np.testing.assert_array_equal(found.items, assembly.recommender(queries).items)
    assert found.propensity is not None
    weights = 1 / np.log2(np.arange(5) + 2.0)
    assert ((found.items % 3 == 2) @ weights).mean() / weights.sum() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (C.replace("horizon = 100", "first = 3"), "'first' is wrong: a table of kind exposure has no such field. Cure"),
        (C + A.replace("= 100", "= 50"), "horizon.*50 is wrong: another table of kind 'exposure' has horizon = 100"),
        (C.replace("min_share = 0.5", "min_share = 1.5"), "rule 'c over requests': min_share must be a share"),
        (EACH.replace("max-min", "max"), "'max' is wrong: no such aim. Cure: write one of 'catalogue', 'merit'"),
        (EACH + "ratio = 0.5", "'ratio' is wrong: the aim 'max-min' has no such field. Cure: remove it"),
        (EACH + "min_share = 0.5", "'min_share' is wrong: a table of kind exposure with each has no such field"),
        (EXPECTED + RULE, "'expected-exposure' is wrong: it draws lists .*, and 'rule' would change them"),
        (EXPECTED + C, "'expected-exposure' is wrong: it draws lists .*, and 'exposure' would change them"),
        (EXPECTED.replace("seed", "horizon"), "'horizon' is wrong: a table of kind expected-exposure has no such"),
    ],
)
def test_a_wrong_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.build(EASE + text)


def test_a_provider_feature_that_items_lack_is_refused() -> None:
    with pytest.raises(InputError, match="exposure of each provider: 'studio' is wrong: items have no such feature"):
        recipe.build(EASE + EACH.replace('"group"', '"studio"')).fit(DATA, seed=0)
