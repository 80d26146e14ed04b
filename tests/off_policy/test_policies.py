"""Bundles as policies: the log of a bundle that explores shows what it earned, and what other explorations would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pasand import default_recipe, recipe
from pasand.bundle import Bundle
from pasand.off_policy.evaluate import evaluate
from pasand.off_policy.policies import of_bundle
from pasand.sources.decision_tables import Decisions, decisions
from tests.logs import tastes

LOG = tastes()
N = 300


def exploring(fields: str) -> Bundle:
    text = default_recipe.of_model("ease", {}) + f'\n[[policy]]\nkind = "explore"\nslots = [2, 4]\npool = 5\n{fields}\n'
    return Bundle(recipe.build(text).fit(LOG, seed=0), LOG, {"files": {}})


def served(bundle: Bundle, path: Path) -> Decisions:
    """Return the log of lists that the bundle shows to all users, at different times after all events."""
    users = np.arange(N, dtype=np.int32) % LOG.n_users
    time = np.arange(2_000_000_000, 2_000_000_000 + N)
    found = bundle.assembly.recommender(LOG.queries(users, k=5, time=time))
    assert found.propensity is not None
    assert found.slot_propensity is not None
    b, slot = np.nonzero(found.items >= 0)
    rng = np.random.default_rng(0)
    pl.DataFrame(
        {
            "request_id": b,
            "user": LOG.users.ids(users[b]),
            "item": LOG.items.ids(found.items[b, slot]),
            "time": time[b],
            "position": slot + 1,
            "propensity": found.propensity[b, slot],
            "slot_propensity": found.slot_propensity[b, slot],
            "clicked": rng.random(len(b)) < 0.3,
        }
    ).write_parquet(path)
    return decisions(str(path))


@pytest.mark.parametrize("fields", ["", 'method = "thompson"\nfeatures = ["group"]', 'method = "linucb"'])
def test_a_bundle_that_logged_has_weights_of_1(tmp_path: Path, fields: str) -> None:
    bundle = exploring(f"uniform = 0.3\n{fields}")
    log = served(bundle, tmp_path / "log.parquet")
    policy = of_bundle(log, bundle, "itself")
    np.testing.assert_allclose(policy.probability, log.propensity, rtol=1e-12)
    assert policy.mean is not None
    one = np.ones((1, len(log.positions), len(log.items) + 2))
    np.testing.assert_allclose(policy.mean(one, np.zeros(len(log), np.int64)), 1, rtol=1e-12)


def test_another_exploration_of_the_same_list_has_a_mean_weight_of_1(tmp_path: Path) -> None:
    log = served(exploring("uniform = 1.0"), tmp_path / "log.parquet")
    policy = of_bundle(log, exploring('uniform = 0.2\nmethod = "greedy"'), "greedy")
    weight = log.padded(policy.probability, 1).prod(axis=1) / log.padded(log.propensity, 1).prod(axis=1)
    assert weight.max() <= (0.84 * 5) * (0.85 * 4) + 1e-9
    assert abs(weight.mean() - 1) < 4 * weight.std() / np.sqrt(len(weight))


def test_a_bundle_without_exploration_is_certain(tmp_path: Path) -> None:
    log = served(exploring("uniform = 1.0"), tmp_path / "log.parquet")
    plain = Bundle(recipe.build(default_recipe.of_model("ease", {})).fit(LOG, seed=0), LOG, {"files": {}})
    policy = of_bundle(log, plain, "plain")
    fixed = log.propensity == 1
    assert (policy.probability[fixed] == 1).all()
    assert not policy.probability[~fixed].any()  # the pool is beyond the list


@pytest.mark.parametrize("slot", [2, 4])
def test_the_reward_model_is_averaged_over_what_can_be_drawn(tmp_path: Path, slot: int) -> None:
    bundle = exploring("uniform = 1.0")
    log = served(bundle, tmp_path / "log.parquet")
    policy = of_bundle(log, bundle, "itself")
    assert policy.mean is not None
    values = np.zeros((1, len(log.positions), len(log.items) + 2))
    values[0, :, : len(log.items)] = np.arange(len(log.items))
    found = policy.mean(values, np.zeros(len(log), np.int64))[log.slot == slot - 1]
    seen = log.item[log.slot == slot - 1]
    assert abs(found.mean() - seen.mean()) < 4 * seen.std() / np.sqrt(N)


def test_slots_alone_have_weights_of_their_own(tmp_path: Path) -> None:
    """The weights of single slots are those of marginal probabilities, with a mean of 1 whatever is above."""
    bundle = exploring("uniform = 0.3")
    log = served(bundle, tmp_path / "log.parquet")
    assert log.slot_propensity is not None
    own = of_bundle(log, bundle, "itself").slot_probability
    assert own is not None
    np.testing.assert_allclose(own, log.slot_propensity, rtol=1e-9)
    other = of_bundle(log, exploring('uniform = 0.5\nmethod = "greedy"'), "greedy")
    assert other.slot_probability is not None
    lower = other.slot_probability[log.slot == 3] / log.slot_propensity[log.slot == 3]
    assert abs(lower.mean() - 1) < 4 * lower.std() / np.sqrt(N)
    whole = evaluate(log, other)
    iips = next(one for one in whole.valuations if one.estimator == "iips")
    weight = other.slot_probability / log.slot_propensity
    assert iips.value.mean == pytest.approx(float((weight * log.reward).sum()) / N)


def test_lists_from_before_the_last_event_of_a_bundle_are_noted(tmp_path: Path) -> None:
    """As where a clock is wrong: the bundle may have learnt from the clicks of the log."""
    bundle = exploring("")
    log = served(bundle, tmp_path / "log.parquet")
    assert log.time is not None
    early = replace(log, time=np.full_like(log.time, LOG.time[-1]))
    assert any("a clock is wrong" in note for note in of_bundle(early, bundle, "itself").notes)
    assert not any("clock" in note for note in of_bundle(log, bundle, "itself").notes)


def test_later_events_of_the_service_are_none_that_a_bundle_was_fitted_to(tmp_path: Path) -> None:
    bundle = exploring("")
    log = served(bundle, tmp_path / "log.parquet")
    later = replace(LOG, time=LOG.time + 2_000_000_000)
    assert not any("clock" in note for note in of_bundle(log, bundle, "itself", data=later).notes)
