"""Estimators of a policy's value from single decisions, with the names and formulas of the Open Bandit Pipeline.

w is a decision's weight, r its reward, q the expected reward of what was shown and v that of the policy.
"""

from __future__ import annotations

import math

import numpy as np

from pasand.off_policy.logged import Logged, Terms
from pasand.types import Array


def dm(log: Logged) -> Terms:
    """Return the direct method, mean(v): right where the reward model is, whatever was logged."""
    _, policy = log.model
    return Terms(policy, np.zeros(len(log)), np.ones(len(log)))


def ips(log: Logged, clip: float = math.inf) -> Terms:
    """Return inverse propensity scoring, mean(min(w, clip) r); unbiased without clipping (Horvitz & Thompson 1952)."""
    return Terms(np.zeros(len(log)), np.minimum(log.weight, clip) * log.reward, np.ones(len(log)))


def snips(log: Logged) -> Terms:
    """Return self-normalised inverse propensity scoring, sum(w r) / sum(w) (Swaminathan & Joachims 2015)."""
    return Terms(np.zeros(len(log)), log.weight * log.reward, log.weight)


def dr(log: Logged, clip: float = math.inf) -> Terms:
    """Return the doubly robust estimate, mean(v + min(w, clip) (r - q)) (Dudík et al. 2014)."""
    return _corrected(log, np.minimum(log.weight, clip))


def sndr(log: Logged) -> Terms:
    """Return the self-normalised doubly robust estimate, mean(v) + sum(w (r - q)) / sum(w)."""
    shown, policy = log.model
    return Terms(policy, log.weight * (log.reward - shown), log.weight)


def dros(log: Logged, shrinkage: float = math.inf) -> Terms:
    """Return the doubly robust estimate with optimistic shrinkage, weights s w / (w^2 + s) (Su et al., ICML 2020).

    Infinite shrinkage parameters s leave the weights as they are; 0 gives the direct method.
    """
    if math.isinf(shrinkage):
        return _corrected(log, log.weight)
    denominator = log.weight**2 + shrinkage
    return _corrected(log, shrinkage * log.weight / np.where(denominator > 0, denominator, 1))


def switch_dr(log: Logged, threshold: float = math.inf) -> Terms:
    """Return Switch-DR: the correction counts only where w <= threshold (Wang, Agarwal & Dudík, ICML 2017)."""
    return _corrected(log, np.where(log.weight <= threshold, log.weight, 0.0))


def _corrected(log: Logged, weight: Array) -> Terms:
    shown, policy = log.model
    return Terms(policy, weight * (log.reward - shown), np.ones(len(log)))
