"""The reward model: a ridge-penalised logistic regression of rewards on item and position, cross-fitted over users."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from pasand.types import Array

FOLDS = 3
PENALTIES = (1.0, 4.0, 16.0, 64.0, 1e6)
"""Candidates for the penalty of item effects: 1 / variance of an effect on the logistic scale."""


@dataclass(frozen=True)
class RewardModel:
    """Expected rewards by fold, position and item; those of a fold were fitted without its users."""

    table: Array
    """(F, P, N) expected reward."""
    fold: Array
    """(n,) fold of each decision's user."""

    @property
    def extended(self) -> Array:
        """The table with two further columns, (F, P, N + 2): the mean, for unknown items, and 0, for no item."""
        mean = self.table.mean(axis=2, keepdims=True)
        return np.concatenate([self.table, mean, np.zeros_like(mean)], axis=2)

    def at(self, position: Array, item: Array) -> Array:
        """Return the expected reward of an item for each decision, (n,); 0 for item -1, the mean for item N."""
        return np.asarray(self.extended[self.fold, position, item])


def fit(
    reward: Array,
    position: Array,
    item: Array,
    user: Array,
    *,
    shape: tuple[int, int],
    max_reward: float,
    seed: int = 0,
) -> RewardModel:
    """Return the model of n decisions with `shape` = (positions P, items N).

    Rewards, (n,), are divided by `max_reward` and fitted by fractional logistic regression on cells of position and
    item. The penalty is the one of `PENALTIES` with the least log loss on held-out users. A fold whose train part has
    no reward, or nothing else, gets a constant, as do logs of one user.
    """
    rng = np.random.default_rng(seed)
    n_users = int(user.max(initial=-1)) + 1
    fold = (rng.permutation(n_users) % FOLDS).astype(np.int32)[user]
    cell = np.ravel_multi_index((fold, position, item), (FOLDS, *shape))
    count = np.bincount(cell, minlength=FOLDS * math.prod(shape)).reshape(FOLDS, *shape).astype(np.float64)
    total = np.bincount(cell, reward / max_reward, FOLDS * math.prod(shape)).reshape(count.shape)
    best, least = np.zeros(count.shape), math.inf
    for penalty in PENALTIES:
        rates = [logistic(count.sum(0) - count[f], total.sum(0) - total[f], penalty) for f in range(FOLDS)]
        table = np.stack(rates)
        clipped = np.clip(table, 1e-9, 1 - 1e-9)
        loss = -float((total * np.log(clipped) + (count - total) * np.log1p(-clipped)).sum())
        if loss < least:
            best, least = table, loss
    return RewardModel(best * max_reward, fold)


def logistic(count: Array, total: Array, penalty: float) -> Array:
    """Return fitted rates of cells of position and item, (P, N), from their numbers and sums of rewards in [0, 1].

    The logit is an intercept plus an effect of the position, with penalty 1, plus one of the item. Fitted by Newton's
    method; the items' block of the Hessian is diagonal and eliminated. Without any reward, or with the largest one
    throughout, the rate is constant.
    """
    rate = float(total.sum() / max(count.sum(), 1.0))
    if not 0 < rate < 1:
        return np.full(count.shape, rate)
    n_positions = len(count)
    effect, of_item = np.zeros(n_positions + 1), np.zeros(count.shape[1])
    effect[0] = math.log(rate / (1 - rate))
    ridge = np.r_[0.0, np.ones(n_positions)]
    for _ in range(50):
        p = expit(effect[0] + effect[1:, None] + of_item)
        left, w = total - count * p, count * p * (1 - p)
        slope = np.r_[left.sum(), left.sum(axis=1)] - ridge * effect
        slope_item = left.sum(axis=0) - penalty * of_item
        cross = np.vstack([w.sum(axis=0), w])
        own = w.sum(axis=0) + penalty
        hessian = np.diag(np.r_[w.sum(), w.sum(axis=1)] + ridge)
        hessian[0, 1:] = hessian[1:, 0] = w.sum(axis=1)
        schur = hessian - (cross / own) @ cross.T
        step = np.linalg.lstsq(schur, slope - cross @ (slope_item / own), rcond=None)[0]
        step_item = (slope_item - cross.T @ step) / own
        length = min(1.0, 3.0 / max(float(np.abs(step).max()), float(np.abs(step_item).max()), 1e-12))
        effect, of_item = effect + length * step, of_item + length * step_item
        if max(float(np.abs(step).max()), float(np.abs(step_item).max())) < 1e-9:
            break
    return np.asarray(expit(effect[0] + effect[1:, None] + of_item))
