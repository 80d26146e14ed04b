"""Error metrics of predicted ratings (RMSE, MAE), in units of the rating scale, pooled over ratings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pasand.types import Scores


@dataclass(frozen=True)
class RMSE:
    """Square root of the mean squared error over all ratings; every rating has the same weight, whatever its user."""

    def loss(self, predicted: Scores, actual: Scores) -> NDArray[np.float64]:
        """Return the squared error of each rating."""
        return np.square(predicted.astype(np.float64) - actual)

    def finish(self, mean_loss: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the square root."""
        return np.sqrt(mean_loss)


@dataclass(frozen=True)
class MAE:
    """Mean absolute error over all ratings."""

    def loss(self, predicted: Scores, actual: Scores) -> NDArray[np.float64]:
        """Return the absolute error of each rating."""
        return np.abs(predicted.astype(np.float64) - actual)

    def finish(self, mean_loss: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean loss unchanged."""
        return mean_loss
