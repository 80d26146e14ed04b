"""SLOPE++: the choice of a hyper-parameter of an estimator by the widths of intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pasand.off_policy.logged import Terms
from pasand.types import Array

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Quantiles of the positive weights that candidates are made of."""


def candidates(weight: Array) -> list[float]:
    """Return candidates for a bound of weights, (n,), in descending order: infinite, then quantiles of positive ones.

    >>> candidates(np.array([0.0, 1.0, 1.0]))
    [inf, 1.0]
    """
    positive = weight[weight > 0]
    bounds = np.unique(np.quantile(positive, QUANTILES, method="inverted_cdf")) if len(positive) else positive
    return [math.inf, *bounds[::-1].tolist()]


def slope(family: Callable[[float], Terms], parameters: list[float], user: Array) -> float:
    """Return the parameter that SLOPE++ chooses (Tucker & Lee 2021; Su, Srinath & Krishnamurthy, ICML 2020).

    Candidates are visited from the widest interval to the narrowest, without an assumption on how their bias is
    ordered. One is accepted while its value differs from that of each earlier one by at most its half-width plus
    sqrt(6) - 1 times the other's; the last accepted one is chosen. Half-widths are those of 95 % intervals clustered by
    user. The first parameter is returned where no interval is defined.
    """
    found = []
    for parameter in parameters:
        estimate = family(parameter).estimate(user)
        if math.isfinite(estimate.error):
            found.append((1.96 * estimate.error, estimate.value, parameter))
    found.sort(key=lambda one: -one[0])
    chosen = parameters[0] if not found else found[0][2]
    for i, (width, value, parameter) in enumerate(found):
        if any(abs(value - other) > width + (math.sqrt(6) - 1) * wider for wider, other, _ in found[:i]):
            break
        chosen = parameter
    return chosen
