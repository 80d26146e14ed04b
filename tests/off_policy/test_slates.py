"""Estimators of lists: a hand-computed list, unbiasedness where their assumption holds, bias where it does not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pasand.off_policy import slates
from pasand.off_policy.slates import Slates

ONE = Slates(reward=np.array([[1.0, 2.0, 4.0]]), weight=np.array([[2.0, 0.5, 3.0]]), user=np.zeros(1, np.int64))


def test_values_by_hand() -> None:
    expected = {"sips": 3 * 7, "snsips": 7.0, "iips": 2 + 1 + 12, "rips": 2 + 2 + 12, "pseudo_inverse": 3.5 * 7}
    for name, value in expected.items():
        assert slates.ESTIMATORS[name](ONE).estimate(ONE.user).value == pytest.approx(value)
        assert slates.ASSUMPTIONS[name]


def test_cascade_dr_by_hand() -> None:
    q, v = np.array([[1.0, 1.0, 2.0]]), np.array([[2.0, 3.0, 1.0]])
    base = 1 * 2 + 2 * 3 + 1 * 1
    correction = 2 * (1 - 1) + 1 * (2 - 1) + 3 * (4 - 2)
    assert slates.cascade_dr(ONE, q, v).estimate(ONE.user).value == pytest.approx(base + correction)


def test_cascade_dr_with_a_model_of_0_is_rips() -> None:
    zero = np.zeros((1, 3))
    assert slates.cascade_dr(ONE, zero, zero).estimate(ONE.user).value == slates.rips(ONE).estimate(ONE.user).value


def whole_world(reward: str) -> tuple[Slates, np.ndarray, float]:
    """Return every list of 2 of 4 items with its logged probability, and the exact value of a policy."""
    rng = np.random.default_rng(3)
    logged, policy, appeal = rng.dirichlet(np.ones(4) * 3), rng.dirichlet(np.ones(4) * 3), rng.random(4)
    rewards, conditional, marginal, probability, of_policy = [], [], [], [], []
    lists = list(itertools.permutations(range(4), 2))

    def slot(p: np.ndarray, a: int, b: int) -> tuple[float, float]:
        return p[a], p[b] / (1 - p[a])

    def second(p: np.ndarray, b: int) -> float:
        return float(sum(p[a] * p[b] / (1 - p[a]) for a in range(4) if a != b))

    for a, b in lists:
        (m1, m2), (e1, e2) = slot(logged, a, b), slot(policy, a, b)
        conditional.append([e1 / m1, e2 / m2])
        marginal.append([e1 / m1, second(policy, b) / second(logged, b)])
        probability.append(m1 * m2)
        of_policy.append(e1 * e2)
        first, other = appeal[a], appeal[b]
        if reward == "cascade":
            other *= 1 - first
        if reward == "competing":
            first, other = first / (1 + first + other), other / (1 + first + other)
        rewards.append([first, other])
    world = Slates(
        reward=np.array(rewards), weight=np.array(conditional), marginal=np.array(marginal), user=np.arange(len(lists))
    )
    return world, np.array(probability), float(np.array(of_policy) @ np.array(rewards).sum(axis=1))


@pytest.mark.parametrize(
    ("reward", "unbiased"),
    [
        ("independent", {"sips", "snsips", "iips", "rips"}),
        ("cascade", {"sips", "snsips", "rips"}),
        ("competing", {"sips", "snsips"}),
    ],
)
def test_unbiased_exactly_where_the_assumption_holds(reward: str, unbiased: set[str]) -> None:
    world, probability, truth = whole_world(reward)
    for name in ("sips", "snsips", "iips", "rips"):
        terms = slates.ESTIMATORS[name](world)
        value = probability @ terms.numerator / (probability @ terms.denominator)
        assert (abs(value - truth) < 1e-12) == (name in unbiased), name


def test_pseudo_inverse_is_unbiased_for_sums_under_independent_slots() -> None:
    rng = np.random.default_rng(0)
    logged, policy, effect = (np.stack([rng.dirichlet(np.ones(3)) for _ in range(2)]) for _ in range(3))
    total, mass = 0.0, 0.0
    for a, b in itertools.product(range(3), repeat=2):
        weight = np.array([[policy[0, a] / logged[0, a], policy[1, b] / logged[1, b]]])
        reward = np.array([[0.0, effect[0, a] + effect[1, b]]])  # seen for the whole list only
        terms = slates.pseudo_inverse(Slates(reward=reward, weight=weight, user=np.zeros(1, np.int64)))
        total += logged[0, a] * logged[1, b] * terms.numerator[0]
        mass += logged[0, a] * logged[1, b]
    assert mass == pytest.approx(1)
    assert total == pytest.approx((policy * effect).sum())
