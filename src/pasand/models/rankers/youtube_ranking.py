"""YouTube's ranking by expected watch time (Covington et al., RecSys 2016, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.models.rankers.contextual import ContextualRanker
from pasand.training.ranking_examples import Objective

if TYPE_CHECKING:
    from pasand.layers.network_shape import Shape


@dataclass(kw_only=True)
class YouTubeRanking(ContextualRanker):
    """Scores by dense layers whose logit is the log of the expected minutes watched.

    It is made for impressions with watch times. Without impressions every positive counts as one minute. If validation
    holds out the last tenth of the time (`patience` above 0), minutes are calibrated on it (see `fit_calibration`).
    """

    objective: Objective = "minutes"
    layers: tuple[int, ...] = (1024, 512, 256)
    """Widths of the ReLU layers."""
    refit: bool = False
    """Whether to train again from scratch on all events, once validation has chosen the number of epochs. Minutes are
    calibrated only without a refit, because the refitted network would need another calibration."""
    dropout: float = 0.0
    """Dropout rate of the layers in training."""

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape

        return Shape(dense=self.layers, dropout=self.dropout)
