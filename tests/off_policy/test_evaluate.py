"""Values of policies on logs with known truth: bundles, other logs and columns; groups, comparison, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.bundle import Bundle
from pasand.errors import InputError
from pasand.off_policy import policies
from pasand.off_policy.evaluate import compare, evaluate
from pasand.off_policy.policies import Policy
from pasand.recipe import Assembly
from pasand.recommender import Recommender
from pasand.sources.decision_tables import Decisions
from pasand.types import Candidates, Queries
from tests.logs import tastes

RATES = np.array([0.1, 0.2, 0.3, 0.4])


def log_of(
    shown: np.ndarray, propensity: np.ndarray, reward: np.ndarray, per_list: int = 1, **more: object
) -> Decisions:
    """Return a log of lists in order, of one user each."""
    n = len(shown)
    number, slot = np.arange(n) // per_list, np.arange(n) % per_list
    columns: dict[str, object] = {
        "name": "log",
        "list": number,
        "slot": slot.astype(np.int32),
        "position": slot.astype(np.int32),
        "user": number.astype(np.int32),
        "item": shown.astype(np.int32),
        "time": None,
        "reward": reward.astype(np.float64),
        "propensity": propensity.astype(np.float64),
        "items": tuple("abcd"),
        "users": tuple(f"u{u:05}" for u in range(n // per_list)),
        "positions": tuple(range(1, per_list + 1)),
        "columns": {},
        "notes": (),
    }
    return Decisions(**{**columns, **more})  # type: ignore[arg-type]


def drawn(n: int, p: list[float], seed: int = 0) -> Decisions:
    """Return a log of single decisions drawn with these probabilities."""
    rng = np.random.default_rng(seed)
    items = rng.choice(4, n, p=p)
    return log_of(items, np.array(p)[items], rng.random(n) < RATES[items])


def column(log: Decisions, p: list[float]) -> Policy:
    """Return the policy with these probabilities, known for what was shown."""
    return policies.of_column(replace(log, columns={"new": np.array(p)[log.item]}), "new")


def test_a_policy_in_a_column_and_one_of_another_log_have_the_true_value() -> None:
    log, other, p = drawn(6000, [0.4, 0.3, 0.2, 0.1]), drawn(6000, [0.1, 0.2, 0.3, 0.4], seed=1), [0.1, 0.2, 0.3, 0.4]
    truth = float(np.array(p) @ RATES)
    for policy in (column(log, p), policies.of_log(log, other)):
        value = evaluate(log, policy)
        assert value.status == "ok"
        assert value.usual.low < truth < value.usual.high
        assert value.safe.low < truth < value.safe.high
        assert value.usual.mean == pytest.approx(truth, abs=0.03)
        assert value.logged.mean == pytest.approx(log.reward.mean())
    assert {one.estimator for one in value.valuations} >= {"dm", "ips", "snips", "dr", "sndr", "dros", "switch_dr"}


def test_the_logging_policy_earns_what_the_log_earned() -> None:
    log = drawn(1000, [0.25] * 4)
    value = evaluate(log, column(log, [0.25] * 4))
    assert value.usual.mean == pytest.approx(log.reward.mean())
    assert value.diagnosis.mean_weight == 1


def test_lists_of_which_one_slot_is_random() -> None:
    rng = np.random.default_rng(0)
    second = rng.integers(1, 4, 6000)
    items = np.column_stack([np.zeros(6000, int), second]).ravel()
    reward = rng.random(12_000) < RATES[items]
    log = log_of(items, np.tile([1.0, 1 / 3], 6000), reward, per_list=2)
    chosen = np.tile([0, 3], 6000).astype(np.int32)
    policy = Policy(
        name="fixed",
        probability=(chosen == log.item).astype(float),
        mean=lambda values, group: values[group, log.position, chosen],
    )
    value = evaluate(log, policy)
    assert value.status == "ok"
    assert value.usual.low < 0.5 < value.usual.high
    assert {"iips", "rips", "pseudo_inverse"} <= {one.estimator for one in value.valuations}
    assert next(one for one in value.valuations if one.estimator == "iips").assumption


@pytest.mark.parametrize(
    ("p", "new", "words"),
    [
        ([0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5], "could not have been logged"),
        ([0.97, 0.01, 0.01, 0.01], [0.0, 0.0, 0.0, 1.0], "decisions count"),
    ],
)
def test_hopeless_logs_are_refused(p: list[float], new: list[float], words: str) -> None:
    log = drawn(400, p)
    value = evaluate(log, column(log, new))
    assert value.status == "refused"
    assert words in value.diagnosis.sentence
    content = value.as_json()
    assert content["usual"] is None
    assert content["safe"] is None
    assert content["estimators"] == []


def test_propensities_of_1_are_refused() -> None:
    log = log_of(np.zeros(100), np.ones(100), np.ones(100))
    value = evaluate(log, column(log, [1.0, 0.0, 0.0, 0.0]))
    assert (value.status, value.diagnosis.random) == ("refused", 0.0)
    assert "exploration" in value.diagnosis.sentence


def test_groups_of_items_add_up_and_users_are_apart() -> None:
    log = drawn(4000, [0.25] * 4)
    of_item = np.array(["x", "x", "y", "y"])[log.item]
    of_user = np.where(log.user % 2 == 0, "even", "odd")
    by = {
        "kind": ("items", {"x": of_item == "x", "y": of_item == "y", "all": of_item != ""}),
        "half": ("users", {"even": of_user == "even", "odd": of_user == "odd"}),
    }
    value = evaluate(log, column(log, [0.1, 0.2, 0.3, 0.4]), by=by)
    found = {(group.attribute, group.group): group for group in value.groups}
    whole = next(one.value.mean for one in value.valuations if one.estimator == "snips")
    assert found["kind", "x"].value.mean + found["kind", "y"].value.mean == pytest.approx(whole)
    assert found["kind", "all"].value.mean == pytest.approx(whole)
    assert found["half", "even"].n + found["half", "odd"].n == 4000


def test_a_group_that_is_not_ok_has_no_value_in_json() -> None:
    log = drawn(4000, [0.25] * 4)
    few = log.user == log.user[0]
    by = {"part": ("users", {"few": few, "others": ~few})}
    few_found, others = evaluate(log, column(log, [0.1, 0.2, 0.3, 0.4]), by=by).as_json()["groups"]
    assert (few_found["status"], few_found["value"]) == ("refused", None)
    assert others["status"] == "ok"
    assert others["value"]["low"] < others["value"]["mean"]


def test_two_policies_are_compared_by_user() -> None:
    log = drawn(5000, [0.25] * 4)
    good, bad = (evaluate(log, column(log, p)) for p in ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]))
    found = compare(good, bad)
    assert found.verdict == "better"
    assert found.difference.mean == pytest.approx(0.1, abs=0.03)
    assert compare(bad, good).verdict == "worse"
    same = compare(good, good)
    assert (same.verdict, same.difference.span) == ("not shown", (0.0, 0.0, 0.0))
    refused = evaluate(log, column(log, [0.0] * 4))
    assert compare(good, refused).verdict == "refused"


def test_a_stated_floor_and_reward_widen_the_safe_interval() -> None:
    log = drawn(500, [0.25] * 4)
    policy = column(log, [0.1, 0.2, 0.3, 0.4])
    plain, floor = evaluate(log, policy), evaluate(log, policy, floor=0.01)
    assert floor.max_weight == pytest.approx(100)
    assert floor.safe.high > plain.safe.high
    with pytest.raises(InputError, match=r"at most 0\.25"):
        evaluate(log, policy, floor=0.5)
    with pytest.raises(InputError, match="reward 1"):
        evaluate(log, policy, max_reward=0.5)
    with pytest.raises(InputError, match="switch_dr"):
        evaluate(log, policy, estimator="switch_dr")  # needs a reward model


def test_a_log_of_another_catalogue_is_refused() -> None:
    log = drawn(50, [0.25] * 4)
    with pytest.raises(InputError, match="another catalogue"):
        policies.of_log(log, replace(log, items=tuple("wxyz")))


def test_a_bundle_shows_its_list_to_known_and_unknown_users() -> None:
    data = tastes()

    def constant(queries: Queries) -> Candidates:
        items = np.tile(np.array([2, 1], np.int32), (len(queries), 1))[:, : queries.k]
        return Candidates(items=items, scores=np.ones(items.shape, np.float32))

    recommender = Recommender(constant, filters=())
    bundle = Bundle(Assembly("", {"recommender": recommender}), data, {"files": {}})
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 4, 800)
    log = log_of(shown, np.full(800, 0.25), rng.random(800) < RATES[shown], items=("i000", "i001", "i002", "zz"))
    log = replace(log, users=("u000", *log.users[1:]), time=np.full(800, int(data.time[-1])))  # type: ignore[index]
    policy = policies.of_bundle(log, bundle, "bundle")
    assert np.array_equal(policy.probability, log.item == 2)
    assert any("800 of 800 lists were shown before" in note for note in policy.notes)
    value = evaluate(log, policy)
    assert value.usual.low < RATES[2] < value.usual.high

    def random(queries: Queries) -> Candidates:
        found = constant(queries)
        return replace(found, propensity=np.full(found.items.shape, 0.5, np.float32))

    drawing = Bundle(Assembly("", {"recommender": Recommender(random, filters=())}), data, {"files": {}})
    with pytest.raises(InputError, match="draws items at random"):
        policies.of_bundle(log, drawing, "bundle")
    with pytest.raises(InputError, match="no column of users"):
        policies.of_bundle(replace(log, users=None), bundle, "bundle")
    with pytest.raises(InputError, match="another catalogue"):
        policies.of_bundle(replace(log, items=tuple("wxyz")), bundle, "bundle")


def test_a_wide_log_shows_no_usual_interval() -> None:
    rng = np.random.default_rng(0)
    weight = rng.pareto(1.3, 5000)
    log = log_of(np.zeros(5000), np.full(5000, 1e-4), rng.random(5000) < 0.2)
    policy = Policy(name="new", probability=1e-4 * weight / weight.mean())
    value = evaluate(log, policy)
    content = value.as_json()
    assert value.status == "wide"
    assert content["usual"] is None
    assert content["safe"]["low"] < 0.2 < content["safe"]["high"]
    assert all(one["value"]["low"] is None for one in content["estimators"])
