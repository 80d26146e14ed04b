"""Pareto k: how heavy the tail of the weights is."""

from __future__ import annotations

import numpy as np

from pasand.types import Array


def pareto_k(weight: Array) -> float:
    """Return the shape of a generalised Pareto distribution fitted to the largest weights, (n,), as PSIS does.

    The tail is the largest min(n / 5, 3 sqrt(n)) weights (Vehtari et al., Pareto Smoothed Importance Sampling, 2024);
    the fit is that of Zhang & Stephens (2009), with their weak prior of ten observations at 0.5. Variances exist below
    0.5. -inf where the tail is bounded by one value or has fewer than five weights: no tail.
    """
    n = len(weight)
    size = int(min(n / 5, 3 * np.sqrt(n)))
    if size < 5:
        return float("-inf")
    ordered = np.sort(weight)
    cut = ordered[-size - 1]
    tail = ordered[-size:] - cut
    tail = tail[tail > 1e-9 * max(float(ordered[-1]), 1e-300)]
    if len(tail) < 5 or np.ptp(tail) <= 1e-9 * tail[-1]:
        return float("-inf")
    m = len(tail)
    steps = 30 + int(np.sqrt(m))
    quartile = tail[int(m / 4 + 0.5) - 1]
    scale = (1 - np.sqrt(steps / (np.arange(1, steps + 1) - 0.5))) / (3 * quartile) + 1 / tail[-1]
    shape = np.log1p(-scale[:, None] * tail).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = m * (np.log(-scale / shape) - shape - 1)
    likelihood = np.where(np.isfinite(likelihood), likelihood, -np.inf)
    posterior = np.exp(likelihood - likelihood.max())
    best = float((scale * posterior).sum() / posterior.sum())
    k = float(np.log1p(-best * tail).mean())
    return (k * m + 0.5 * 10) / (m + 10)
