"""`Logged`: decisions with rewards and weights; `Terms`: what every estimator returns, from which all errors follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.audit.estimates import Estimate
from pasand.types import Array, Mask


@dataclass(frozen=True, kw_only=True)
class Logged:
    """n logged decisions, seen from the policy that is evaluated."""

    reward: Array
    """(n,) at least 0."""
    weight: Array
    """(n,) probability of what was shown under the policy, divided by the logged one; at least 0."""
    user: Array
    """(n,) number of the user, from 0: decisions of one user depend on each other."""
    expected: Array | None = None
    """(n,) expected reward of what was shown, by a model that was fitted without its user; None: no model."""
    policy_expected: Array | None = None
    """(n,) expected reward of what the policy shows, by the same model."""

    def __post_init__(self) -> None:
        for name in ("reward", "weight", "user", "expected", "policy_expected"):
            column = getattr(self, name)
            if column is not None and column.shape != self.reward.shape:
                raise ValueError(f"columns must have one shape, got {self.reward.shape} and {name} {column.shape}")
            if column is not None and not np.isfinite(column).all():
                raise ValueError(f"{name} must be finite")
        if (self.weight < 0).any() or (self.reward < 0).any():
            raise ValueError("weight and reward must be at least 0")
        if (self.expected is None) != (self.policy_expected is None):
            raise ValueError("expected and policy_expected belong together")

    def __len__(self) -> int:
        return len(self.reward)

    def select(self, which: Mask) -> Logged:
        """Return some of the decisions."""
        return Logged(
            reward=self.reward[which],
            weight=self.weight[which],
            user=self.user[which],
            expected=None if self.expected is None else self.expected[which],
            policy_expected=None if self.policy_expected is None else self.policy_expected[which],
        )

    @property
    def model(self) -> tuple[Array, Array]:
        """The expected rewards of what was shown and of the policy, (n,) each; raises ValueError without a model."""
        if self.expected is None or self.policy_expected is None:
            raise ValueError("this estimator needs expected rewards")
        return self.expected, self.policy_expected


@dataclass(frozen=True)
class Terms:
    """An estimate as mean(base) + sum(numerator) / sum(denominator), (n,) each."""

    base: Array
    numerator: Array
    denominator: Array

    def by_user(self, user: Array) -> Array:
        """Return the sums of each user: decisions, base, numerator and denominator; (U, 4), without absent users."""
        return user_sums(user, np.ones(len(self.base)), self.base, self.numerator, self.denominator)

    def estimate(self, user: Array) -> Estimate:
        """Return the value with the influence of every user, whose squares sum to the variance clustered by user.

        nan where there is no decision, or the denominators sum to 0.
        """
        sums = self.by_user(user)
        value, gradient = linearised(sums.sum(axis=0)[None])
        return Estimate(float(value[0]), sums @ gradient[0], len(sums))


def user_sums(user: Array, *columns: Array) -> Array:
    """Return the sums of columns, (n,) each, by user; (U, columns), in order of user.

    >>> user_sums(np.array([4, 2, 4]), np.array([1.0, 2.0, 3.0]))
    array([[2.],
           [4.]])
    """
    found, code = np.unique(user, return_inverse=True)
    return np.column_stack([np.bincount(code, column, len(found)) for column in columns])


def linearised(totals: Array) -> tuple[Array, Array]:
    """Return the value of R rows of totals (decisions, base, numerator, denominator), (R, 4), and the gradient by them.

    The gradient is orthogonal to the totals, so influences sum to 0. nan where decisions or denominators are 0.
    """
    count, base, numerator, denominator = np.where(totals == 0, np.nan, totals).T
    mean, ratio = np.nan_to_num(base) / count, np.nan_to_num(numerator) / denominator
    gradient = np.column_stack([-mean / count, 1 / count, 1 / denominator, -ratio / denominator])
    return mean + ratio, gradient
