"""Wide & deep (Cheng et al., DLRS 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.models.rankers.contextual import ContextualRanker

if TYPE_CHECKING:
    from pasand.layers.network_shape import Shape


@dataclass(kw_only=True)
class WideDeep(ContextualRanker):
    """Scores by weights of features and of their combinations, which remember, beside dense layers, which generalise.

    Combined are each feature of the user, and the history, with each feature of the item and its id.
    """

    layers: tuple[int, ...] = (128, 64)
    """Widths of the ReLU layers."""
    dropout: float = 0.0
    """Share of the units of each layer that is left out in training."""

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape, joined

        codes = [name for name in names if self._reader().parts[name] >= 0]
        return Shape(linear=True, crossed=joined(codes), dense=self.layers, dropout=self.dropout)
