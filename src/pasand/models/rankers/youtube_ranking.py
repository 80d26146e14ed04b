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
    """Scores by dense layers whose logit is the log of the minutes that are expected to be watched.

    It is made for impressions with seconds watched; without any, every liking counts as one minute. Where validation
    withholds the last tenth of the time (`patience` above 0), minutes are calibrated on it (`calibration.learn_map`).
    """

    objective: Objective = "minutes"
    layers: tuple[int, ...] = (1024, 512, 256)
    """Widths of the ReLU layers."""
    refit: bool = False
    """Whether, once validation has chosen the number of epochs, training starts anew on all events. Minutes are
    calibrated, on the last tenth of the time, only without: another network is off in another way."""
    dropout: float = 0.0
    """Share of the units of each layer that is left out in training."""

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape

        return Shape(dense=self.layers, dropout=self.dropout)
