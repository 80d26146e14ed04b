"""Values of a policy from logs of `bollywood` with two random slots, against the truth of the simulated world.

A list has 8 fixed films and 2 slots that are drawn without replacement from 20 others: uniformly when logged, by a
softmax of a noisy utility under the policy. Viewers click as in the simulation, where films of a list compete. The
truth is the mean over draws of the policy of the exact number of expected clicks. Of 200 logs of 2,000 lists the mean
value of each estimator is compared with the truth, in standard errors of that mean. IIPS and RIPS assume what does not
hold here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from benchmarks.rows import Row
from pasand.off_policy import estimators, reward_models, slates
from pasand.off_policy.logged import Logged
from pasand.off_policy.slates import Slates
from pasand.simulation.choice_model import FATIGUE, LEAVE_UTILITY, MAX_CLICKS, click_probabilities
from pasand.simulation.world import World
from pasand.types import Array

MEASURES = ("off_policy/estimators.py", "off_policy/slates.py", "off_policy/reward_models.py", "off_policy/logged.py")
USERS, FILMS, FIXED, POOL, LISTS, LOGS, TRUTH = 400, 200, 8, 20, 2000, 200, 200_000
RANDOM = (2, 6)
"""Slots that are drawn."""


@dataclass(frozen=True)
class Setting:
    """What every log has in common."""

    utility: Array
    """(U, N)"""
    examination: Array
    """(K,) log of the examination weight."""
    fixed: Array
    """(U, FIXED) films."""
    pool: Array
    """(U, POOL) films."""
    scores: Array
    """(U, POOL) log-weights of the policy."""

    def lists(self, users: Array, drawn: Array) -> Array:
        """Return the films of lists, (n, K), whose random slots hold films of the pool, (n, 2)."""
        out = np.empty((len(users), FIXED + len(RANDOM)), np.int64)
        others = [k for k in range(out.shape[1]) if k not in RANDOM]
        out[:, others] = self.fixed[users]
        out[:, RANDOM] = np.take_along_axis(self.pool[users], drawn, axis=1)
        return out

    def utilities(self, users: Array, films: Array) -> Array:
        """Return utilities with the effect of positions, (n, K)."""
        return self.utility[users[:, None], films] + self.examination

    def clicks(self, users: Array, films: Array, rng: np.random.Generator) -> Array:
        """Return simulated clicks, (n, K), as `simulate_visits` draws them."""
        noisy = self.utilities(users, films) + rng.gumbel(size=films.shape)
        order = np.argsort(-noisy, axis=1)[:, :MAX_CLICKS]
        leaving = LEAVE_UTILITY + rng.gumbel(size=(len(users), 1)) + FATIGUE * np.arange(MAX_CLICKS)
        stays = np.logical_and.accumulate(np.take_along_axis(noisy, order, axis=1) >= leaving, axis=1)
        out = np.zeros(films.shape)
        np.put_along_axis(out, order, stays.astype(np.float64), axis=1)
        return out


def setting() -> Setting:
    """Return the world, its lists and the policy."""
    world = World(n_users=USERS, n_items=FILMS, seed=5)
    rng = np.random.default_rng(0)
    users = np.arange(USERS, dtype=np.int32)
    films = np.tile(np.arange(FILMS, dtype=np.int32), (USERS, 1))
    preference = np.clip(world.preference(users, films).astype(np.float64), 1e-9, 1 - 1e-9)
    utility = logit(preference)
    order = np.argsort(-(utility + 1.5 * rng.standard_normal(utility.shape)), axis=1)
    fixed, rest = order[:, :FIXED], order[:, FIXED:]
    pool = np.take_along_axis(rest, np.argsort(rng.random(rest.shape), axis=1)[:, :POOL], axis=1)
    scores = np.take_along_axis(utility, pool, axis=1) + rng.standard_normal(pool.shape)
    scores = 0.8 * (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    examination = np.log(world.examination(np.arange(1, FIXED + len(RANDOM) + 1, dtype=np.int32)).astype(np.float64))
    return Setting(utility, examination, fixed, pool, scores)


def drawn(scores: Array, rng: np.random.Generator) -> Array:
    """Return two positions of the pool drawn without replacement by softmax, (n, POOL) -> (n, 2)."""
    return np.argsort(-(scores + rng.gumbel(size=scores.shape)), axis=1)[:, :2]


def probabilities(scores: Array, chosen: Array) -> tuple[Array, Array]:
    """Return the conditional and the marginal probabilities of what was drawn, (n, 2) each."""
    p = np.exp(scores)
    p /= p.sum(axis=1, keepdims=True)
    first, second = (np.take_along_axis(p, chosen[:, [slot]], axis=1)[:, 0] for slot in (0, 1))
    odds = p / (1 - p)
    beside = odds.sum(axis=1) - first_odds(second)
    return np.column_stack([first, second / (1 - first)]), np.column_stack([first, second * beside])


def first_odds(p: Array) -> Array:
    """Return odds of probabilities, (n,)."""
    return np.asarray(p / (1 - p))


def run() -> list[Row]:
    """Return the deviation of the mean of each estimator from the truth."""
    one, rng = setting(), np.random.default_rng(1)
    total = 0.0
    for _ in range(TRUTH // 20_000):
        users = rng.integers(0, USERS, 20_000)
        films = one.lists(users, drawn(one.scores[users], rng))
        total += float(click_probabilities(np.exp(one.utilities(users, films))).sum(axis=1).mean())
    truth = total / (TRUTH // 20_000)
    values: dict[str, list[float]] = {}
    for seed in range(LOGS):
        for name, value in _values(one, np.random.default_rng([2, seed]), seed).items():
            values.setdefault(name, []).append(value)
    rows = []
    for name, found in values.items():
        mean, error = float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(LOGS))
        limit = 2.0 if name in ("sips", "snsips", "dr", "sndr") else None
        rows.append(
            Row(
                target=f"{name}: distance of the mean of {LOGS} logs from the truth, in standard errors of the mean",
                value=abs(mean - truth) / error,
                limit=limit,
                better="lower",
                detail=f"bias {mean / truth - 1:+.2%}, truth {truth:.4f}; error of one log {np.std(found) / truth:.1%}",
                comparable=limit is not None,
                synthetic=True,
            )
        )
    return rows


def _values(one: Setting, rng: np.random.Generator, seed: int) -> dict[str, float]:
    users = rng.integers(0, USERS, LISTS)
    flat = np.zeros((LISTS, POOL))
    chosen = drawn(flat, rng)
    films = one.lists(users, chosen)
    reward = one.clicks(users, films, rng)
    logged, policy = probabilities(flat, chosen), probabilities(one.scores[users], chosen)
    weights = [np.ones(reward.shape), np.ones(reward.shape)]
    for weight, above, below in zip(weights, policy, logged, strict=True):
        weight[:, RANDOM] = above / below
    lists = Slates(reward=reward, weight=weights[0], marginal=weights[1], user=users)
    position = np.tile(np.arange(reward.shape[1]), LISTS)
    model = reward_models.fit(
        reward.ravel(),
        position,
        films.ravel(),
        np.repeat(users, reward.shape[1]),
        shape=(reward.shape[1], FILMS),
        max_reward=1.0,
        seed=seed,
    )
    shown = one.lists(users, drawn(one.scores[users], rng))  # one draw of the policy: unbiased for its mean
    expected, of_policy = (
        model.at(position, which.ravel()).reshape(reward.shape).sum(axis=1) for which in (films, shown)
    )
    joint = lists.joint()
    decisions = Logged(
        reward=joint.reward, weight=joint.weight, user=users, expected=expected, policy_expected=of_policy
    )
    terms = {name: slates.ESTIMATORS[name](lists) for name in ("sips", "snsips", "iips", "rips", "pseudo_inverse")}
    terms |= {name: getattr(estimators, name)(decisions) for name in ("dm", "dr", "sndr")}
    return {name: found.estimate(users).value for name, found in terms.items()}
