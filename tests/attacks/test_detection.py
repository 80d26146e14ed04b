"""Detection: every kind of attack is found by its target, and a clean log holds next to no suspicious profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.attacks.behaviour import behaviour
from pasand.attacks.detection import detect
from pasand.attacks.injection import Attack, inject
from pasand.attacks.kinds import KINDS
from pasand.data.dataset import Dataset
from tests.attacks.market import market, rare_item
from tests.logs import log


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_attack_is_found_by_its_target(kind: str) -> None:
    data = market()
    result = inject(data, Attack(kind=kind, share=0.05, filler=0.1), rare_item(data), rng=np.random.default_rng(1))
    found = detect(result.data)
    assert found.items[0].item == data.items.ids([result.target])[0]
    is_attacker = np.isin(np.arange(result.data.n_users), result.attackers)
    assert (found.flagged & is_attacker).sum() >= 0.8 * is_attacker.sum()
    assert (found.flagged & ~is_attacker).sum() <= 0.01 * data.n_users
    assert f"{len(found.items[0].profiles)} of " in found.lines()[1]
    assert found.as_json()["suspicious_profiles"] == found.flagged.sum()


@given(seed=st.integers(0, 2**31), n_users=st.integers(11, 120))
@settings(max_examples=10)
def test_a_clean_log_has_at_most_one_in_a_hundred_suspicious_profiles(seed: int, n_users: int) -> None:
    found = detect(market.__wrapped__(seed, n_users=n_users))
    assert found.flagged.sum() <= 0.01 * n_users
    assert found.items or found.lines() == ["no item seems to be pushed by fake profiles"]


def test_neither_the_order_of_events_nor_their_times_matter() -> None:
    data = market()
    data = inject(data, Attack(), rare_item(data), rng=np.random.default_rng(2)).data
    order = np.random.default_rng(0).permutation(len(data))
    shuffled = replace(data.select(order), order="none", time=np.zeros_like(data.time))
    np.testing.assert_allclose(detect(shuffled).suspicion, detect(data).suspicion, atol=1e-6)


def test_measures_of_a_log_by_hand() -> None:
    data = log([("a", "x", 1, 5.0), ("a", "y", 2, 3.0), ("b", "x", 3, 4.0), ("b", "x", 4, 2.0)])
    measures = behaviour(data)
    assert measures.shape == (2, 7)
    np.testing.assert_allclose(measures[:, 0], [np.log(2) / 2, np.log(2)])  # x has two users, y one
    np.testing.assert_allclose(measures[:, 1], [np.log(2) / 2, 0], atol=1e-7)
    mean = (5 + 3 + 2) / 3  # the latest rating of a pair counts
    x, y = (2 + 5 * mean) / 6, mean
    np.testing.assert_allclose(measures[0, 3], (5 - x + 3 - y) / 2)


@pytest.mark.parametrize("n_users", [0, 1, 11])
def test_small_logs_have_no_suspicious_profile(n_users: int) -> None:
    events = [(f"u{user:02}", f"i{item}", 10 * user + item, 5.0) for user in range(n_users) for item in range(6)]
    data = log(events)
    found = detect(data)
    assert not found.flagged.any()
    assert not found.items


def test_implicit_logs_are_checked_by_what_users_choose() -> None:
    plain: Dataset = replace(market(), value=None, values="none", positive_from=-np.inf)
    assert behaviour(plain).shape == (plain.n_users, 3)
    result = inject(
        plain, Attack(kind="random", share=0.05, filler=0.2), rare_item(plain), rng=np.random.default_rng(3)
    )
    found = detect(result.data)
    assert found.items[0].item == plain.items.ids([result.target])[0]
    assert found.flagged[result.attackers].mean() > 0.8
