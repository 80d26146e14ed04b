"""Rules as a stage of a recommender: the contract of stages, notes, retrieval for groups, recipes and bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from pasand import bundle, default_recipe, recipe
from pasand.bundle import Bundle
from pasand.cli.explain import show
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.explanation import explain, moves
from pasand.recommender import Recommender
from pasand.reranking.retrieval import WithGroups
from pasand.reranking.rules.bounds import slot_weights
from pasand.reranking.rules.groups import Groups, Range, Rule
from pasand.reranking.rules.rules import Rules
from pasand.serving.engine.variant import NO_RECENT_EVENTS, Variant, ignore_step
from pasand.serving.schemas import RecommendRequest
from pasand.stages.retrieval import FromModel
from pasand.types import Candidates, Queries
from tests.logs import tastes

DATA = tastes()
RNG = np.random.default_rng(0)
POLICY = """
[[policy]]
name = "enough c"
where = { group = "c" }
min_share = 0.35

[[policy]]
name = "few a"
where = { group = ["a"] }
max_count = 1
first = 4
"""
TEXT = default_recipe.of_model("ease", {}) + POLICY


def groups_of(*rules: Rule) -> Groups:
    return Groups(rules).fit(DATA, rng=RNG)


def candidates_of(items: list[list[int]]) -> Candidates:
    rows = np.array(items, np.int32).reshape(len(items), -1)
    scores = np.where(rows >= 0, 9 - np.arange(rows.shape[1]), -np.inf).astype(np.float32)
    return Candidates(items=rows, scores=scores, propensity=(rows / 100).astype(np.float32))


def queries(n: int, k: int) -> Queries:
    return DATA.queries(np.arange(n, dtype=np.int32), k=k)


C = Rule(name="c", where={"group": "c"}, min_share=0.5)
A = Rule(name="a", where={"group": "a"}, max_share=0.25)
WISH = Rule(name="wish", where={"group": Range(user="wish")}, min_count=1, first=2)
WANTED = np.where(np.arange(60) % 4 == 3, -1, np.arange(60) % 4).astype(np.int32)
WISHES = replace(DATA, user_features={"wish": Feature(kind="categorical", values=WANTED, names=("a", "b", "c"))})


def test_the_best_list_that_keeps_the_rules() -> None:
    """Items 0, 3, 6, ... are of group a, 1, 4, ... of b and 2, 5, ... of c."""
    stage = Rules(groups_of(C, A))
    result = stage(queries(2, 4), candidates_of([[0, 3, 1, 6, 2, 4, 5, 8], [2, 0, 5, 1, 4, -1, -1, -1]]))
    assert result.items.tolist() == [[0, 1, 2, 5], [2, 0, 5, 1]]
    assert result.scores.tolist() == [[9, 7, 5, 3], [9, 8, 7, 6]]
    assert result.propensity is not None
    np.testing.assert_allclose(result.propensity[0], [0, 0.01, 0.02, 0.05])


def test_rules_on_prefixes_raise_items_and_scores_do_not_rise() -> None:
    first = Rule(name="c first", where={"group": "c"}, min_count=1, first=1)
    every = Rule(name="c", where={"group": "c"}, min_share=0.5, every_prefix=True)
    for rule, items, scores in (
        (first, [2, 0, 3, 1], [5, 5, 5, 5]),
        (every, [0, 2, 3, 5], [9, 5, 5, 3]),
    ):
        result = Rules(groups_of(rule))(queries(1, 4), candidates_of([[0, 3, 1, 6, 2, 4, 5, 8]]))
        assert (result.items.tolist(), result.scores.tolist()) == ([items], [scores])


def test_a_share_of_the_exposure() -> None:
    """Slots weigh 1, .63, .5 and .43: the first two are 64 % of the exposure, the last two 36 %."""
    stage = Rules(groups_of(structs.replace(C, min_share=0.5, weight="log2")))
    result = stage(queries(1, 4), candidates_of([[0, 2, 3, 5, 8, 1]]))
    assert result.items.tolist() == [[2, 0, 3, 5]]
    assert stage.notes(queries(1, 4), result) == [[]]
    (note,) = stage.notes(queries(1, 4), candidates_of([[0, 3, 2, 5]]))[0]
    assert "at least 50 % of the exposure of the slots" in note
    assert "at least 50 % of the exposure of 4 slots required, 36.3 % found" in note
    assert stage.broken(queries(1, 4), candidates_of([[0, 3, 2, 5]])) == [["c"]]
    most = Rules(groups_of(structs.replace(A, max_share=0.2, weight="log2", first=2), C))
    assert most(queries(1, 4), candidates_of([[0, 3, 2, 5, 8, 1]])).items.tolist() == [[2, 5, 0, 3]]
    with pytest.raises(ValueError, match='rule \'c\' has weight = "log2", which needs discount = "log2"'):
        Rules(groups_of(structs.replace(C, weight="log2")), discount="none")


def test_a_maximum_of_each_value_beside_other_rules() -> None:
    """At most 2 of each group; the list without it is a, a, a, b."""
    each = Rule(name="two of each", each="group", max_count=2)
    given_candidates = candidates_of([[0, 3, 6, 1, 4, 2, 7]])
    for rules, items in (
        ([each], [0, 3, 1, 4]),
        ([C, each], [0, 3, 1, 2]),
        (
            [
                each,
                Rule(name="no c", where={"group": "c"}, max_count=0),
                Rule(name="few", where={"group": "b"}, max_count=1),
            ],
            [0, 3, 1, 4],
        ),
        ([structs.replace(each, first=3), Rule(name="2", where={"group": "a"}, min_count=3)], [0, 3, 1, 6]),
        ([structs.replace(each, where={"group": ["b", "c"]}, max_count=1)], [0, 3, 6, 1]),
    ):
        stage = Rules(groups_of(*rules))
        result = stage(queries(1, 4), given_candidates)
        assert result.items.tolist() == [items]
    few = stage.groups.rules, Rules(groups_of(each))
    result = few[1](queries(1, 4), candidates_of([[0, 3, 6, 9, 1]]))
    assert result.items.tolist() == [[0, 3, 6, 1]]
    (note,) = few[1].notes(queries(1, 4), result)[0]
    assert "(at most 2 of the slots for each group)" in note
    assert "at most 2 of 4 required, 3 of one group found" in note
    assert few[1].broken(queries(1, 4), result) == [["two of each"]]


def test_rules_of_the_user_hold_for_users_with_a_value() -> None:
    """Users 0, 1, 2 want groups a, b, c in a slot of the first two; user 3 has no wish."""
    stage = Rules(Groups([WISH]).fit(WISHES, rng=RNG))
    asked = WISHES.queries(np.arange(4, dtype=np.int32), k=3)
    result = stage(asked, candidates_of([[0, 3, 6, 1, 2]] * 4))
    assert result.items.tolist() == [[0, 3, 6], [0, 1, 3], [0, 2, 3], [0, 3, 6]]
    notes = stage.notes(asked, result)
    assert notes[:3] == [[], [], []]
    assert notes[3] == ["rule 'wish' does not apply: the wish of the user is not known"]
    assert stage.broken(asked, result) == [[]] * 4
    assert stage.broken(asked, candidates_of([[0, 3, 6]] * 4)) == [[], ["wish"], ["wish"], []]


def test_what_cannot_hold_is_noted_in_order() -> None:
    stage = Rules(groups_of(C, A))
    given_candidates = candidates_of([[0, 3, 6, 2, -1], [2, 5, 1, 4, 8], [-1, -1, -1, -1, -1]])
    result = stage(queries(3, 4), given_candidates)
    assert result.items.tolist() == [[0, 3, 6, 2], [2, 5, 1, 4], [-1, -1, -1, -1]]
    notes = stage.notes(queries(3, 4), result)
    assert [len(one) for one in notes] == [2, 0, 0]
    assert "'c' (at least 50 % of the slots)" in notes[0][0]
    assert "at least 2 of 4 required, 1 found" in notes[0][0]
    assert "at most 1 of 4 required, 3 found" in notes[0][1]


@given(st.data())
@settings(max_examples=100)
def test_the_contract_of_stages(data: st.DataObject) -> None:
    """No item twice, nothing new, padding last, k respected, scores do not rise; and unscored items may be chosen."""
    rules = [
        Rule(name="1", where={"group": "c"}, min_share=data.draw(st.sampled_from([0.0, 0.3, 1.0]))),
        Rule(name="2", where={"group": ["a", "b"]}, max_count=data.draw(st.integers(0, 6))),
        Rule(name="3", where={"group": ["b", "c"]}, min_share=0.6, every_prefix=data.draw(st.booleans())),
    ]
    if data.draw(st.booleans()):
        rules.append(Rule(name="4", each="group", max_count=data.draw(st.integers(0, 3))))
    if data.draw(st.booleans()):
        rules[0] = structs.replace(rules[0], weight="log2", first=data.draw(st.integers(0, 4)))
    lists = data.draw(st.lists(st.lists(st.integers(0, 29), unique=True, max_size=9), min_size=1, max_size=4))
    width = max(map(len, lists))
    candidates = candidates_of([one + [-1] * (width - len(one)) for one in lists])
    if width > 2 and data.draw(st.booleans()):
        candidates.scores[:, width - 2 :] = -np.inf
    k = data.draw(st.integers(1, 8))
    result = Rules(groups_of(*rules))(queries(len(lists), k), candidates)
    for one, items, scores in zip(lists, result.items.tolist(), result.scores, strict=True):
        kept = [item for item in items if item >= 0]
        assert items == kept + [-1] * (len(items) - len(kept))
        assert len(kept) == len(set(kept)) == min(k, len(one))
        assert set(kept) <= set(one)
        assert not (np.diff(scores[np.isfinite(scores)]) > 0).any()
    again = Rules(groups_of(*rules))(queries(len(lists), k), candidates)
    np.testing.assert_array_equal(again.items, result.items)


def test_retrieval_finds_enough_of_each_group() -> None:
    assembly = recipe.build(default_recipe.of_model("popularity", {})).fit(DATA, seed=0)
    retriever = FromModel(assembly.components["model"])
    groups = groups_of(Rule(name="c", where={"group": "c"}, min_count=1))
    before, asked = retriever(queries(9, 5)), replace(queries(9, 5), exclude=np.full((9, 1), 2, np.int32))
    found = WithGroups(retriever, groups, per_group=6)(asked)
    every = retriever(replace(asked, k=30))
    for b in range(9):
        items = found.items[b][found.items[b] >= 0].tolist()
        best_of_group = [item for item in every.items[b].tolist() if item % 3 == 2][:6]
        assert len(items) == len(set(items))
        assert set(best_of_group) <= set(items)
        assert 2 not in items
        assert (np.diff(found.scores[b][: len(items)]) <= 0).all()
    assert before.items.shape[1] == 5 < found.items.shape[1] <= 11
    allowed = np.arange(30)[None, :] % 3 != 2
    np.testing.assert_array_equal(
        WithGroups(retriever, groups)(replace(asked, allowed=allowed)).items,
        retriever(replace(asked, allowed=allowed)).items,
    )


def test_retrieval_finds_enough_outside_a_group_with_a_maximum() -> None:
    assembly = recipe.build(default_recipe.of_model("popularity", {})).fit(DATA, seed=0)
    retriever = FromModel(assembly.components["model"])
    groups = groups_of(Rule(name="two", where={"group": ["a", "b"]}, max_count=1))
    best = retriever(queries(3, 30)).items
    found = WithGroups(retriever, groups)(queries(3, 5))
    for items, every in zip(found.items, best, strict=True):
        outside = [item for item in every.tolist() if item % 3 == 2]
        assert set(outside) | set(every[:5].tolist()) == set(items[items >= 0].tolist())
    shown = Rules(groups)(queries(3, 5), found).items
    assert (np.count_nonzero(shown % 3 != 2, axis=1) == 1).all()


def test_candidates_that_suffice_are_left_alone() -> None:
    assembly = recipe.build(default_recipe.of_model("popularity", {})).fit(DATA, seed=0)
    retriever = FromModel(assembly.components["model"])
    groups = groups_of(Rule(name="c", where={"group": "c"}, min_share=0.2))
    every = retriever(queries(9, 30)).items
    for k in range(1, 30):
        wanted = WithGroups(retriever, groups, list_length=10)(queries(9, k)).items
        enough = np.count_nonzero(every[:, :k] % 3 == 2, axis=1) >= 8  # .2 of 20 slots, twice
        assert ((np.count_nonzero(wanted >= 0, axis=1) == k) == enough).all()


# recipes


@pytest.fixture(scope="module")
def fitted() -> recipe.Assembly:
    return recipe.build(TEXT).fit(DATA, seed=0)


def lists_of(recommender: Recommender, k: int) -> np.ndarray:
    return recommender(queries(60, k)).items


def test_a_policy_holds_in_every_list(fitted: recipe.Assembly) -> None:
    free = recipe.build(default_recipe.of_model("ease", {})).fit(DATA, seed=0)
    for k in (4, 10):
        items, before = lists_of(fitted.recommender, k), lists_of(free.recommender, k)
        assert (items >= 0).all()
        unseen = 10 - np.array([len({one for one in seen if one % 3 == 2}) for seen in queries(60, k).history.tolist()])
        assert ((items % 3 == 2).sum(axis=1) >= np.minimum(unseen, np.ceil(0.35 * k))).all()
        assert ((items[:, :4] % 3 == 0).sum(axis=1) <= 1).all()
        assert (((before % 3 == 2).sum(axis=1) < np.ceil(0.35 * k)) | ((before[:, :4] % 3 == 0).sum(axis=1) > 1)).any()


def test_a_bundle_keeps_the_policy_and_new_items_are_in_it(fitted: recipe.Assembly, tmp_path: Path) -> None:
    bundle.write(tmp_path, fitted, DATA, seed=0)
    read = bundle.read(tmp_path)
    assert read.assembly.text == TEXT
    np.testing.assert_array_equal(lists_of(read.assembly.recommender, 10), lists_of(fitted.recommender, 10))
    feature = replace(DATA.item_features["group"], values=np.array([2, 0], np.int32))
    bundle_with: Bundle = read.add_items(["new c", "new a"], {"group": feature})
    member = bundle_with.assembly.components["policy_groups"].member(np.array([[30, 31]], np.int32), np.zeros(1))
    assert member.tolist() == [[1, 2]]


def test_explanations_show_what_the_policy_did(fitted: recipe.Assembly, capsys: pytest.CaptureFixture[str]) -> None:
    one = queries(1, 10)
    last = int(fitted.recommender(one).items[0, -1])
    explanation = explain(fitted.recommender, one, last, fitted.components)
    assert [step.name for step in explanation.steps] == ["policy_candidates", "policy"]
    assert explanation.steps[-1].rank == 10
    texts = []
    for user in range(6):
        one = queries(6, 10).take(np.array([user]))
        for row in fitted.recommender(one).items[0].tolist():
            found = explain(fitted.recommender, one, row, fitted.components).as_json(DATA)
            texts += [(found, move) for move in found["moves"] if move["text"].startswith("raised")]
    raised, move = texts[0]
    assert move["text"].startswith(f"raised from {move['before']} to {raised['rank']} by rule `")
    show({"user_id": "u000", **raised})
    assert move["text"] in capsys.readouterr().out


def test_explanations_name_the_rule_that_moved_an_item() -> None:
    """Without rules the list is a, a, a, b; a rule wants an item of c, another at most 2 of a."""
    rules = Rules(groups_of(Rule(name="one c", where={"group": "c"}, min_count=1), structs.replace(A, max_share=0.5)))
    given_candidates, asked = candidates_of([[0, 3, 6, 1, 4, 7, 2]]), queries(1, 4)
    after = rules(asked, given_candidates)
    assert after.items.tolist() == [[0, 3, 1, 2]]

    def texts(item: int) -> list[str]:
        found = moves(rules, asked, given_candidates, after, item, "policy")
        return [str(move.as_json(DATA)["text"]) for move in found]

    assert texts(2) == ["raised from 7 to 4 by rule `one c`, displacing Film i004"]
    assert texts(6) == ["dropped from 3 by rule `a`, in favour of Film i001"]
    assert texts(0) == texts(9) == []
    first = Rules(groups_of(Rule(name="c first", where={"group": "c"}, min_count=1, first=1)))
    (raised,) = moves(first, asked, given_candidates, first(asked, given_candidates), 2, "policy")
    assert (raised.before, raised.after, raised.others) == (7, 1, [1])
    (lowered,) = moves(first, asked, given_candidates, first(asked, given_candidates), 0, "policy")
    assert str(lowered.as_json(DATA)["text"]) == "lowered from 1 to 2 by rule `c first`, in favour of Film i002"
    twice = Rules(groups_of(C, Rule(name="again", where={"group": "c"}, min_count=2)))
    many = candidates_of([[0, 3, 6, 2, 5, 8]])
    (both,) = moves(twice, asked, many, twice(asked, many), 5, "policy")
    assert str(both.as_json(DATA)["text"]).startswith(
        "raised from 5 to 4 by rule `c`, rule `again` together, displacing"
    )


def test_recipes_with_a_policy_can_be_changed_and_written_again(fitted: recipe.Assembly) -> None:
    text = recipe.with_options(TEXT, {"policy.discount": "none", "recommender.n_candidates": 25})
    other = recipe.build(text)
    assert other.recommender.n_candidates == 25
    assert other.components["policy_groups"].rules == fitted.components["policy_groups"].rules
    assert recipe.tables(recipe.dump(recipe.tables(TEXT))) == recipe.tables(TEXT)
    assert fitted.recommender.n_candidates == 200


MORE = """
[[policy]]
name = "wish"
where = { group = { user = "wish" } }
min_count = 1
first = 2

[[policy]]
name = "exposed c"
where = { group = "c" }
min_share = 0.3
weight = "log2"

[[policy]]
name = "few of a studio"
each = "studio"
max_count = 2
"""


def test_a_recipe_with_wishes_exposure_and_caps(tmp_path: Path) -> None:
    studio = Feature(kind="categorical", values=np.arange(30, dtype=np.int32) // 5, names=tuple("uvwxyz"))
    data = replace(WISHES, item_features={**DATA.item_features, "studio": studio})
    text = default_recipe.of_model("ease", {}) + MORE
    bundle.write(tmp_path, recipe.build(text).fit(data, seed=0), data, seed=0)
    variant = Variant.read("main", str(tmp_path))
    asked = [RecommendRequest(user_id=f"u{n:03}", k=6) for n in range(8)]
    asked.append(RecommendRequest(features={"wish": "b"}, k=6))
    results = variant.recommend(asked, [NO_RECENT_EVENTS] * 9, 0, ignore_step)
    for n, (_, items, notes) in enumerate(results):
        rows = data.items.rows([item.item_id for item in items])
        wish = 1 if n == 8 else n % 4
        assert notes == (["rule 'wish' does not apply: the wish of the user is not known"] if wish == 3 else [])
        assert wish == 3 or (rows[:2] % 3 == wish).any()
        assert (rows % 3 == 2) @ slot_weights(6) >= 0.3 * slot_weights(6).sum()
        assert np.bincount(rows // 5).max() <= 2
    assert not variant.broken_rules
    only_a = RecommendRequest(user_id="u001", k=6, filters={"group": "a"})
    variant.recommend([only_a], [NO_RECENT_EVENTS], 0, ignore_step)
    assert variant.broken_rules == {"wish": 1, "exposed c": 1}
    with pytest.raises(InputError, match=r"rule 'wish'.*'wish' is wrong: users have no such feature"):
        recipe.build(text).fit(replace(data, user_features={}), seed=0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min_share = 0.35", "min_shares = 0.35", "min_shares"),
        ("min_share = 0.35", "min_share = 35", r"rule 'enough c': min_share must be a share in \[0, 1\], got 35"),
        ('where = { group = "c" }', "where = { group = { above = 3 } }", "above"),
        ('where = { group = "c" }', "", "where"),
        ('name = "few a"', 'name = "enough c"', "two rules are named 'enough c'"),
        ("[model]", '[policy_groups]\nclass = "pasand.stages.filtering:DropSeen"\n[model]', "another name"),
        ("[recommender]", "[another]", "no table .recommender. with a retriever"),
    ],
)
def test_a_wrong_policy_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe.build(TEXT.replace(old, new))


def test_a_policy_on_features_that_the_log_lacks_is_refused() -> None:
    without: Dataset = replace(DATA, item_features={})
    with pytest.raises(InputError, match=r"rule 'enough c'.*'group' is wrong: items have no such feature"):
        recipe.build(TEXT).fit(without, seed=0)


def test_a_response_notes_the_rules_that_cannot_hold(fitted: recipe.Assembly, tmp_path: Path) -> None:
    bundle.write(tmp_path, fitted, DATA, seed=0)
    variant = Variant.read("main", str(tmp_path))
    requests = [RecommendRequest(user_id="u000", k=4), RecommendRequest(user_id="u001", k=4)]
    for _, items, notes in variant.recommend(requests, [NO_RECENT_EVENTS] * 2, 0, ignore_step):
        assert (len(items), notes) == (4, [])
    only_a = RecommendRequest(user_id="u001", k=4, filters={"group": "a"})
    ((_, items, notes),) = variant.recommend([only_a], [NO_RECENT_EVENTS], 0, ignore_step)
    assert len(items) == 4
    assert ["'enough c'" in notes[0], "'few a'" in notes[1]] == [True, True]
    assert "at most 1 of 4 required, 4 found" in notes[1]
