"""DeepFM: a factorisation machine plus dense layers (Guo et al., IJCAI 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.models.rankers.contextual import ContextualRanker

if TYPE_CHECKING:
    from pasand.layers.network_shape import Shape


@dataclass(kw_only=True)
class DeepFM(ContextualRanker):
    """Scores by the sum of a factorisation machine and dense layers over the same embeddings."""

    layers: tuple[int, ...] = (128, 64)
    """Widths of the ReLU layers."""
    dropout: float = 0.0
    """Dropout rate of the layers in training."""

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape

        return Shape(linear=True, second_order=True, dense=self.layers, dropout=self.dropout)
