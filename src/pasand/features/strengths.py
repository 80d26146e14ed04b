"""Weights of events by their strength: plays, seconds or amounts, which are confidence and not a rating.

Hu, Koren & Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008, weigh by 1 + alpha r and by
1 + alpha log(1 + r / epsilon). Here the median strength is the unit, so that its weight is 1 in both forms and the
weight of pairs without interaction, relative to it, stays one hyper-parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from pasand.data.dataset import Dataset
from pasand.types import Rows, Scores

if TYPE_CHECKING:
    from scipy import sparse

Weighting: TypeAlias = Literal["none", "linear", "log"]
WEIGHTINGS: tuple[Weighting, ...] = ("none", "linear", "log")

SMALLEST = 1e-3
"""Least weight of a positive."""


def check_weighting(weighting: str) -> None:
    """Raise ValueError if there is no such weighting."""
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be none, linear or log, got {weighting!r}")


def weights(strength: Scores, unit: float, weighting: Weighting) -> Scores:
    """Return the weight of each strength r: r / unit or log2(1 + r / unit); 1 where it is unknown, or for unit 0.

    >>> weights(np.array([2, 6, np.nan], np.float32), 2.0, "log")
    array([1., 2., 1.], dtype=float32)
    """
    if unit == 0 or weighting == "none":
        return np.ones(strength.shape, np.float32)
    relative = np.maximum(strength / np.float32(unit), 0)
    weight = relative if weighting == "linear" else np.log2(1 + relative)
    known: Scores = np.where(np.isfinite(strength), np.maximum(weight, SMALLEST), 1).astype(np.float32)
    return known


def median(strength: Scores) -> float:
    """Return the median of the positive strengths, 0 if there is none."""
    given = strength[np.isfinite(strength) & (strength > 0)]
    return float(np.median(given)) if len(given) else 0.0


def summed(data: Dataset) -> sparse.csr_array | None:
    """Return the strengths of positive events, summed by pair of user and item, (U, N); None for other data."""
    if data.values != "strength" or data.value is None:
        return None
    from scipy import sparse  # slow to import, and not needed for serving

    positives = data.positives()
    assert positives.value is not None
    strength = np.nan_to_num(positives.value, nan=0.0, posinf=0.0, neginf=0.0)
    matrix = sparse.csr_array((strength, (positives.user, positives.item)), shape=(data.n_users, data.n_items))
    matrix.sum_duplicates()
    return matrix


def of_histories(usable: Rows, history: Rows, strength: Scores, unit: float, weighting: Weighting) -> Scores:
    """Return the weights of the usable items of histories, by the sums of their events' strengths; (B, H).

    `usable` holds each item once, -1 elsewhere.
    """
    if unit == 0 or weighting == "none":
        return np.ones(usable.shape, np.float32)
    known = np.where(np.isfinite(strength) & (strength > 0), strength, np.float32(0))
    total = np.zeros(usable.shape, np.float32)
    for b, row in enumerate(usable):
        at = np.flatnonzero(row >= 0)
        order = at[np.argsort(row[at])]
        position = np.searchsorted(row[order], history[b])
        inside = (history[b] >= 0) & (position < len(order))
        inside[inside] = row[order[position[inside]]] == history[b][inside]
        np.add.at(total[b], order[position[inside]], known[b][inside])
    return weights(np.where(total > 0, total, np.float32(np.nan)), unit, weighting)
