"""Whether foreseen amounts come true: by parts of equal size, and a map that brings them nearer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pasand.types import Array, Rows, Scores

PARTS = 10
FEW = 100
"""Amounts above 0 below which a map has nothing to learn its form from."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was foreseen beside what came, on average in each of G parts of equal size, the least foreseen first."""

    predicted: Array
    """(G,)"""
    observed: Array
    """(G,)"""
    spread: Array
    """(G,) standard error of `error`: how much of it may be chance."""
    count: Array
    """(G,) pairs in the part."""

    @property
    def error(self) -> Array:
        """(G,) how much more was foreseen than came, as a share of what came; nan where nothing came."""
        ratio: Array = np.divide(self.predicted, self.observed, out=np.full(len(self.observed), np.nan), where=self.observed > 0)
        return ratio - 1

    def as_json(self) -> dict[str, Any]:
        """Return the parts as lists of numbers; nan is None."""
        columns = {"predicted": self.predicted, "observed": self.observed, "error": self.error, "standard_error": self.spread}
        told = {name: [float(v) if np.isfinite(v) else None for v in values] for name, values in columns.items()}
        return told | {"count": self.count.tolist()}

    def __str__(self) -> str:
        """Return the errors and their standard errors in per cent.

        >>> one = np.ones(1)
        >>> print(Calibration(predicted=1.1 * one, observed=one, spread=0.02 * one, count=one))
        +10 ±2 %
        """
        pairs = zip(100 * self.error, 100 * self.spread, strict=True)
        return ", ".join(f"{error:+.0f} ±{spread:.0f}" for error, spread in pairs) + " %"


def calibration(predicted: Array, observed: Array, users: Rows, parts: int = PARTS) -> Calibration:
    """Return how foreseen amounts, (n,) at least 0, compare with what came, (n,), in parts by what was foreseen.

    Parts differ in size by one at most; where there are fewer pairs than parts, there are fewer parts. The standard
    error is that of a ratio of sums over users, (n,) rows, who are drawn as wholes (Cochran, Sampling Techniques, 1977,
    section 6.4); nan for a part of one user, or where nothing came.
    """
    order = np.argsort(predicted, kind="stable")
    split = np.array_split(order, max(1, min(parts, len(order)))) if len(order) else []
    told = [_part(predicted[part].astype(np.float64), observed[part].astype(np.float64), users[part]) for part in split]
    columns = np.array(told, np.float64).reshape(len(split), 3).T
    return Calibration(
        predicted=columns[0],
        observed=columns[1],
        spread=columns[2],
        count=np.array([len(part) for part in split], np.int64),
    )


def _part(predicted: Array, observed: Array, users: Rows) -> tuple[float, float, float]:
    """Return the means, and the standard error of their ratio."""
    total = observed.sum()
    people, who = np.unique(users, return_inverse=True)
    if total <= 0 or len(people) < 2:
        return predicted.mean(), observed.mean(), np.nan
    off = np.bincount(who, predicted - predicted.sum() / total * observed)
    spread = np.sqrt((off**2).sum() * len(people) / (len(people) - 1)) / total
    return predicted.mean(), observed.mean(), float(spread)


def learn_map(logit: Array, amount: Array, parts: int = 5) -> Array:
    """Return the map from logits, (n,), to logs of expected amounts, (n,) at least 0, as rising knots, (2, parts + 2).

    First a straight line: Platt's scaling (Advances in Large Margin Classifiers, 2000) by the loss of the weighted
    logistic regression, whose optimum is the mean amount. Then means of what came in parts of equal foreseen amount,
    made to rise (isotonic regression, Zadrozny and Elkan, KDD 2002), through which the map passes; beyond the middle of
    the outer parts it follows the line. Parts of equal amount, not of equal size, since so each is known as well as the
    others. Where fewer than `FEW` amounts are above 0, or logits do not differ, the map only shifts.
    """
    z, y = logit.astype(np.float64), amount.astype(np.float64)
    if (y > 0).sum() < FEW or not z.std() > 0:
        shift = np.log(y.mean()) - np.log(np.exp(z).mean()) if y.any() else 0.0
        return np.array([[0, 1], [shift, 1 + shift]], np.float32)
    start, slope = _line(z, y)
    order = np.argsort(z, kind="stable")
    total = np.cumsum(np.exp(start + slope * z[order]))
    split = np.split(order, np.searchsorted(total, total[-1] * np.arange(1, parts) / parts))
    split = [part for part in split if y[part].any()]
    observed = np.log(_rising(np.array([y[part].mean() for part in split]), np.array([len(part) for part in split])))
    middle = (np.log([np.exp(start + slope * z[part]).mean() for part in split]) - start) / slope
    ends = np.array([min(z.min(), middle[0]), max(z.max(), middle[-1])])
    beyond = np.array([observed[0], observed[-1]]) + slope * (ends - middle[[0, -1]])
    knots = np.stack([np.r_[ends[0], middle, ends[1]], np.r_[beyond[0], observed, beyond[1]]])
    return knots.astype(np.float32)


def _line(z: Array, y: Array) -> tuple[float, float]:
    """Return start and slope, above 0, of the straight line from logits to logs of expected amounts."""
    from scipy.optimize import minimize
    from scipy.special import expit

    centre, spread = z.mean(), z.std()
    scaled = (z - centre) / spread

    def loss(line: Array) -> tuple[float, Array]:
        log = line[0] + np.exp(line[1]) * scaled
        off = (1 + y) * expit(log) - y
        gradient = np.array([off.mean(), (off * scaled).mean() * np.exp(line[1])])
        return float(np.mean(np.logaddexp(0, log) + y * np.logaddexp(0, -log))), gradient

    start, slope = minimize(loss, [centre, np.log(spread)], jac=True, method="BFGS").x
    slope = np.exp(slope) / spread
    return float(start - slope * centre), float(slope)


def _rising(values: Array, weights: Array) -> Array:
    """Return the rising values nearest to these, neighbours that fall being pooled (Ayer et al., 1955).

    >>> _rising(np.array([1.0, 3.0, 1.0, 5.0]), np.ones(4)).tolist()
    [1.0, 2.0, 2.0, 5.0]
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (high, a, n), (low, b, m) = pools[-2:]
            pools[-2:] = [((high * a + low * b) / (a + b), a + b, n + m)]
    return np.repeat([value for value, _, _ in pools], [n for _, _, n in pools])


def mapped(knots: Array, logit: Scores) -> Scores:
    """Return logits moved by a map of `learn_map`, beyond its ends in parallel to what they were; -inf stays."""
    x, log = knots.astype(np.float64)
    inside = np.clip(logit, x[0], x[-1])
    moved: Scores = (np.interp(inside, x, log) + (logit - inside)).astype(np.float32)
    return moved
