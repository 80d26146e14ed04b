"""Wide & deep: crossed features and dense layers (Cheng et al., DLRS 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.models.rankers.contextual import ContextualRanker

if TYPE_CHECKING:
    from pasand.layers.network_shape import Shape


@dataclass(kw_only=True)
class WideDeep(ContextualRanker):
    """Scores by weights of features and of crossed features, which memorise, plus dense layers, which generalise.

    Each feature of the user, and the history, is crossed with each feature of the item and with its id.
    """

    layers: tuple[int, ...] = (128, 64)
    """Widths of the ReLU layers."""
    dropout: float = 0.0
    """Dropout rate of the layers in training."""

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape, user_item_crosses

        codes = [name for name in names if self._features().input_sizes[name] >= 0]
        return Shape(linear=True, crossed=user_item_crosses(codes), dense=self.layers, dropout=self.dropout)
