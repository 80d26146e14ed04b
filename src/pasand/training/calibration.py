"""Calibration of predicted amounts, such as minutes: the error by bins of the prediction, and a map that reduces it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pasand.types import Array, Rows, Scores

BINS = 10
MIN_POSITIVE = 100
"""Number of amounts above 0 below which a map is a shift alone."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Mean predicted and observed amounts in G bins of equal size, lowest predictions first."""

    predicted: Array
    """(G,) mean prediction."""
    observed: Array
    """(G,) mean observed amount."""
    standard_error: Array
    """(G,) standard error of `error`."""
    count: Array
    """(G,) pairs in the bin."""

    @property
    def error(self) -> Array:
        """(G,) relative error, predicted / observed - 1; nan where nothing was observed."""
        ratio: Array = np.divide(
            self.predicted, self.observed, out=np.full(len(self.observed), np.nan), where=self.observed > 0
        )
        return ratio - 1

    def as_json(self) -> dict[str, Any]:
        """Return the bins as lists of numbers; nan is None."""
        columns = {name: getattr(self, name) for name in ("predicted", "observed", "error", "standard_error")}
        lists = {name: [float(v) if np.isfinite(v) else None for v in values] for name, values in columns.items()}
        return lists | {"count": self.count.tolist()}

    def __str__(self) -> str:
        """Return the errors and their standard errors in per cent.

        >>> one = np.ones(1)
        >>> print(Calibration(predicted=1.1 * one, observed=one, standard_error=0.02 * one, count=one))
        +10 ±2 %
        """
        pairs = zip(100 * self.error, 100 * self.standard_error, strict=True)
        return ", ".join(f"{error:+.0f} ±{standard_error:.0f}" for error, standard_error in pairs) + " %"


def calibration(predicted: Array, observed: Array, users: Rows, bins: int = BINS) -> Calibration:
    """Return the calibration of predicted amounts, (n,) at least 0, against observed ones, (n,), in bins by prediction.

    Bins differ in size by one at most; where there are fewer pairs than bins, there are fewer bins. The standard error
    is that of a ratio of sums, with all pairs of a user, (n,) rows, drawn together as a cluster (Cochran, Sampling
    Techniques, 1977, section 6.4); nan for a bin of one user, or where nothing was observed.
    """
    order = np.argsort(predicted, kind="stable")
    split = np.array_split(order, max(1, min(bins, len(order)))) if len(order) else []
    bins_ = [_bin(predicted[rows].astype(np.float64), observed[rows].astype(np.float64), users[rows]) for rows in split]
    columns = np.array(bins_, np.float64).reshape(len(split), 3).T
    return Calibration(
        predicted=columns[0],
        observed=columns[1],
        standard_error=columns[2],
        count=np.array([len(rows) for rows in split], np.int64),
    )


def _bin(predicted: Array, observed: Array, users: Rows) -> tuple[float, float, float]:
    """Return the means of both, and the standard error of their ratio."""
    total = observed.sum()
    different, user = np.unique(users, return_inverse=True)
    n = len(different)
    if total <= 0 or n < 2:
        return predicted.mean(), observed.mean(), np.nan
    residual = np.bincount(user, predicted - predicted.sum() / total * observed)
    standard_error = np.sqrt((residual**2).sum() * n / (n - 1)) / total
    return predicted.mean(), observed.mean(), float(standard_error)


def fit_calibration(logit: Array, amount: Array, bins: int = 5) -> Array:
    """Return the map from logits, (n,), to logs of expected amounts, (n,) at least 0, as rising knots, (2, bins + 2).

    First it fits a straight line: Platt's scaling (Advances in Large Margin Classifiers, 2000) by the loss of the
    weighted logistic regression, whose optimum is the mean amount. Then it takes the mean observed amounts in bins of
    equal predicted amount and makes them rise (isotonic regression, Zadrozny and Elkan, KDD 2002). The map passes
    through these, and follows the line beyond the middle of the outer bins. Bins are of equal amount, not of equal
    size, so that all are estimated equally well. Where fewer than `MIN_POSITIVE` amounts are above 0, or all logits are
    equal, the map is a shift.
    """
    z, y = logit.astype(np.float64), amount.astype(np.float64)
    if (y > 0).sum() < MIN_POSITIVE or not z.std() > 0:
        shift = np.log(y.mean()) - np.log(np.exp(z).mean()) if y.any() else 0.0
        return np.array([[0, 1], [shift, 1 + shift]], np.float32)
    start, slope = _line(z, y)
    order = np.argsort(z, kind="stable")
    total = np.cumsum(np.exp(start + slope * z[order]))
    split = np.split(order, np.searchsorted(total, total[-1] * np.arange(1, bins) / bins))
    split = [rows for rows in split if y[rows].any()]
    observed = np.log(_rising(np.array([y[rows].mean() for rows in split]), np.array([len(rows) for rows in split])))
    middle = (np.log([np.exp(start + slope * z[rows]).mean() for rows in split]) - start) / slope
    ends = np.array([min(z.min(), middle[0]), max(z.max(), middle[-1])])
    beyond = np.array([observed[0], observed[-1]]) + slope * (ends - middle[[0, -1]])
    knots = np.stack([np.r_[ends[0], middle, ends[1]], np.r_[beyond[0], observed, beyond[1]]])
    return knots.astype(np.float32)


def _line(z: Array, y: Array) -> tuple[float, float]:
    """Return intercept and slope, above 0, of the straight line from logits to logs of expected amounts."""
    from scipy.optimize import minimize
    from scipy.special import expit

    centre, spread = z.mean(), z.std()
    scaled = (z - centre) / spread

    def loss(line: Array) -> tuple[float, Array]:
        log = line[0] + np.exp(line[1]) * scaled
        residual = (1 + y) * expit(log) - y
        gradient = np.array([residual.mean(), (residual * scaled).mean() * np.exp(line[1])])
        return float(np.mean(np.logaddexp(0, log) + y * np.logaddexp(0, -log))), gradient

    start, slope = minimize(loss, [centre, np.log(spread)], jac=True, method="BFGS").x
    slope = np.exp(slope) / spread
    return float(start - slope * centre), float(slope)


def _rising(values: Array, weights: Array) -> Array:
    """Return the rising values nearest to these: neighbours that fall are pooled (Ayer et al., 1955).

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


def calibrated(knots: Array, logit: Scores) -> Scores:
    """Return the logits mapped by knots of `fit_calibration`, with slope 1 beyond the outer knots; -inf stays."""
    x, log = knots.astype(np.float64)
    inside = np.clip(logit, x[0], x[-1])
    mapped: Scores = (np.interp(inside, x, log) + (logit - inside)).astype(np.float32)
    return mapped
