"""Calibration as a stage: the contract of stages, rules, recipes, bundles and notes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from pasand import bundle, default_recipe, recipe
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.explanation import explain
from pasand.metrics.miscalibration import kl_divergence
from pasand.reranking.calibration.attributes import Attributes
from pasand.reranking.calibration.calibration import Calibration
from pasand.reranking.rules.groups import Groups, Range, Rule
from pasand.reranking.rules.rules import Rules
from pasand.types import Candidates, Queries
from tests.logs import tastes

DATA = tastes()
RNG = np.random.default_rng(0)
GROUP = Attributes(["group"], shrinkage=0).fit(DATA, rng=RNG)
CALIBRATION = """
[[policy]]
kind = "calibration"
attributes = ["group"]
strength = 2.0
shrinkage = 20
"""
RULE = """
[[policy]]
name = "enough c"
where = { group = "c" }
min_share = 0.35
"""
EASE = default_recipe.of_model("ease", {})


def candidates_of(items: list[list[int]]) -> Candidates:
    rows = np.array(items, np.int32).reshape(len(items), -1)
    scores = np.where(rows >= 0, 9 - np.arange(rows.shape[1]), -np.inf).astype(np.float32)
    return Candidates(items=rows, scores=scores, propensity=(rows / 100).astype(np.float32))


def queries(n: int, k: int, histories: list[list[int]] | None = None) -> Queries:
    """Return queries of the first users or, with histories of equal length, of these histories without values."""
    found = DATA.queries(np.arange(n, dtype=np.int32), k=k)
    if histories is None:
        return found
    history = np.array(histories, np.int32)
    return replace(
        found,
        history=history,
        history_time=np.zeros(history.shape, np.int64),
        history_value=np.full(history.shape, np.nan, np.float32),
    )


def rules_of(*rules: Rule) -> Rules:
    return Rules(Groups(rules).fit(DATA, rng=RNG))


def test_lists_follow_the_history() -> None:
    """Items 0, 3, ... are of group a, 1, 4, ... of b; half of the history is of b, or none of it."""
    asked = queries(2, 4, [[0, 1], [0, 3]])
    given_candidates = candidates_of([[6, 9, 12, 15, 4, 7, 10, 2]] * 2)
    result = Calibration(GROUP, strength=2.0)(asked, given_candidates)
    assert result.items.tolist() == [[6, 9, 4, 7], [6, 9, 12, 15]]
    assert result.scores.tolist() == [[9, 8, 5, 4], [9, 8, 7, 6]]
    assert result.propensity is not None
    np.testing.assert_allclose(result.propensity[0], [0.06, 0.09, 0.04, 0.07])
    np.testing.assert_array_equal(
        Calibration(GROUP, strength=0.0)(asked, given_candidates).items, given_candidates.items[:, :4]
    )


def test_scale_and_offset_of_the_scores_do_not_matter() -> None:
    one = candidates_of([[6, 9, 12, 15, 4, 7, 10, 2]])
    other = replace(one, scores=(1000 * one.scores - 77).astype(np.float32))
    for strength in (0.05, 0.1, 0.2, 0.4):
        stage = Calibration(GROUP, strength=strength)
        asked = queries(1, 4, [[0, 1, 2]])
        np.testing.assert_array_equal(stage(asked, one).items, stage(asked, other).items)


def test_rules_come_first() -> None:
    """The history is of group a only, but a rule wants half of c."""
    rules = rules_of(
        Rule(name="c", where={"group": "c"}, min_share=0.5), Rule(name="b", where={"group": "b"}, max_share=0)
    )
    asked, given_candidates = queries(1, 4, [[0, 3]]), candidates_of([[2, 5, 8, 11, 1, 0, 3, 6]])
    stage = Calibration(GROUP, strength=5.0, rules=rules)
    assert stage(asked, given_candidates).items.tolist() == [[2, 5, 0, 3]]
    assert rules(asked, given_candidates).items.tolist() == [[2, 5, 8, 11]]
    few = stage(asked, candidates_of([[4, 1, 0, 3, -1]]))
    assert sorted(few.items[0].tolist()) == [0, 1, 3, 4]
    assert ["'c'" in note for note in stage.notes(asked, few)[0]] == [True, False]
    assert Calibration(GROUP).notes(asked, few) == [[]]


def test_caps_and_rules_of_the_user_hold_in_calibrated_lists() -> None:
    """The history is of group a only, and calibration would fill the list with it."""
    wish = Feature(kind="categorical", values=np.array([2, -1] * 30, np.int32), names=("a", "b", "c"))
    data = replace(DATA, user_features={"wish": wish})
    rules = [
        Rule(name="wish", where={"group": Range(user="wish")}, min_count=1),
        Rule(name="two of each", each="group", max_count=2),
    ]
    stage = Calibration(GROUP, strength=9.0, rules=Rules(Groups(rules).fit(data, rng=RNG)))
    asked, given_candidates = queries(2, 4, [[0, 3]] * 2), candidates_of([[1, 4, 7, 10, 0, 3, 6, 2]] * 2)
    asked = replace(asked, features={"wish": np.array([2, -1], np.int32)})
    assert Calibration(GROUP, strength=9.0)(asked, given_candidates).items.tolist() == [[1, 0, 3, 6]] * 2
    result = stage(asked, given_candidates)
    assert result.items.tolist() == [[1, 0, 3, 2], [1, 4, 0, 3]]
    assert stage.notes(asked, result)[0] == []
    assert [by for by, _ in stage.without(asked, given_candidates)] == [
        "rule `wish`",
        "rule `two of each`",
        "calibration",
    ]


@given(st.data())
@settings(max_examples=100)
def test_the_contract_of_stages(data: st.DataObject) -> None:
    """No item twice, nothing new, padding last, k respected, scores do not rise; rules hold as without calibration."""
    rules = rules_of(
        Rule(name="1", where={"group": "c"}, min_share=data.draw(st.sampled_from([0.0, 0.3, 1.0]))),
        Rule(name="2", where={"group": ["a", "b"]}, max_count=data.draw(st.integers(0, 6))),
    )
    lists = data.draw(st.lists(st.lists(st.integers(0, 31), unique=True, max_size=9), min_size=1, max_size=4))
    width = max(map(len, lists))
    candidates = candidates_of([one + [-1] * (width - len(one)) for one in lists])
    if width > 2 and data.draw(st.booleans()):
        candidates.scores[:, width - 2 :] = -np.inf
    asked = queries(len(lists), data.draw(st.integers(1, 8)))
    strength = data.draw(st.sampled_from([0.0, 0.1, 3.0, 1e6]))
    for stage in (Calibration(GROUP, strength=strength), Calibration(GROUP, strength=strength, rules=rules)):
        result = stage(asked, candidates)
        for one, items, scores in zip(lists, result.items.tolist(), result.scores, strict=True):
            kept = [item for item in items if item >= 0]
            assert items == kept + [-1] * (len(items) - len(kept))
            assert len(kept) == len(set(kept)) == min(asked.k, len(one))
            assert set(kept) <= set(one)
            assert not (np.diff(scores[np.isfinite(scores)]) > 0).any()
        np.testing.assert_array_equal(stage(asked, candidates).items, result.items)
    broken = [{note.split("'")[1] for note in notes} for notes in rules.notes(asked, result)]
    without = [{note.split("'")[1] for note in notes} for notes in rules.notes(asked, rules(asked, candidates))]
    assert broken == without


def test_a_batch_is_its_queries_one_by_one() -> None:
    asked, stage = queries(20, 5), Calibration(GROUP, strength=1.0)
    drawn = np.random.default_rng(1).permuted(np.tile(np.arange(30), (20, 1)), axis=1)[:, :12]
    candidates = candidates_of(drawn.tolist())
    together = stage(asked, candidates).items
    for b in range(20):
        one = Candidates(items=candidates.items[b : b + 1], scores=candidates.scores[b : b + 1])
        np.testing.assert_array_equal(stage(asked.take(np.array([b])), one).items[0], together[b])


def test_rules_on_prefixes_are_refused_by_name() -> None:
    one = Rule(name="top", where={"group": "c"}, min_share=0.5)
    changes: dict[str, Any] = {"first": 3, "every_prefix": True, "significance": 0.1, "weight": "log2"}
    for field, value in changes.items():
        rule = structs.replace(one, **{field: value})
        with pytest.raises(ValueError, match=f"rule 'top' has {field}: remove {field} from it"):
            Calibration(GROUP, rules=rules_of(rule))
    for strength in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="strength must be at least 0 and finite"):
            Calibration(GROUP, strength=strength)


# recipes


@pytest.fixture(scope="module")
def fitted() -> recipe.Assembly:
    return recipe.build(EASE + RULE + CALIBRATION).fit(DATA, seed=0)


def test_a_recipe_calibrates_within_rules(fitted: recipe.Assembly, tmp_path: Path) -> None:
    assert [name for name in fitted.components if name.startswith("policy")] == [
        "policy_groups", "policy_candidates", "policy", "policy_attributes", "policy_calibration"
    ]  # fmt: skip
    asked = queries(60, 8)
    lists = fitted.recommender(asked).items
    only_rules = recipe.build(EASE + RULE).fit(DATA, seed=0).recommender(asked).items
    n_c = [(items % 3 == 2).sum(axis=1) for items in (lists, only_rules)]  # fewer than 3 where most are seen
    assert (n_c[0] >= np.minimum(3, n_c[1])).all()
    target = fitted.components["policy_attributes"].target(asked)
    before, after = (kl_divergence(target, GROUP.shown(items)).mean() for items in (only_rules, lists))
    assert after < before
    bundle.write(tmp_path, fitted, DATA, seed=0)
    read = bundle.read(tmp_path)
    np.testing.assert_array_equal(read.assembly.recommender(asked).items, lists)
    feature = replace(DATA.item_features["group"], values=np.array([2], np.int32))
    added = read.add_items(["new c"], {"group": feature})
    assert added.assembly.components["policy_attributes"].shown(np.array([[30]], np.int32)).tolist() == [[0, 0, 1]]


def test_a_recipe_calibrates_without_rules() -> None:
    assembly = recipe.build(EASE + CALIBRATION).fit(DATA, seed=0)
    assert assembly.recommender.n_candidates == 200
    asked = queries(60, 8)
    target = assembly.components["policy_attributes"].target(asked)
    free = recipe.build(EASE).fit(DATA, seed=0).recommender(asked).items
    lists = assembly.recommender(asked).items
    assert kl_divergence(target, GROUP.shown(lists)).mean() < kl_divergence(target, GROUP.shown(free)).mean()
    one = queries(1, 8)
    steps = explain(assembly.recommender, one, int(lists[0, -1]), assembly.components).steps
    assert steps[-1].name == "policy_calibration"
    text = EASE + CALIBRATION
    assert recipe.tables(recipe.dump(recipe.tables(text))) == recipe.tables(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'kind = "calibration"',
            'kind = "calibrated"',
            "'calibrated' is wrong: no such kind. Cure: write one of 'rule'",
        ),
        ('attributes = ["group"]', "", r'a calibration without attributes. Cure: .* attributes = \["genres"\]'),
        ("shrinkage = 20", "shrink = 20", "'shrink' is wrong: a calibration has no such field. Cure: use one of: attr"),
        ("shrinkage = 20", "shrinkage = -2", "shrinkage must be at least 0 and finite, got -2"),
        ("strength = 2.0", "strength = -2.0", "strength must be at least 0 and finite, got -2"),
        ("min_share = 0.35", "min_share = 0.35\nfirst = 5", "rule 'enough c' has first: remove first from it"),
        (CALIBRATION, CALIBRATION + CALIBRATION, "one calibration. Cure: name all features in the attributes"),
    ],
)
def test_a_wrong_calibration_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.build((EASE + RULE + CALIBRATION).replace(old, new))


def test_an_attribute_that_items_lack_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"calibration: 'genre' is wrong: items have no such feature\. Cure: use one of: group"
    ):
        recipe.build((EASE + CALIBRATION).replace('["group"]', '["genre"]')).fit(DATA, seed=0)
