"""Estimators of a policy's value from lists, with the assumption on users that each needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pasand.off_policy.logged import Logged, Terms
from pasand.types import Array

ASSUMPTIONS: Mapping[str, str] = {
    "sips": "none: items of a list may influence each other in any way",
    "snsips": "none: items of a list may influence each other in any way",
    "iips": "a click depends on its item and position alone, whatever else the list shows",
    "rips": "users read from the top: a click depends on its item and on those above it, not on those below",
    "cascade_dr": "users read from the top: a click depends on its item and on those above it, not on those below",
    "pseudo_inverse": "the reward of a list is the sum of one unknown number per item and position, and the slots were "
    "drawn independently of each other",
}
"""What an estimate assumes, in words, by name."""


@dataclass(frozen=True, kw_only=True)
class Slates:
    """n lists of up to K slots; a slot that a list does not have has reward 0 and weight 1."""

    reward: Array
    """(n, K) reward of each slot, at least 0."""
    weight: Array
    """(n, K) probability of the slot's item, given the slots above, under the policy divided by the logged one."""
    user: Array
    """(n,)"""
    marginal: Array | None = None
    """(n, K) the same for probabilities that are not conditional on the slots above; None: equal to `weight`, which
    holds where a slot was drawn independently of the others, as where at most one slot is random."""

    @property
    def slot_weight(self) -> Array:
        """The weight of the item in its slot whatever the others show, (n, K)."""
        return self.weight if self.marginal is None else self.marginal

    def joint(self) -> Logged:
        """Return each list as one decision: its whole reward, weighted by the product over the random slots."""
        return Logged(reward=self.reward.sum(axis=1), weight=self.weight.prod(axis=1), user=self.user)


def sips(slates: Slates) -> Terms:
    """Return inverse propensity scoring by the joint weight of a list; its variance grows with the random slots."""
    joint = slates.joint()
    return _mean(joint.weight * joint.reward)


def snsips(slates: Slates) -> Terms:
    """Return the same divided by the mean joint weight, which removes the chance in how many lists match."""
    joint = slates.joint()
    return Terms(np.zeros(len(joint)), joint.weight * joint.reward, joint.weight)


def iips(slates: Slates) -> Terms:
    """Return the estimate of independent slots (Li et al., Offline Evaluation of Ranking Policies, KDD 2018)."""
    return _mean((slates.slot_weight * slates.reward).sum(axis=1))


def rips(slates: Slates) -> Terms:
    """Return the estimate of rewards that interact downwards (McInerney et al., KDD 2020)."""
    return _mean((np.cumprod(slates.weight, axis=1) * slates.reward).sum(axis=1))


def cascade_dr(slates: Slates, expected: Array, policy_expected: Array) -> Terms:
    """Return Cascade-DR (Kiyohara et al., WSDM 2022, equation 8).

    `expected`, (n, K), is the model's expected reward of a slot and all slots below it, given the items down to the
    slot; `policy_expected`, (n, K), is its mean over what the policy puts into the slot, given the items above it.
    """
    down = np.cumprod(slates.weight, axis=1)
    above = np.column_stack([np.ones(len(down)), down[:, :-1]])
    base = (above * policy_expected).sum(axis=1)
    return Terms(base, (down * (slates.reward - expected)).sum(axis=1), np.ones(len(down)))


def pseudo_inverse(slates: Slates) -> Terms:
    """Return the pseudo-inverse estimate for independent slots, weight 1 + sum(w - 1) (Swaminathan et al. 2017)."""
    return _mean((1 + (slates.slot_weight - 1).sum(axis=1)) * slates.reward.sum(axis=1))


ESTIMATORS: Mapping[str, Callable[[Slates], Terms]] = {
    "sips": sips,
    "snsips": snsips,
    "iips": iips,
    "rips": rips,
    "pseudo_inverse": pseudo_inverse,
}
"""The estimators of lists that need no reward model, by name."""


def _mean(values: Array) -> Terms:
    return Terms(np.zeros(len(values)), values, np.ones(len(values)))
