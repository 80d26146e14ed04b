"""Weights of events in training: the column `training_weight` of a dataset, which `--robust` fills.

Models that use it have `uses_training_weights`. A weight counts like that fraction of an event, and nothing is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.types import Scores

if TYPE_CHECKING:
    from scipy import sparse

COLUMN = "training_weight"
"""Name of the column."""


def training_weights(data: Dataset) -> Scores | None:
    """Return the weight of each event, (E,) in [0, 1]; 1 where it is unknown (nan). None: the data have no weights."""
    column = data.columns.get(COLUMN)
    if column is None:
        return None
    weights: Scores = np.clip(np.nan_to_num(column, nan=1.0), 0, 1).astype(np.float32)
    return weights


def thinned_events(data: Dataset) -> Dataset:
    """Return the events, each kept with the probability of its weight; a log that grows keeps the same events.

    For statistics that count whole events. Data without weights are returned as they are.
    """
    weights = training_weights(data)
    if weights is None or (weights >= 1).all():
        return data
    return data.select(np.random.default_rng(0).random(len(weights)) < weights)


def pair_weights(data: Dataset) -> sparse.csr_array | None:
    """Return the largest weight of the positive events of each pair of user and item, (U, N), as `Dataset.matrix`.

    It has the same cells as that matrix, in the same order. None: the data have no weights.
    """
    positives = data.positives()
    weight = training_weights(positives)
    if weight is None:
        return None
    matrix = data.matrix().astype(np.float32)
    matrix.sort_indices()
    pair = positives.user.astype(np.int64) * data.n_items + positives.item
    distinct, at = np.unique(pair, return_inverse=True)
    largest = np.zeros(len(distinct), np.float32)
    np.maximum.at(largest, at, weight)
    matrix.data = largest
    return matrix


def weighted(matrix: sparse.csr_array, data: Dataset, *, root: bool) -> sparse.csr_array:
    """Return a matrix over the positive pairs, (U, N), times their weights, or times the roots of these.

    With roots X'X is the weighted sum over users, as the squares of a weighted loss. Data without weights leave the
    matrix as it is.
    """
    weights = pair_weights(data)
    if weights is None:
        return matrix
    product = matrix.sorted_indices().astype(np.float32)
    product.data = product.data * (np.sqrt(weights.data) if root else weights.data)
    return product
