"""How users behave, whatever their taste: the popularity of what they choose, how they rate, and how coherent both are.

Measures of profiles in the tradition of Burke et al., "Classification features for attack detection in collaborative
recommender systems", KDD 2006; the shares explained by factors follow Mehta and Nejdl, "Unsupervised strategies for
shilling detection and robust collaborative filtering", UMUAI 19, 2009.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pasand.data.dataset import Dataset
from pasand.types import Array

if TYPE_CHECKING:
    from scipy import sparse

PRIOR = 5.0
"""Number of ratings at the overall mean that shrink the mean of an item."""
DIMENSIONS = 16
"""Number of factors of the items that users choose, and of their ratings."""


def behaviour(data: Dataset) -> Array:
    """Return measures of each user's behaviour, (U, 3) or, with ratings, (U, 7); 0 for users without events.

    They are the mean and the deviation of the logarithm of the popularity of the user's items and the share of the
    user's choices that factors explain; with ratings also the mean and the deviation of the ratings around the items'
    means (of other users), the slope over these means, and the share of the deviations that factors explain.
    """
    from scipy import sparse  # slow to import, and not needed for serving

    pair, last = np.unique(data.user.astype(np.int64)[::-1] * data.n_items + data.item[::-1], return_index=True)
    user, item = (part.astype(np.int32) for part in np.divmod(pair, max(data.n_items, 1)))
    shape = (data.n_users, data.n_items)
    chosen = sparse.csr_array((np.ones(len(user)), (user, item)), shape=shape)
    columns = _choices(chosen, user, item)
    if data.values == "rating" and data.value is not None:
        value = data.value[::-1][last].astype(np.float64)
        columns += _ratings(np.where(np.isfinite(value), value, np.nanmean(value)), user, item, shape)
    measures: Array = np.nan_to_num(np.column_stack(columns))
    return measures


def _choices(chosen: sparse.csr_array, user: Array, item: Array) -> list[Array]:
    """Return the measures of which items users choose, (U,) each."""
    n_users, n_items = chosen.shape
    count, popularity = np.bincount(user, minlength=n_users), np.bincount(item, minlength=n_items)
    logarithm = np.log(np.maximum(popularity, 1))
    mean, deviation = _mean_and_deviation(logarithm[item], user, count)
    # Pearson residuals of the independence of users and items, as in correspondence analysis
    by_user, by_item = np.sqrt(np.maximum(count, 1)), np.sqrt(np.maximum(popularity, 1))
    scaled = chosen.multiply(1 / by_user[:, None]).multiply(1 / by_item[None, :]).tocsr()
    left, right = np.sqrt(count / max(len(user), 1)), np.sqrt(popularity / max(len(user), 1))
    return [mean, deviation, _explained(scaled, np.sqrt(len(user)) * left, right)]


def _ratings(value: Array, user: Array, item: Array, shape: tuple[int, int]) -> list[Array]:
    """Return the measures of how users rate, (U,) each."""
    from scipy import sparse

    n_users, n_items = shape
    overall = float(value.mean()) if len(value) else 0.0
    count, popularity = np.bincount(user, minlength=n_users), np.bincount(item, minlength=n_items)
    total = np.bincount(item, value, minlength=n_items)
    others = (total[item] - value + PRIOR * overall) / (popularity[item] - 1 + PRIOR)
    mean, deviation = _mean_and_deviation(value - others, user, count)
    centred = others - _mean_and_deviation(others, user, count)[0][user]
    slope = np.bincount(user, value * centred, minlength=n_users) / np.maximum(
        np.bincount(user, centred**2, minlength=n_users), 0.01 * np.maximum(count, 1)
    )
    residual = sparse.csr_array((value - others - mean[user], (user, item)), shape=shape)
    nothing = np.zeros(n_users), np.zeros(n_items)
    return [mean, deviation, slope, _explained(residual, *nothing)]


def _mean_and_deviation(value: Array, user: Array, count: Array) -> tuple[Array, Array]:
    """Return the mean and the deviation of each user's values, (U,) each; 0 for users without any."""
    n = np.maximum(count, 1)
    mean = np.bincount(user, value, minlength=len(count)) / n
    square = np.bincount(user, value**2, minlength=len(count)) / n
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def _explained(matrix: sparse.csr_array, left: Array, right: Array) -> Array:
    """Return the share of the length of each row of M - left right' that its main factors explain, (U,) in [0, 1].

    The factors are those of a randomised decomposition (Halko, Martinsson and Tropp, SIAM Review 53, 2011).
    """
    rng = np.random.default_rng(0)
    n_items = matrix.shape[1]
    size = min(DIMENSIONS + 8, n_items, matrix.shape[0])
    basis = rng.normal(size=(n_items, size))
    for _ in range(3):
        image = np.linalg.qr(matrix @ basis - np.outer(left, right @ basis))[0]
        basis = np.linalg.qr(matrix.T @ image - np.outer(right, left @ image))[0]
    image = matrix @ basis - np.outer(left, right @ basis)
    _, _, rotation = np.linalg.svd(image, full_matrices=False)
    scores = image @ rotation[:DIMENSIONS].T
    length = matrix.power(2).sum(axis=1) - 2 * left * (matrix @ right) + left**2 * (right @ right)
    explained: Array = np.sqrt((scores**2).sum(axis=1) / np.maximum(length, 1e-9))
    return explained
