"""The contract of stages for every kind of `[[policy]]` that is one stage; a new kind is found and needs a table."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand import bundle, default_recipe, recipe
from pasand.contracts import Stage
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.explanation import explain
from pasand.reranking.policies import STAGES
from pasand.reranking.rules.groups import Groups, Rule
from pasand.reranking.rules.rules import Rules
from pasand.types import Candidates, Queries
from tests.logs import tastes

TABLES = {
    "stakeholders": 'provider = "group"\nplatform = "margin"\nweights = { provider = 0.5, platform = 0.3 }',
    "mmr": 'features = ["group", "tags"]\nstrength = 0.5',
    "dpp": 'features = ["group", "margin"]\nmodel = "@ials"\nstrength = 0.3',
}
"""Fields of a table of each kind; a new kind needs one."""
BASE = '[ials]\nclass = "pasand.models.classical.ials:IALS"\ndimensions = 8\n\n'
EASE = default_recipe.of_model("ease", {})


@cache
def data() -> Dataset:
    log, rng = tastes(), np.random.default_rng(0)
    margin = np.where(np.arange(log.n_items) % 7 == 3, np.nan, rng.lognormal(size=log.n_items)).astype(np.float32)
    tags = rng.integers(-1, 4, (log.n_items, 2)).astype(np.int32)
    features = {
        "margin": Feature(kind="number", values=margin),
        "tags": Feature(kind="bag", values=tags, names=("p", "q", "r", "s")),
    }
    return replace(log, item_features={**log.item_features, **features})


@cache
def assembly(kind: str) -> recipe.Assembly:
    assert kind in TABLES, f"add a table of kind {kind!r} to TABLES"
    text = BASE + EASE + f'\n[[policy]]\nkind = "{kind}"\n{TABLES[kind]}\n'
    return recipe.build(text).fit(data(), seed=0)


def stage(kind: str) -> Stage:
    found: Stage = assembly(kind).components[f"policy_{kind}"]
    return found


def queries(n: int, k: int) -> Queries:
    return data().queries(np.arange(n, dtype=np.int32), k=k)


def candidates_of(lists: list[list[int]], scores: list[float] | None = None) -> Candidates:
    width = max(map(len, lists), default=0)
    rows = np.array([one + [-1] * (width - len(one)) for one in lists], np.int32).reshape(len(lists), width)
    fallen = np.array(scores or 9 - np.arange(width), np.float32)[:width]
    known = np.where(rows >= 0, fallen, -np.inf).astype(np.float32)
    return Candidates(items=rows, scores=known, propensity=(rows / 100).astype(np.float32))


@pytest.mark.parametrize("kind", STAGES)
@given(st.data())
@settings(max_examples=50)
def test_the_contract_of_stages(kind: str, draw: st.DataObject) -> None:
    """No item twice, nothing new, padding last, all of k slots filled, scores do not rise and are no nan."""
    lists = draw.draw(st.lists(st.lists(st.integers(0, 33), unique=True, max_size=9), min_size=1, max_size=4))
    scores = sorted(draw.draw(st.lists(st.floats(-5, 5, width=32), min_size=9, max_size=9)), reverse=True)
    candidates = candidates_of(lists, scores)
    width = candidates.items.shape[1]
    if width > 2 and draw.draw(st.booleans()):
        candidates.scores[:, width - 2 :] = -np.inf
    before = candidates.items.copy(), candidates.scores.copy()
    asked = queries(len(lists), draw.draw(st.integers(1, 12)))
    result = stage(kind)(asked, candidates)
    for one, items, found in zip(lists, result.items.tolist(), result.scores, strict=True):
        kept = [item for item in items if item >= 0]
        assert items == kept + [-1] * (len(items) - len(kept))
        assert len(kept) == len(set(kept)) >= min(asked.k, len(one))
        assert set(kept) <= set(one)
        assert np.isfinite(found[: max(0, len(kept) - 2)]).all()
        assert not np.isnan(found).any()
        assert (found[:-1] >= found[1:]).all()
    assert result.propensity is not None
    np.testing.assert_array_equal(result.propensity, (result.items / 100).astype(np.float32))
    np.testing.assert_array_equal(candidates.items, before[0])
    np.testing.assert_array_equal(candidates.scores, before[1])
    np.testing.assert_array_equal(stage(kind)(asked, candidates).items, result.items)


@pytest.mark.parametrize("kind", STAGES)
def test_a_batch_is_its_queries_one_by_one(kind: str) -> None:
    rng = np.random.default_rng(1)
    candidates = candidates_of(rng.permuted(np.tile(np.arange(30), (20, 1)), axis=1)[:, :15].tolist())
    asked = queries(20, 5)
    together = stage(kind)(asked, candidates)
    for b in range(20):
        one = Candidates(items=candidates.items[b : b + 1], scores=candidates.scores[b : b + 1])
        alone = stage(kind)(asked.take(np.array([b])), one)
        np.testing.assert_array_equal(alone.items[0], together.items[b])
        np.testing.assert_array_equal(alone.scores[0], together.scores[b])


@pytest.mark.parametrize("kind", STAGES)
def test_rules_after_it_have_all_candidates(kind: str) -> None:
    """Group c is at the end of the candidates, and the stage alone would choose other items or fewer of them."""
    rules = Rules(
        Groups([Rule(name="c", where={"group": "c"}, min_share=1.0)]).fit(data(), rng=np.random.default_rng())
    )
    order = sorted(range(30), key=lambda item: (item % 3 == 2, item))
    asked = queries(1, 5)
    chosen = rules(asked, stage(kind)(asked, candidates_of([order], [9 - 0.1 * i for i in range(30)])))
    assert (chosen.items % 3 == 2).all()


@pytest.mark.parametrize("kind", STAGES)
def test_a_bundle_has_it_and_new_items_reach_it(kind: str, tmp_path: Path) -> None:
    asked = queries(30, 8)
    lists = assembly(kind).recommender(asked)
    bundle.write(tmp_path, assembly(kind), data(), seed=0)
    read = bundle.read(tmp_path)
    again = read.assembly.recommender(asked)
    np.testing.assert_array_equal(again.items, lists.items)
    np.testing.assert_array_equal(again.scores, lists.scores)
    new = {
        "group": replace(data().item_features["group"], values=np.array([2], np.int32)),
        "margin": Feature(kind="number", values=np.array([50], np.float32)),
    }
    added = read.add_items(["new"], new).assembly
    with_new = added.components[f"policy_{kind}"](asked, candidates_of([[0, 3, 30, 31]] * 30))
    assert (np.sort(with_new.items, axis=1) == [0, 3, 30, 31]).all()
    steps = explain(added.recommender, asked.take(np.array([0])), int(lists.items[0, -1]), added.components).steps
    assert f"policy_{kind}" in [step.name for step in steps]
