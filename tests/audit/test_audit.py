"""The audit of a bundle of the simulated world: what is known, sections, rules, planted bias, the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.audit import audited, found
from pasand import bundle as bundles
from pasand import recipe
from pasand.audit import page, policy_tables, words
from pasand.audit.audit import Audit, audit
from pasand.audit.estimates import Finding
from pasand.audit.later_events import later_events
from pasand.bundle import Bundle
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
NEW = '\n[[policy]]\nname = "new studios"\nwhere = { studio_since = { max_age_days = 60 } }\nmin_share = 0.2\n'
LANGUAGES = '\n[[policy]]\nkind = "calibration"\nattributes = ["language"]\n'
RULE = '\n[[policy]]\nkind = "rule"\nname = "named"\nwhere = { language = "Tamil" }\nmin_count = 1\n'
SOUTH = '\n[[policy]]\nname = "south"\nwhere = { studio_region = "south" }\nmax_share = 0.3\n'


@pytest.fixture(scope="module")
def log() -> Dataset:
    return World(n_users=250, days=60, visits=1, studios=10).dataset(impressions=False)


@pytest.fixture(scope="module")
def folder(log: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    train = log.before(int(log.time[int(0.8 * len(log))]))
    path = tmp_path_factory.mktemp("audit") / "bundle"
    bundles.write(path, recipe.build(PLAIN + NEW + SOUTH).fit(train, seed=0), train, seed=0)
    return path


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    return bundles.read(folder)


@pytest.fixture(scope="module")
def done(folder: Path, log: Dataset) -> Audit:
    groups = {
        "user_groups": ["city_tier", "gender", "history"],
        "item_groups": ["studio_age", "price_band", "language"],
    }
    return audit(bundles.read(folder), log, **groups)  # type: ignore[arg-type]


def test_the_test_part_is_what_the_bundle_has_not_seen(bundle: Bundle, log: Dataset) -> None:
    _, split, known = later_events(bundle, log, "log")
    n = len(bundle.data)
    assert (split.train.user == log.user[:n]).all()
    assert (split.train.item == log.item[:n]).all()
    assert split.test_queries.time.min() > log.time[n - 1]
    assert f"fitted to {n:,} events up to" in known[0]


def test_a_log_of_later_events_alone_gives_the_same_queries(folder: Path, log: Dataset) -> None:
    whole = later_events(bundles.read(folder), log, "log")[1].test_queries
    n = len(bundles.read(folder).data)
    later = log.select(slice(n, len(log)))
    alone = later_events(bundles.read(folder), later, "log")[1].test_queries
    assert (whole.user == alone.user).all()
    assert (whole.upto == alone.upto).all()


def test_new_users_and_items_get_rows_after_those_of_the_bundle(log: Dataset) -> None:
    cut = int(log.time[int(0.8 * len(log))])
    known = np.arange(log.n_items - 5, dtype=np.int32)
    few = log.before(cut)
    few = few.select(few.item < len(known))
    items = {name: one.select(known) for name, one in log.item_features.items()}
    users = {name: one.select(np.arange(200, dtype=np.int32)) for name, one in log.user_features.items()}
    few = few.select(few.user < 200)
    few = replace(
        few,
        items=type(log.items)(log.items.ids(known)),
        users=type(log.users)(log.users.ids(np.arange(200))),
        item_features=items,
        user_features=users,
        first_seen=None,
    )
    bundle = Bundle(recipe.build(PLAIN).fit(few, seed=0), few, {"files": {}})
    changed, split, sentences = later_events(bundle, log, "log")
    train = split.train
    assert changed.data.n_items == train.n_items == log.n_items
    assert any("5 items of the log are new" in line for line in sentences)
    rows = log.users.rows(train.users.series)
    assert (train.user_features["gender"].values == log.user_features["gender"].values[rows]).all()
    assert audit(Bundle(recipe.build(PLAIN).fit(few, seed=0), few, {"files": {}}), log).n_users > 0


def test_a_bundle_of_the_whole_log_is_refused_with_commands(log: Dataset) -> None:
    bundle = Bundle(recipe.build(PLAIN).fit(log, seed=0), log, {"files": {}})
    cure = "pasand fit a.csv --until 0.8 --out earlier && pasand audit earlier a.csv"
    with pytest.raises(InputError, match="no event after") as refused:
        audit(bundle, log, typed="a.csv")
    assert cure in str(refused.value)


def test_every_measure_has_a_section_with_its_source(done: Audit) -> None:
    names = ["users", "exposure", "popularity", "cold_start", "languages", "stereotypes", "prices"]
    assert [section.name for section in done.sections] == [*names, "rule new studios", "rule south", "geography"]
    assert all(section.definition and section.findings for section in done.sections)
    tested = [finding for finding in done.findings if finding.p == finding.p]
    assert len(tested) == done.n_tests > 50
    assert all(finding.detectable > 0 for finding in tested if finding.error > 0)
    assert any(line.startswith("gender: other has") for line in done.left_out)


def test_a_measure_without_its_feature_is_left_out_by_name(bundle: Bundle, log: Dataset) -> None:
    plain = World(n_users=250, days=60, visits=1).dataset(impressions=False)
    train = plain.before(int(plain.time[int(0.8 * len(plain))]))
    done = audit(Bundle(recipe.build(PLAIN).fit(train, seed=0), train, {"files": {}}), plain)
    assert "price: items have no feature named price" in done.left_out
    assert "prices" not in [section.name for section in done.sections]


def test_wrong_names_are_refused_with_those_that_work(bundle: Bundle, log: Dataset) -> None:
    with pytest.raises(InputError, match=r"'tier' is wrong: users have no such feature.*city_tier"):
        audit(bundle, log, user_groups=["tier"])
    with pytest.raises(InputError, match="name one that items have: year, minutes, price"):
        audit(bundle, log, features={"price": "cost"})
    with pytest.raises(InputError, match="name one of: geography"):
        audit(bundle, log, features={"cost": "price"})


def test_without_a_rule_the_lists_are_those_of_the_recipe_without_it(bundle: Bundle) -> None:
    alone = recipe.build(PLAIN + NEW).fit(bundle.data, seed=0).recommender
    queries = bundle.data.queries(np.arange(50, dtype=np.int32), k=10)
    south = policy_tables.parts_of(bundle.assembly.text)[1]
    found = policy_tables.rebuilt(
        bundle, policy_tables.replaced(bundle.assembly.text, south.number, None), bundle.data
    ).recommender(queries)
    assert (found.items == alone(queries).items).all()
    assert (found.items != bundle.assembly.recommender(queries).items).any()
    assert [part.name for part in policy_tables.parts_of(PLAIN + NEW + SOUTH)] == ["new studios", "south"]
    assert policy_tables.parts_of(PLAIN) == []


def test_tables_of_other_kinds_are_parts_of_the_policy_whatever_fields_they_have() -> None:
    text = f'{PLAIN}{NEW}\n[[policy]]\nkind = "exposure"\nwhere = {{ a = 1 }}\n' + 2 * LANGUAGES + RULE
    parts = policy_tables.parts_of(text)
    assert [(part.kind, part.name, part.section) for part in parts] == [
        ("rule", "new studios", "rule new studios"),
        ("exposure", "exposure", "policy exposure"),
        ("calibration", "calibration", "policy calibration"),
        ("calibration", "calibration 2", "policy calibration 2"),
        ("rule", "named", "rule named"),
    ]


def test_a_calibration_is_priced_as_a_whole(log: Dataset) -> None:
    train = log.before(int(log.time[int(0.8 * len(log))]))
    text = PLAIN + SOUTH + LANGUAGES
    bundle = Bundle(recipe.build(text).fit(train, seed=0), train, {"files": {}})
    done = audit(bundle, log, user_groups=["gender"], item_groups=["language"])
    (section,) = (one for one in done.sections if one.name == "policy calibration")
    everyone, *_, divergence, changed = section.findings
    assert (everyone.group, everyone.reference_name) == ("all users", "without calibration")
    assert divergence.measure == "divergence from histories"
    assert divergence.value.mean < divergence.reference.mean
    assert 0 < changed.value.mean < 1
    assert done.policy[1] == "calibration: language as in each user's history, strength 0.2"


def test_errors_of_ratings_are_by_group_where_the_bundle_predicts_ratings(log: Dataset) -> None:
    train = log.before(int(log.time[int(0.8 * len(log))]))
    rated = PLAIN.replace("classical.popularity:Popularity", "ratings.biased_mf:BiasedMF")
    bundle = Bundle(recipe.build(rated).fit(train, seed=0), train, {"files": {}})
    done = audit(bundle, log, user_groups=["gender"], item_groups=["language"])
    (section,) = (one for one in done.sections if one.name == "ratings")
    assert {(finding.measure, finding.group) for finding in section.findings if finding.attribute == "gender"} == {
        (measure, group) for measure in ("rmse", "mae") for group in ("female", "male")
    }
    assert all(finding.p == finding.p for finding in section.findings)


def test_rounds_of_a_world_are_described_beside_a_loop_without_the_policy(folder: Path, log: Dataset) -> None:
    world = World(n_users=250, days=60, visits=1, studios=10)
    groups = {"user_groups": ["gender"], "item_groups": ["language"]}
    done = audit(bundles.read(folder), log, **groups, rounds=2, world=world)  # type: ignore[arg-type]
    again = audit(bundles.read(folder), log, **groups, rounds=2, world=world)  # type: ignore[arg-type]
    (section,), (other,) = ([one for one in of.sections if one.name == "drift"] for of in (done, again))
    assert [one.as_json() for one in section.findings] == [one.as_json() for one in other.findings]
    by_measure: dict[str, list[Finding]] = {}
    for finding in section.findings:
        by_measure.setdefault(finding.measure, []).append(finding)
    assert all([finding.group for finding in of] == ["1", "2"] for of in by_measure.values())
    assert all(of[0].value == of[0].reference == of[1].reference for of in by_measure.values())
    assert all("without the policy" in finding.context for finding in section.findings)
    new, south = by_measure["exposure of new studios"], by_measure["exposure of south"]
    assert all(one.value.mean >= one.context["without the policy"].mean for one in new)
    assert all(one.value.mean <= one.context["without the policy"].mean for one in south)
    assert done.n_tests == audit(bundles.read(folder), log, **groups).n_tests  # type: ignore[arg-type]
    assert "<h2>Drift over rounds</h2>" in page.render(done)


def test_without_a_policy_the_loop_has_no_twin(log: Dataset) -> None:
    train = log.before(int(log.time[int(0.8 * len(log))]))
    bundle = Bundle(recipe.build(PLAIN).fit(train, seed=0), train, {"files": {}})
    world = World(n_users=250, days=60, visits=1, studios=10)
    done = audit(bundle, log, user_groups=["gender"], item_groups=["language"], rounds=1, world=world)
    (section,) = (one for one in done.sections if one.name == "drift")
    assert not any(finding.context for finding in section.findings)


def test_rounds_of_a_log_that_is_not_simulated_are_refused(bundle: Bundle, log: Dataset) -> None:
    with pytest.raises(InputError, match=r"is not simulated.*leave --rounds out"):
        audit(bundle, log, rounds=3)


def test_the_last_rule_leaves_a_recipe_without_a_policy() -> None:
    (only,) = policy_tables.parts_of(PLAIN + NEW)
    tables = recipe.tables(policy_tables.replaced(PLAIN + NEW, only.number, None))
    assert list(tables) == ["popular", "from_popular", "recommender"]


def test_a_rule_shows_what_it_does_for_its_group(done: Audit) -> None:
    for section in done.sections:
        if section.name == "rule south":
            *_, exposure, changed = section.findings
            assert changed.value.mean > 0
            assert exposure.value.mean <= exposure.reference.mean
            assert section.findings[0].name == "all users"


def test_a_planted_bias_is_found_and_none_raises_no_alarm() -> None:
    assert found(*audited(0, 0.1))
    for seed in (1, 2):
        clean, region = audited(seed, 0.0)
        assert not found(clean, region)
        assert clean.shown == []


def test_json_has_the_documented_keys(done: Audit) -> None:
    content = json.loads(json.dumps(done.as_json(), allow_nan=False))
    assert list(content) == [
        "bundle", "recipe", "source", "known", "protocol", "k", "users", "queries", "tests", "correction", "metrics",
        "policy", "sections", "left_out", "checklist", "notice",
    ]  # fmt: skip
    assert list(content["sections"][0]["findings"][0]) == [
        "measure", "attribute", "group", "users", "value", "compared_with", "reference", "difference", "ratio", "p",
        "p_holm", "minimum_detectable_difference", "verdict", "context", "sentence",
    ]  # fmt: skip
    assert content["policy"] == [
        "new studios: at least 20 % of the slots",
        "south: at most 30 % of the slots",
    ]


def test_equal_inputs_give_equal_figures(folder: Path, log: Dataset, done: Audit) -> None:
    groups = {
        "user_groups": ["city_tier", "gender", "history"],
        "item_groups": ["studio_age", "price_band", "language"],
    }
    again = audit(bundles.read(folder), log, **groups)  # type: ignore[arg-type]
    assert again.as_json() == done.as_json()


def test_the_page_has_sentences_charts_and_the_checklist(done: Audit) -> None:
    text = page.render(done)
    assert text.count("<svg") > 10
    assert "Not legal advice" in text
    assert "rule 5(3)(f)" in text
    assert "new studios: at least 20 % of the slots" in text
    assert "would have been found in 80 of 100 audits" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_escapes_what_logs_contain(done: Audit, tmp_path: Path) -> None:
    section = done.sections[0]
    finding = replace(section.findings[0], group="<b>tier</b>")
    changed = replace(done, source="<script>", sections=[replace(section, findings=[finding, finding])])
    page.write(tmp_path / "audit.html", changed)
    text = (tmp_path / "audit.html").read_text()
    assert "<b>tier" not in text
    assert "<script>" not in text


def test_sentences_state_the_figure_the_reference_and_the_result(done: Audit) -> None:
    by_name = {section.name: section.findings for section in done.sections}
    head = next(finding for finding in by_name["cold_start"])
    assert words.sentence("cold_start", head).startswith("Exposure of items younger than 30 days is ")
    one = words.sentence("users", by_name["users"][0])
    assert one.startswith("Users with city_tier: tier 1: ranking quality (ndcg@10) is ")
    assert "other users" in one


def test_the_groups_of_a_rule_are_not_those_of_exposure_or_exploration() -> None:
    exposure = '\n[[policy]]\nkind = "exposure"\nname = "south"\nwhere = { studio_region = "north" }\nmin_share = 0.2\n'
    explore = '\n[[policy]]\nkind = "explore"\nslots = [3]\nwhere = { studio_region = "west" }\n'
    data = World(n_users=40, days=20, visits=1, studios=8).dataset(impressions=False)
    fitted = bundles.Bundle(recipe.build(PLAIN + exposure + SOUTH + explore).fit(data, seed=0), data, {"files": {}})
    groups = policy_tables.rule_groups(fitted)
    assert groups is not None
    assert [(rule.name, rule.where) for rule in groups.rules] == [("south", {"studio_region": "south"})]
