"""Deep & cross network, version 2 (Wang et al., WWW 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pasand.models.rankers.contextual import ContextualRanker

if TYPE_CHECKING:
    from pasand.layers.network_shape import Shape


@dataclass(kw_only=True)
class DCN(ContextualRanker):
    """Scores by layers that multiply the features with each other, beside dense layers."""

    crosses: int = 2
    """Cross layers: products of up to one more features."""
    rank: int = 32
    """Rank of the cross layers' matrices; 0: full."""
    layers: tuple[int, ...] = (128, 64)
    """Widths of the ReLU layers beside them."""
    dropout: float = 0.0
    """Share of the units of each dense layer that is left out in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crosses < 1 or self.rank < 0:
            raise ValueError(f"crosses must be positive and rank not negative, got {self.crosses} and {self.rank}")

    def _shape(self, names: list[str]) -> Shape:
        from pasand.layers.network_shape import Shape

        return Shape(cross_layers=self.crosses, rank=self.rank, dense=self.layers, dropout=self.dropout)
