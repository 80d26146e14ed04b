"""Exploration: fixed slots never move, draws have the logged probabilities, and rules hold whatever is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from scipy.stats import chisquare

from pasand import bundle, default_recipe, recipe
from pasand.contracts import Notes
from pasand.errors import InputError
from pasand.reranking.explore import Method
from pasand.types import Array, Candidates, Queries
from tests.logs import tastes

POPULAR = default_recipe.of_model("ease", {})
LOG = tastes()
RULES = {
    "set": '\n[[policy]]\nname = "a"\nwhere = { group = "a" }\nmin_count = 3\nmax_count = 4\n',
    "prefix": '\n[[policy]]\nname = "a"\nwhere = { group = "a" }\nmax_share = 0.5\nevery_prefix = true\n',
    "values": '\n[[policy]]\nname = "each"\neach = "group"\nmax_count = 4\n',
}


def built(policy: str) -> recipe.Assembly:
    return recipe.build(POPULAR + policy).fit(LOG, seed=0)


def queries(n: int, k: int = 6) -> Queries:
    """Return n queries of one user at different times."""
    time = np.arange(2_000_000_000, 2_000_000_000 + n)
    return LOG.queries(np.zeros(n, np.int32), k=k, time=time)


@pytest.mark.parametrize("method", get_args(Method))
def test_draws_have_the_probabilities_that_are_logged(method: str) -> None:
    explored = built(f'\n[[policy]]\nkind = "explore"\nslots = [2, 5]\nmethod = "{method}"\npool = 6\nuniform = 0.4\n')
    plain = built("").recommender(queries(1)).items[0]
    found = explored.recommender(queries(4_000))
    assert found.propensity is not None
    fixed = [0, 2, 3, 5]
    assert (found.items[:, fixed] == plain[fixed]).all()
    assert (found.propensity[:, fixed] == 1).all()
    assert found.propensity.dtype == np.float64
    first = {int(item): p for item, p in zip(found.items[:, 1], found.propensity[:, 1], strict=True)}
    assert sum(first.values()) == pytest.approx(1)
    assert min(first.values()) >= 0.4 / 6 - 1e-12
    counts = np.array([(found.items[:, 1] == item).sum() for item in first])
    assert chisquare(counts, np.array(list(first.values())) * counts.sum()).pvalue > 1e-3
    pairs: dict[tuple[int, int], float] = {}
    for items, p in zip(found.items[:, [1, 4]].tolist(), found.propensity[:, [1, 4]].prod(axis=1), strict=True):
        pairs[items[0], items[1]] = p
    assert sum(pairs.values()) == pytest.approx(1, abs=0.02)
    seen = np.array([((found.items[:, 1] == a) & (found.items[:, 4] == b)).sum() for a, b in pairs])
    expected = np.array(list(pairs.values()))
    assert chisquare(seen, expected / expected.sum() * seen.sum()).pvalue > 1e-3
    assert not np.isin(found.items[:, [1, 4]], plain).any()
    assert (np.sort(found.items, axis=1)[:, 1:] != np.sort(found.items, axis=1)[:, :-1]).all()


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("rules", ["", RULES["set"]], ids=["free", "rules"])
def test_slot_propensities_are_the_frequencies_of_an_item_in_its_slot(rules: str, method: str) -> None:
    table = f'\n[[policy]]\nkind = "explore"\nslots = [1, 4]\npool = 6\nuniform = 0.4\nmethod = "{method}"\n'
    explored = built(rules + table)
    found = explored.recommender(queries(4_000))
    assert found.slot_propensity is not None
    assert found.propensity is not None
    np.testing.assert_array_equal(found.slot_propensity[:, 0], found.propensity[:, 0])
    assert (found.slot_propensity[:, [1, 2, 4, 5]] == 1).all()
    alone = dict(zip(found.items[:, 3].tolist(), found.slot_propensity[:, 3].tolist(), strict=True))
    assert sum(alone.values()) == pytest.approx(1)
    counts = np.array([(found.items[:, 3] == item).sum() for item in alone])
    assert chisquare(counts, np.array(list(alone.values())) * counts.sum()).pvalue > 1e-3
    stage: Any = explored.components["policy_explore"]
    *_, (_, before), (_, _) = explored.recommender.steps(asked := explored.recommender.narrowed(queries(50)))
    again = stage.slot_probabilities(asked, before, found.items[:50])
    np.testing.assert_allclose(again, found.slot_propensity[:50], rtol=1e-12)
    other = found.items[:50].copy()
    other[:, 1], other[:, 3] = other[:, 0], other[:, 2]
    assert (stage.slot_probabilities(asked, before, other)[:, [1, 3]] == 0).all()


def test_the_pool_is_that_of_the_list_whether_its_candidates_are_kept_or_not() -> None:
    explored = built('\n[[policy]]\nkind = "explore"\nslots = [2]\npool = 6\n')
    kept: Any = explored.components["policy_retrieved"]
    asked = explored.recommender.narrowed(queries(10))
    found = kept(replace(asked, k=200))
    assert kept.again(asked, 12) is found
    assert kept.again(replace(asked, time=asked.time + 1), 12) is not found
    np.testing.assert_array_equal(kept.again(replace(asked, time=asked.time.copy()), 12).items, found.items)


@pytest.mark.parametrize("method", get_args(Method))
def test_a_retry_shows_the_same_list_in_any_batch(method: str) -> None:
    table = f'\n[[policy]]\nkind = "explore"\nslots = [1, 3]\npool = 8\nuniform = 1.0\nmethod = "{method}"\n'
    recommender = built(table).recommender
    together, again = recommender(queries(20)), recommender(queries(20))
    np.testing.assert_array_equal(together.items, again.items)
    alone = recommender(queries(20).take(np.array([7])))
    np.testing.assert_array_equal(alone.items[0], together.items[7])
    assert len({tuple(row) for row in together.items.tolist()}) > 10


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_rules_hold_for_all_that_can_be_drawn(rules: str) -> None:
    explored = built(rules + '\n[[policy]]\nkind = "explore"\nslots = [1, 4, 6]\nuniform = 1.0\npool = 30\n')
    stage: Any = explored.components["policy"]
    some = LOG.queries(np.arange(LOG.n_users, dtype=np.int32), k=6)
    before = stage.broken(some, built(rules).recommender(some))  # where too few items of the group are unseen
    assert sum(map(bool, before)) < len(before) / 2
    for hour in range(6):
        asked = replace(some, time=some.time + hour)
        found = explored.recommender(asked)
        assert stage.broken(asked, found) == before
        assert found.propensity is not None
        assert (found.propensity[found.items >= 0] > 0).all()


def test_what_a_rule_cannot_keep_is_noted_once() -> None:
    explored = built(
        '\n[[policy]]\nname = "many"\nwhere = { group = "a" }\nmin_count = 6\n[[policy]]\nkind = "explore"\n'
    )
    asked = queries(1)
    found = explored.recommender(asked)
    notes = [
        note
        for stage in explored.recommender.stages
        if isinstance(stage, Notes)
        for note in stage.notes(asked, found)[0]
    ]
    assert len(notes) == 1


def test_only_the_group_is_explored() -> None:
    explored = built('\n[[policy]]\nkind = "explore"\nslots = [2]\nuniform = 1.0\nwhere = { group = "b" }\n')
    found = explored.recommender(queries(50))
    feature = LOG.item_features["group"]
    assert found.propensity is not None
    drawn = found.items[found.propensity < 1]
    assert len(drawn)
    assert {feature.show(int(item)) for item in drawn} == {"b"}


def test_short_lists_and_empty_pools_keep_their_items() -> None:
    stage: Any = built('\n[[policy]]\nkind = "explore"\nslots = [2, 5]\n').components["policy_explore"]
    one = queries(1, k=3)
    items = np.array([[0, 1, -1]], np.int32)
    short = stage(one, Candidates(items=items, scores=np.array([[2, 1, -np.inf]], np.float32)))
    assert short.items[0, 0] == 0
    assert short.items[0, 2] == -1
    assert np.isnan(short.propensity[0, 2])
    none = stage(
        replace(one, allowed=np.zeros((1, LOG.n_items), np.bool_)), Candidates(items=items, scores=items * 0.0)
    )
    assert none.items.tolist() == items.tolist()
    assert none.propensity[0, :2].tolist() == [1, 1]


@pytest.mark.parametrize(
    "fields", ["", 'method = "thompson"\nfeatures = ["group"]\nstrength = 0.5', 'method = "linucb"\nshrinkage = 5.0']
)
def test_a_bundle_explores_as_the_recipe_does(fields: str, tmp_path: Path) -> None:
    explored = built(f'{RULES["set"]}\n[[policy]]\nkind = "explore"\nslots = [2]\n{fields}\n')
    bundle.write(tmp_path / "bundle", explored, LOG, seed=0)
    before, after = (
        one(queries(30)) for one in (explored.recommender, bundle.read(tmp_path / "bundle").assembly.recommender)
    )
    np.testing.assert_array_equal(before.items, after.items)
    np.testing.assert_array_equal(before.propensity, after.propensity)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("slots = [0]", "slots must be different positions from 1"),
        ("slots = [2, 2]", "slots must be different positions from 1"),
        ("uniform = 0.0", "uniform must be above 0"),
        ("pool = 1", "pool must be at least 2"),
        ("temperature = -1.0", "temperature must be positive"),
        ('method = "ucb"', "ucb"),
        ('method = "thompson"\nstrength = 0.0', "strength must be positive"),
        ('method = "thompson"\nshrinkage = 0.0', "shrinkage must be positive"),
        ('method = "linucb"\nhistory_length = 0', "history_length must be positive"),
        ("shrinkage = 3.0", "of the uncertainty, which this method does not have"),
        ('method = "thompson"\nuncertainty = "@popular"', "must be an Uncertainty, got Popularity"),
        ("speed = 3", "speed"),
        ('\n[[policy]]\nkind = "explore"', "a policy has one exploration"),
    ],
)
def test_wrong_tables(fields: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.build(f'{POPULAR}\n[[policy]]\nkind = "explore"\n{fields}\n')


@pytest.mark.parametrize("method", ["uniform", "softmax", "greedy"])
@pytest.mark.parametrize("rules", ["", RULES["set"]], ids=["free", "rules"])
def test_a_batch_is_drawn_as_one_list_after_the_other(rules: str, method: str) -> None:
    explored = built(f'{rules}\n[[policy]]\nkind = "explore"\nslots = [1, 4, 6]\npool = 6\nmethod = "{method}"\n')
    stage: Any = explored.components["policy_explore"]
    some = LOG.queries(np.arange(LOG.n_users, dtype=np.int32), k=6)
    asked = explored.recommender.narrowed(replace(some, draw=np.arange(-1, LOG.n_users - 1)))
    *_, (_, before), (_, found) = explored.recommender.steps(asked)
    items = before.top(6).items.copy()
    items[3, 4:], items[4, 2:] = -1, -1
    once: list[Array] = [items.copy(), np.ones(items.shape), np.ones(items.shape)]
    each = [part.copy() for part in once]
    assert stage._drawn_at_once(asked, *once)
    stage._drawn_one_by_one(asked, *each)
    np.testing.assert_array_equal(once[0], each[0])
    np.testing.assert_array_equal(np.delete(once[0], [3, 4], axis=0), np.delete(found.items, [3, 4], axis=0))
    np.testing.assert_allclose(once[1], each[1], rtol=1e-12)
    np.testing.assert_allclose(once[2], each[2], rtol=1e-9)
