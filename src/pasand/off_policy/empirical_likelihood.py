"""The safe interval: empirical likelihood with the known range of weights, users being the units.

Rewards and weights that the log does not hold may exist, up to the largest weight that the logged floor admits. The
likelihood of a value v is the largest one of a distribution on the whole range whose mean weight is 1 and whose mean
reward is v (Karampatziakis, Langford & Mineiro, Empirical Likelihood for Contextual Bandits, NeurIPS 2020). The dual
has two variables and one linear constraint at each vertex of the range, as weight and weighted reward enter linearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import optimize, stats

from pasand.evaluation.intervals import Interval
from pasand.off_policy.logged import Logged, user_sums
from pasand.types import Array

LEVEL = 0.05
BARRIER = (1.0, 0.05, 1e-3)
"""Weights of the logarithmic barrier in turn; the last leaves an error of at most 4 of it in the log-likelihood."""
EDGE = 1e-7
"""Distance from the ends of the range of values, relative to it, within which none is tried."""


@dataclass(frozen=True)
class _Problem:
    """The distinct users' sums and the vertices of the range."""

    times: Array
    """(M,) how many users have the sums."""
    count: Array
    """(M,) decisions."""
    weight: Array
    """(M,) sum of weights, less the count."""
    reward: Array
    """(M,) sum of weighted rewards."""
    vertices: Array
    """(4, 2) weight less 1 and weighted reward of one decision."""
    most: float
    """Largest count."""

    def log_ratio(self, value: float) -> float:
        """Return minus the log of the empirical likelihood of a value, relative to that of the sample."""
        rows = np.column_stack([self.weight, self.reward - value * self.count])
        limits = self.most * (self.vertices - [0.0, value])
        scale = np.maximum(np.abs(limits).max(axis=0), 1e-300)
        return float(_largest(rows / scale, self.times, limits / scale, BARRIER))


def safe_interval(
    log: Logged, max_weight: float, max_reward: float, *, min_weight: float = 0.0, level: float = LEVEL
) -> Interval:
    """Return the value of largest empirical likelihood and the bounds of its 1 - level interval, in [0, max_reward].

    The interval holds the values whose log-likelihood is below the largest by at most half the quantile of F(1, U - 1),
    Owen's calibration (2001) of the chi-square. Weights are known to be in [min_weight, max_weight], which must hold
    1 and the weights of the log, and rewards in [0, max_reward]. (nan, 0, max_reward) with fewer than two users. A user
    with many decisions is one unit, and the range then admits a user of the largest weight with as many decisions.
    """
    if not (min_weight <= 1 <= max_weight and max_reward > 0):
        raise ValueError(f"the range must hold weight 1 and a reward, got {min_weight, max_weight, max_reward}")
    if len(log) and (log.weight.max() > max_weight * (1 + 1e-9) or log.reward.max() > max_reward * (1 + 1e-9)):
        raise ValueError(f"a weight or reward is beyond {max_weight, max_reward}")
    sums = user_sums(log.user, np.ones(len(log)), log.weight - 1, log.weight * log.reward)
    if len(sums) < 2:
        return Interval(math.nan, 0.0, max_reward)
    if max_weight - min_weight < 1e-9:
        max_weight, min_weight = max_weight + 1e-9, max(0.0, min_weight - 1e-9)
    distinct, times = np.unique(sums, axis=0, return_counts=True)
    problem = _Problem(
        times=times.astype(np.float64),
        count=distinct[:, 0],
        weight=distinct[:, 1],
        reward=distinct[:, 2],
        vertices=np.array([[w - 1, w * r] for w in (min_weight, max_weight * (1 + 1e-9)) for r in (0.0, max_reward)]),
        most=float(distinct[:, 0].max()),
    )
    least, largest = EDGE * max_reward, (1 - EDGE) * max_reward
    best = _best(problem, least, largest)
    allowed = problem.log_ratio(best) + float(stats.f.isf(level, 1, len(sums) - 1)) / 2
    low = _crossing(problem, best, least, allowed)
    high = _crossing(problem, best, largest, allowed)
    return Interval(best, 0.0 if low <= least else low, max_reward if high >= largest else high)


def _best(problem: _Problem, least: float, largest: float) -> float:
    """Return the value of largest likelihood; the log-likelihood is concave in the value."""
    centre = float(problem.times @ problem.reward / (problem.times @ (problem.weight + problem.count)).clip(1e-12))
    centre = min(max(centre, least), largest)
    low, high = centre, centre
    at = problem.log_ratio(centre)
    step = max(centre * 0.1, least)
    for side in (-1.0, 1.0):
        end, reached, width = centre, at, step
        while least < end < largest or end == centre:
            end = min(max(centre + side * width, least), largest)
            now = problem.log_ratio(end)
            if now >= reached:
                break
            reached, width = now, width * 4
        low, high = (end, high) if side < 0 else (low, end)
    found = optimize.minimize_scalar(
        problem.log_ratio, bounds=(low, high), method="bounded", options={"xatol": 1e-4 * max(high - low, least)}
    )
    return float(found.x) if found.fun < at else centre


def _crossing(problem: _Problem, best: float, end: float, allowed: float) -> float:
    """Return where minus the log-likelihood reaches `allowed` between the best value and an end; the end if nowhere."""
    inside, width = best, 0.1 * best + EDGE * abs(end - best)
    while True:
        outside = best + math.copysign(min(width, abs(end - best)), end - best)
        if problem.log_ratio(outside) > allowed:
            break
        if outside == end or abs(outside - best) >= abs(end - best):
            return end
        inside, width = outside, width * 3
    return float(
        optimize.brentq(lambda v: problem.log_ratio(v) - allowed, inside, outside, xtol=1e-12, rtol=1e-5)
        if problem.log_ratio(inside) < allowed
        else inside
    )


@njit(cache=True)
def _objective(rows: Array, times: Array, limits: Array, barrier: float, first: float, second: float) -> float:
    """Return the likelihood plus the barrier at a dual; -inf outside of the constraints."""
    total = 0.0
    for i in range(len(rows)):
        inner = 1.0 + rows[i, 0] * first + rows[i, 1] * second
        if inner <= 0.0:
            return -math.inf
        total += times[i] * math.log(inner)
    for i in range(len(limits)):
        outer = 1.0 + limits[i, 0] * first + limits[i, 1] * second
        if outer <= 0.0:
            return -math.inf
        total += barrier * math.log(outer)
    return total


@njit(cache=True)
def _largest(rows: Array, times: Array, limits: Array, barriers: tuple[float, ...]) -> float:
    """Return the likelihood at the dual that maximises it within the constraints, by Newton steps from 0."""
    first, second = 0.0, 0.0
    for barrier in barriers:
        reached = _objective(rows, times, limits, barrier, first, second)
        for _ in range(60):
            g0, g1, h00, h01, h11 = 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(len(rows) + len(limits)):
                inside = i < len(rows)
                a0 = rows[i, 0] if inside else limits[i - len(rows), 0]
                a1 = rows[i, 1] if inside else limits[i - len(rows), 1]
                c = times[i] if inside else barrier
                value = 1.0 + a0 * first + a1 * second
                a0, a1 = a0 / value, a1 / value
                g0, g1 = g0 + c * a0, g1 + c * a1
                h00, h01, h11 = h00 + c * a0 * a0, h01 + c * a0 * a1, h11 + c * a1 * a1
            ridge = 1e-13 * (h00 + h11)
            h00, h11 = h00 + ridge, h11 + ridge
            determinant = h00 * h11 - h01 * h01
            if not determinant > 0.0:
                break
            s0, s1 = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
            gain, length, found = g0 * s0 + g1 * s1, 1.0, False
            if gain < 1e-7:
                break
            while length > 1e-12:
                now = _objective(rows, times, limits, barrier, first + length * s0, second + length * s1)
                if now >= reached + 0.1 * length * gain:
                    found = True
                    break
                length /= 2.0
            if not found:
                break
            first, second, reached = first + length * s0, second + length * s1, now
    return float(_objective(rows, times, limits, 0.0, first, second))
